"""Measure the running product from outside: `python -m benchmarks`."""
