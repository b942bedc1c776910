"""A TCP relay in front of a server, which can hold or drop connections like an overloaded or restarting server."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Relay:
    """Forwards connections to a port of this machine.

    Drops the first `drops` connections. Holds the others until `release` is called, if it was created with `holds`.
    """

    def __init__(self, port: int, *, drops: int = 0, holds: bool = False) -> None:
        self._target = port
        self._drops = drops
        self._released = threading.Event()
        self.accepted = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        if not holds:
            self._released.set()

    def release(self) -> None:
        """Forward held and new connections."""
        self._released.set()

    def serve(self) -> None:
        """Accept connections until `close` is called."""
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self.accepted += 1
            if self.accepted <= self._drops:
                client.close()
            else:
                threading.Thread(target=self._forward, args=[client], daemon=True).start()

    def close(self) -> None:
        """Stop accepting connections."""
        self._released.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _forward(self, client: socket.socket) -> None:
        self._released.wait()
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self._target)) as server:
            back = threading.Thread(target=_copy, args=[server, client], daemon=True)
            back.start()
            _copy(client, server)
            back.join()


@contextmanager
def relay(port: int, *, drops: int = 0, holds: bool = False) -> Iterator[Relay]:
    """Yield a relay in front of a port."""
    made = Relay(port, drops=drops, holds=holds)
    thread = threading.Thread(target=made.serve)
    thread.start()
    try:
        yield made
    finally:
        made.close()
        thread.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
