"""Reading service folders, whose authors the server does not trust.

Two processes do the work, and the server only waits for them:

- the *reader* (`supervisor/read_files.py`) opens files, with the account of the deploy user, below the services root only;
- the *checker* (`checker.py`) makes sense of their content (JSON, YAML, JSON Schema), with limits on processor time,
  memory and visited nodes. It gets every file from the reader, and opens none itself.

`session.py` starts both and ends them at their limits. `ServiceFolders` (`filesystem.py`) is what the rest of the server
uses; it keeps results as long as every file that was read for them is the same.
"""
