"""What the interpreter and the C library do about memory, set for processes that load much and then run for long.

Light to load: this comes before everything else.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Parameters of mallopt(3), and their values in bytes.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGE_BLOCK = 4 << 20


@contextmanager
def loading() -> Iterator[None]:
    """Look for no garbage while much is loaded.

    Modules and classes stay, and there is next to no garbage among them; to look through all that is there already,
    again and again while it grows, takes a tenth of the time.
    """
    gc.disable()
    try:
        yield
    finally:
        collect_from_now_on()


def prepare_for_long() -> None:
    """Begin a process that loads much and runs for long; once it has loaded, it calls `collect_from_now_on`."""
    gc.disable()
    _give_back_large_blocks()


def collect_from_now_on() -> None:
    """Look for garbage among what is made from now on; what was loaded until now is left out for ever.

    So a full look takes a millisecond rather than a tenth of a second, in which nobody would be answered.
    """
    gc.freeze()
    gc.enable()


def _give_back_large_blocks() -> None:
    """Give blocks of 4 MiB and more back to the system as soon as they are freed.

    With the first such block that is freed, the C library would raise its own limit beyond it: the next ones, such as
    the 19 MiB that each check of a password takes, would stay with the process.
    """
    from ctypes import CDLL  # noqa: PLC0415 - only long-lived processes need it

    # Another C library than glibc has no such parameters, nor the habit.
    if (mallopt := getattr(CDLL(None), "mallopt", None)) is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
        mallopt(M_TRIM_THRESHOLD, 2 * LARGE_BLOCK)
