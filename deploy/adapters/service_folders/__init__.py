"""Read service folders. The server does not trust their authors.

Two processes do the work while the server waits for them:

- the *reader* (`supervisor/read_files.py`) opens files as the deploy user, and only below the services root;
- the *checker* (`checker.py`) parses and validates their content (JSON, YAML, JSON Schema), with limits on CPU time,
  memory and visited nodes. It gets every file from the reader and does not open any files itself.

`processes.py` starts both processes and stops them when they exceed a limit. The rest of the server uses
`ServiceFolders` (`filesystem.py`), which caches each result until one of the files that it is based on changes.
"""
