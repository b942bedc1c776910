"""Read service folders, whose authors the server does not trust.

Two processes do the work while the server waits for them:

- the *reader* (`supervisor/read_files.py`) opens files as the deploy user, below the services root only;
- the *checker* (`checker.py`) parses and validates their content (JSON, YAML, JSON Schema), with limits on CPU time,
  memory and visited nodes. It gets every file from the reader and opens none itself.

`processes.py` starts both and stops them when they exceed a limit. The rest of the server uses `ServiceFolders`
(`filesystem.py`), which caches results until one of the files they were read from changes.
"""
