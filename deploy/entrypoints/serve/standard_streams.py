"""Handle standard streams that are closed, broken, full, or discarded."""

from __future__ import annotations

import os
import stat
import sys


def open_missing() -> None:
    """Redirect standard streams that were closed at startup to /dev/null.

    Otherwise, the next socket would get the file descriptor of standard output, and printed text would go there.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # opens the lowest free descriptor, which is this one


def show(text: str) -> bool:
    """Print the text. Return False if it was not shown anywhere."""
    output = sys.stdout
    if output is None:  # closed at startup
        return False
    try:
        output.flush()
        # Preserve the bytes of paths, regardless of the terminal's encoding.
        output.buffer.write(os.fsencode(text))
        output.flush()
    except (OSError, ValueError):
        return False
    return not _is_discarded()


def _is_discarded() -> bool:
    try:
        target = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError):  # a replacement without a file descriptor, as in tests
        return False
    return stat.S_ISCHR(target.st_mode) and target.st_rdev == os.stat(os.devnull).st_rdev
