"""The domain model: plain Python without I/O, clock or framework."""
