"""Measurements of the running product, from outside: `python -m benchmarks`."""
