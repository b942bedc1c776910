"""Ingest a run: follow its spool, mask and convert the records, store each line exactly once."""
