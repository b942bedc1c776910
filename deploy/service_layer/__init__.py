"""The service layer: one handler per command, and one place that opens transactions."""
