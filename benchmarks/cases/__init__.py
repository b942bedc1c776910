"""The measurements. Each module has functions that take a `Bench` and return rows of the table."""
