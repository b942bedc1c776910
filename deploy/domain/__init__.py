"""The domain model: plain Python without I/O, a clock, or a framework."""
