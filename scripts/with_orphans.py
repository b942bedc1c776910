"""Run a command, and count the processor time of daemons that outlive their parents: with_orphans.py COMMAND …

The kernel adds the times of a process to those of its parent only if the parent waits for it. Supervisors of runs,
servers of killed tests, and their databases would be missing. This process adopts and waits for them, so that its own
parent can read the total. It exits with the code of the command.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

PR_SET_CHILD_SUBREAPER = 36


def main(command: list[str]) -> int:
    """Run the command and return its exit code, or 128 plus the number of the signal that ended it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # The sender stops the whole process group. A handler, unlike SIG_IGN, is not inherited by the command.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    started = subprocess.Popen(command)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == started.pid:
            break
    reap()
    code = started.returncode = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def reap() -> None:
    """Wait for all children that have exited. Others keep running."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except OSError as error:
        sys.exit(f"{sys.argv[1]}: {error.strerror}")
