"""The run supervisor starts a script, controls all its processes, and records everything that happens.

It is a separate program (see ../start.py) that outlives the process that started it. It communicates through the three
descriptors that sudo keeps open:

- 0, a FIFO: a line of JSON with the settings of the run, then one line of JSON for each command (``{"cancel": why}``).
  If the settings are too long for it, a socket in its place carries the FIFO and an in-memory file with the settings;
- 1, the spool: one JSON array per line, ``[number, seconds since the epoch, kind, data]``; the last kind is `exit`;
- 2, a FIFO: one byte after each write to the spool, so that a reader need not poll.

The lock on the spool's open file is inherited and never changed here: it is released when the supervisor ends. The first
record is `start`, written before the script begins, or `exit`. A spool without either belongs to a script that was never
started.

The modules import only each other, relatively, and the standard library, because the supervisor runs as another user who
may not be able to read our packages. Startup must take milliseconds, so even `json`, `signal`, `contextlib` and `pwd` are
imported only when needed.
"""
