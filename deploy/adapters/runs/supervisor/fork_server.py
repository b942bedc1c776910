"""A fork server: turns a copy of itself into a supervisor for each request, where a new Python would take ten times as long.

A program of its own, one for each worker, which runs as the deploy user (see fork_server.py beside this package). Its
descriptor 0 is a socket that keeps the borders of messages. It sends one byte when it is ready; then each message
brings a supervisor's descriptors 0, 1 and 2, and a socket for the answer. It ends with the worker, whose end of the
socket closes; the supervisors go on.

**The answer is the new process's first act, and what it needs to go on.** So nobody has to guess about a request
without one: when its socket ends, no process has it any more, and once the worker has shut it down, none can begin.
"""

from __future__ import annotations

import _socket
import gc
import os

from .__main__ import main as supervise
from .system import PR_SET_DUMPABLE, prctl, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

READY = b"!"
INT_SIZE = 4
REQUESTED = 4  # descriptors


def main() -> int:
    """Serve until the worker is gone."""
    os.closerange(3, 256)
    os.chdir("/")
    # Scripts may have the same user: they must not get at what goes through here.
    prctl(PR_SET_DUMPABLE, 0)
    # Nobody waits for a supervisor: the kernel takes care of those that have ended.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    requests = _socket.socket(fileno=0)
    # Everything there is by now stays for ever: a collection in a copy would only copy its memory.
    gc.collect()
    gc.freeze()
    os.dup2(1, 2)  # what was said until now is read as long as it is not ready
    requests.send(READY)
    while True:
        data, descriptors = receive(requests)
        if not data:
            return 0
        if len(descriptors) == REQUESTED:
            fork(descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def receive(requests: _socket.socket) -> tuple[bytes, list[int]]:
    """The next message, and its descriptors: some are missing where the system could not take them."""
    data, ancillary, _, _ = requests.recvmsg(1, _socket.CMSG_SPACE(REQUESTED * INT_SIZE))
    descriptors: list[int] = []
    for level, kind, rights in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            whole = len(rights) - len(rights) % INT_SIZE
            descriptors += memoryview(rights[:whole]).cast("i")
    return data, descriptors


def fork(descriptors: list[int]) -> None:
    """Make the supervisor's process. Where the system refuses, the end of the answer's socket says so."""
    try:
        if os.fork() == 0:
            become_supervisor(descriptors)
    except OSError:
        pass


def become_supervisor(descriptors: list[int]) -> NoReturn:
    """Be what a freshly started supervisor is, and do what it does."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        *own, answer = descriptors
        os.write(answer, b"%d" % os.getpid())
        for number, descriptor in enumerate(own):
            os.dup2(descriptor, number)
        os.closerange(3, 256)
        status = supervise()
    finally:
        os._exit(status)
