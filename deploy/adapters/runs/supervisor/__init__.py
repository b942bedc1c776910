"""The run supervisor starts a script, controls all its processes, and records everything that happens.

It is a separate program (see ../start.py) that outlives the process that started it. It communicates through the three
descriptors that sudo keeps open:

- 0, a FIFO: a line of JSON with the settings of the run, then one line of JSON for each command (``{"cancel": why}``).
  If the settings are too long for it, a socket takes its place and carries the FIFO and an in-memory settings file;
- 1, the spool: one JSON array per line, ``[number, seconds since the epoch, kind, data]``; the last kind is `exit`.
  Lines of output have the kind `out`, or `log` if the run has a pipe for events and its output cannot report steps;
  `open` is a line that has not ended yet.
  Our own sentences (kind `note`, and `message` in `exit`) are arrays: a template, and the values for each ``{}`` in it;
- 2, a FIFO: one byte after each write to the spool, so that a reader does not need to poll.

The supervisor inherits the lock on the spool's open file and never changes it; the lock is released when the
supervisor exits. The first record is either `start`, written before the script begins, or `exit`. If a spool has
neither, its script was never started.

The modules import only each other, relatively, and the standard library, because the supervisor runs as another user,
who might not be able to read our packages. Startup must only take milliseconds, so even `json`, `signal`,
`contextlib`, and `pwd` are imported only when needed.
"""
