"""Input to the supervisor: commands in its FIFO, and signals."""

from __future__ import annotations

import os
import stat

from .framing import decoded
from .plain_json import from_json
from .system import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CHUNK = 256 * 1024
SPEC_LIMIT = 2 * 1024 * 1024
INT_SIZE = 4


class Control:
    """Reads lines of JSON from the control FIFO.

    Settings that are too long for the FIFO are passed in a file. In that case, `fd` is a socket that carries the FIFO
    and that file.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.ended = False
        self._rest = receive_fifo(fd) if stat.S_ISSOCK(os.fstat(fd).st_mode) else b""
        os.set_blocking(fd, False)

    def read(self) -> list[dict[str, Any]]:
        """Return the complete commands. An unreadable command becomes an empty dict."""
        data = b""
        try:
            while len(data) < SPEC_LIMIT:
                chunk = os.read(self.fd, CHUNK)
                if not chunk:
                    self.ended = True
                    break
                data += chunk
        except BlockingIOError:
            pass
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > SPEC_LIMIT:
            self._rest = b""
        return [self._command(line) for line in lines]

    def _command(self, line: bytes) -> dict[str, Any]:
        try:
            command = from_json(decoded(line))
        except (ValueError, RecursionError):
            return {}
        return command if isinstance(command, dict) else {}


def receive_fifo(fd: int) -> bytes:
    """Replace the socket `fd` with the FIFO that it carries, and return the content of the file that it carries."""
    import _socket

    packet = _socket.socket(fileno=os.dup(fd))
    _, ancillary, _, _ = packet.recvmsg(1, _socket.CMSG_SPACE(2 * INT_SIZE))
    packet.close()
    fifo, file = memoryview(ancillary[0][2]).cast("i")
    os.dup2(fifo, fd)
    os.close(fifo)
    os.lseek(file, 0, os.SEEK_SET)
    with open(file, "rb") as settings:
        return settings.read()


class Signals:
    """Makes signals pollable. Signals that can be caught do not end this process."""

    def __init__(self) -> None:
        self.fd, self._end = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._end, False)
        self.stop_requested = False
        ignored = (
            signal.SIGHUP,
            signal.SIGINT,
            signal.SIGQUIT,
            signal.SIGPIPE,
            signal.SIGALRM,
            signal.SIGUSR1,
            signal.SIGUSR2,
            signal.SIGTSTP,
            signal.SIGTTIN,
            signal.SIGTTOU,
            signal.SIGXFSZ,
        )
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(self._end, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def clear(self) -> None:
        try:
            os.read(self.fd, 65536)
        except BlockingIOError:
            pass

    def _stop(self, _number: int, _frame: object) -> None:
        self.stop_requested = True
