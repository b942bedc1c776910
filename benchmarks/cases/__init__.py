"""The measurements: each module has functions that take a `Bench` and return rows of the table."""
