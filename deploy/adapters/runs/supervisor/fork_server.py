"""Fork a supervisor for each request, which is ten times as fast as starting a new Python.

This is a separate program that runs as the deploy user, one for each worker (see ../fork_server.py). Its descriptor 0
is a socket that preserves message boundaries. It sends one byte when it is ready. From then on, each message carries
the supervisor's descriptors 0, 1, and 2, and a socket for the answer. The program exits when the worker's end of the
socket closes; the supervisors keep running.

**A new process sends its answer (its process ID) first, and exits if it cannot.** A request without an answer is
therefore never ambiguous. If the answer socket reaches end of file, no process has the request. Once the worker shuts
the socket down, no process can start.
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
DESCRIPTORS = 4  # per request


def main() -> int:
    """Serve requests until the worker is gone."""
    os.closerange(3, 256)
    os.chdir("/")
    # Scripts can run as the same user but must not read this process's memory or descriptors.
    prctl(PR_SET_DUMPABLE, 0)
    # Let the kernel reap supervisors, because this process does not wait for them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    requests = _socket.socket(fileno=0)
    # Existing objects are never freed. Collecting them in a child would only copy their memory pages.
    gc.collect()
    gc.freeze()
    os.dup2(1, 2)  # the worker only reads standard error until this process is ready
    requests.send(READY)
    while True:
        data, descriptors = receive(requests)
        if not data:
            return 0
        if len(descriptors) == DESCRIPTORS:
            fork(descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def receive(requests: _socket.socket) -> tuple[bytes, list[int]]:
    """Return the next message and its descriptors. If this process has too many open files, some are missing."""
    data, ancillary, _, _ = requests.recvmsg(1, _socket.CMSG_SPACE(DESCRIPTORS * INT_SIZE))
    descriptors: list[int] = []
    for level, kind, rights in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            whole = len(rights) - len(rights) % INT_SIZE
            descriptors += memoryview(rights[:whole]).cast("i")
    return data, descriptors


def fork(descriptors: list[int]) -> None:
    """Fork the supervisor's process. If that fails, the worker reads end of file from the answer socket."""
    try:
        if os.fork() == 0:
            become_supervisor(descriptors)
    except OSError:
        pass


def become_supervisor(descriptors: list[int]) -> NoReturn:
    """Set up this process like a newly started supervisor, and supervise the run."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        *standard, answer = descriptors
        os.write(answer, b"%d" % os.getpid())
        for number, descriptor in enumerate(standard):
            os.dup2(descriptor, number)
        os.closerange(3, 256)
        status = supervise()
    finally:
        os._exit(status)
