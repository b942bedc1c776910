"""Tune the memory of the interpreter and the C library for long-running processes that import many modules.

This module must import quickly, because it is imported before everything else.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Parameters of mallopt(3) and their values in bytes.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGE_BLOCK = 4 << 20


@contextmanager
def loading() -> Iterator[None]:
    """Disable garbage collection during imports.

    Imports create almost no garbage, but repeatedly scanning all objects takes a tenth of the import time.
    """
    gc.disable()
    try:
        yield
    finally:
        collect_from_now_on()


def prepare_for_long() -> None:
    """Prepare a long-running process. After its imports, the process must call `collect_from_now_on`."""
    gc.disable()
    _give_back_large_blocks()


def collect_from_now_on() -> None:
    """Enable garbage collection, and permanently exclude all current objects from it.

    A full collection then takes a millisecond instead of a tenth of a second. During a collection, no requests are
    served.
    """
    gc.freeze()
    gc.enable()


def _give_back_large_blocks() -> None:
    """Return freed blocks of 4 MiB and more to the system immediately.

    By default, glibc raises its limit when the first such block is freed. The process would then keep later blocks,
    such as the 19 MiB for each password check.
    """
    from ctypes import CDLL  # noqa: PLC0415 - only long-lived processes need it

    # Other C libraries do not have this function or this behavior.
    if (mallopt := getattr(CDLL(None), "mallopt", None)) is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
        mallopt(M_TRIM_THRESHOLD, 2 * LARGE_BLOCK)
