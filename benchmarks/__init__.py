"""External measurements of the running product: `python -m benchmarks`."""
