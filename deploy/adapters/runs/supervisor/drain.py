"""Read the pipes that processes left running still write to, after the run has ended.

Without a reader, SIGPIPE would end them at their next line of output.
"""

from __future__ import annotations

import os
import select
import time

from .system import signal

CHUNK = 64 * 1024
READS = 256  # per pause
PAUSE = 0.1  # seconds between reads: a process that floods its output must not keep us busy


def leave_reader(pipes: list[int]) -> None:
    """Fork a process that reads and discards everything in `pipes` until no process can write to them anymore."""
    try:
        if not pipes or os.fork():
            return
    except OSError:
        return
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        close_others(set(pipes))
        discard(pipes)
    finally:
        os._exit(0)


def close_others(kept: set[int]) -> None:
    """Close all other descriptors, among them the spool with its lock."""
    for fd in range(256):
        if fd not in kept:
            try:
                os.close(fd)
            except OSError:
                pass


def discard(pipes: list[int]) -> None:
    poll = select.poll()
    for fd in pipes:
        os.set_blocking(fd, False)
        poll.register(fd, select.POLLIN)
    left = set(pipes)
    while left:
        for fd, _ in poll.poll():
            if not empty(fd):
                poll.unregister(fd)
                left.discard(fd)
        time.sleep(PAUSE)


def empty(fd: int) -> bool:
    """Discard what is in the pipe. Return False at its end."""
    try:
        for _ in range(READS):
            if not os.read(fd, CHUNK):
                return False
    except BlockingIOError:
        pass
    return True
