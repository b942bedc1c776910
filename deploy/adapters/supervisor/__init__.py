"""The run supervisor: starts one script, owns everything it starts, and writes down all that happens.

It is a program of its own (see launching.py) that outlives whoever started it. It talks through the three descriptors
that even sudo leaves open:

- 0, a FIFO: a line of JSON with the settings of the run, then one line of JSON for each command (``{"cancel": why}``).
  Where the settings are too long for it, a socket in its place brings the FIFO, and a file in memory with them;
- 1, the spool: one JSON array a line, ``[number, seconds since the epoch, kind, data]``, `exit` being the last;
- 2, a FIFO: one byte after each write to the spool, so that a reader need not poll.

The lock on the spool's open file is inherited, and never touched here: it is free as soon as no supervisor lives.
The first record is `start`, written before the script begins, or `exit`: a spool without either belongs to a script
that has never been started.

Its modules import each other, relatively, and the standard library: it runs as another user, who may not reach our
packages. Starting has to take milliseconds, so even `json`, `signal`, `contextlib` and `pwd` stay out until needed.
"""
