"""Standard input, output and error, which may be closed, broken, full or thrown away."""

from __future__ import annotations

import os
import stat
import sys


def open_missing() -> None:
    """Open standard streams that were closed before we were started, on nothing.

    Otherwise the next socket would get the number of standard output, and what a library prints would go there.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one


def show(text: str) -> bool:
    """Print the text; return False if nobody can have seen it."""
    output = sys.stdout
    if output is None:  # closed before we were started
        return False
    try:
        output.flush()
        # Paths keep their bytes, whatever the encoding of the terminal is.
        output.buffer.write(os.fsencode(text))
        output.flush()
    except (OSError, ValueError):
        return False
    return not _is_discarded()


def _is_discarded() -> bool:
    try:
        target = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError):  # a stand-in, such as that of a test
        return False
    return stat.S_ISCHR(target.st_mode) and target.st_rdev == os.stat(os.devnull).st_rdev
