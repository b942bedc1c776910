"""Ingest a run: follow its spool, mask and convert its records, and store each line exactly once."""
