"""Open connections without a client library, so that a test can send any bytes and see how the server reacts."""

import base64
import json
import os
import socket
import struct
import uuid
from types import TracebackType
from typing import TypeVar

from typing_extensions import Self

from tests.e2e.server import Server
from tests.e2e.waiting import TIMEOUT

TEXT, BINARY, CONTINUATION, PING = 1, 2, 0, 9
MASK = b"\x00\x00\x00\x00"
Connection = TypeVar("Connection", bound="Raw")


class Raw:
    """One TCP connection. `source` is its loopback address. `window` limits the kernel's receive buffer."""

    def __init__(self, server: Server, *, source: str = "127.0.0.1", window: int | None = None) -> None:
        self.received = b""
        self._socket = socket.socket()
        if window is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self._socket.settimeout(TIMEOUT)
        self._socket.bind((source, 0))
        self._socket.connect(("127.0.0.1", server.port))
        self.port = int(self._socket.getsockname()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def send(self, data: bytes) -> bool:
        """Send all of `data`. Return False if the server has already closed the connection."""
        try:
            self._socket.sendall(data)
        except OSError:
            return False
        return True

    def read_some(self, size: int = 65_536) -> bytes:
        """Return the next bytes, or an empty result if the connection is closed."""
        try:
            data = self._socket.recv(size)
        except ConnectionError:
            data = b""
        self.received += data
        return data

    def read_until(self, wanted: bytes) -> bytes:
        """Return everything received as soon as it contains `wanted`."""
        while wanted not in self.received:
            assert self.read_some(), f"closed after {self.received[-500:]!r}"
        return self.received

    def read_to_end(self) -> bytes:
        """Return everything received once the server has closed the connection."""
        while self.read_some():
            pass
        return self.received

    def is_open(self) -> bool:
        """Return False if the server has closed the connection. Keep the data that it sent."""
        self._socket.setblocking(False)
        try:
            while self.read_some():
                pass
        except BlockingIOError:
            return True
        finally:
            self._socket.settimeout(TIMEOUT)
        return False

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


class RawWebSocket(Raw):
    """A WebSocket whose frames the test builds."""

    def __init__(
        self, server: Server, *, source: str = "127.0.0.1", window: int | None = None, headers: str = ""
    ) -> None:
        super().__init__(server, source=source, window=window)
        self.send(upgrade(headers))
        _, _, self.received = self.read_until(b"\r\n\r\n").partition(b"\r\n\r\n")

    def sign_in(self, token: str) -> None:
        """Send a token and wait for the response."""
        self.send(frame(json.dumps({"access_token": token}).encode()))
        assert b'"success"' in self.read_until(b'"detail"')

    def read_close(self) -> tuple[int, str]:
        """Return the code and reason of the close frame once the server has closed the connection."""
        self.read_to_end()
        code = 1006, ""
        rest = self.received
        while len(rest) >= 2:
            opcode, size, start = rest[0] & 15, rest[1], 2
            if size == 126:
                size, start = int.from_bytes(rest[2:4], "big"), 4
            if opcode == 8:
                payload = rest[start : start + size]
                code = struct.unpack("!H", payload[:2])[0], payload[2:].decode()
            rest = rest[start + size :]
        return code


def upgrade(headers: str = "") -> bytes:
    """Return the request that opens a WebSocket. `headers` are extra lines."""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET /deployments/ws/{uuid.uuid4()} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
    ).encode()


def frame(
    payload: bytes, opcode: int = TEXT, *, last: bool = True, compressed: bool = False, size: int | None = None
) -> bytes:
    """Return a client's frame. `size` overrides the length in its header."""
    size = len(payload) if size is None else size
    first = (0x80 if last else 0) | (0x40 if compressed else 0) | opcode
    if size < 126:
        head = bytes([first, 0x80 | size])
    elif size < 1 << 16:
        head = bytes([first, 0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, 0x80 | 127]) + size.to_bytes(8, "big")
    return head + MASK + payload
