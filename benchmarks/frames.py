"""Implement the part of WebSocket (RFC 6455) that a listening client needs, at minimal cost."""

from __future__ import annotations

import base64
import json
import os
import socket
import time
import zlib
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
COMPRESSED = 0x40
DEFLATE = "permessage-deflate"


def handshake(host: str, port: int, *, deflate: bool = False) -> bytes:
    """Return the request that opens the live channel. With `deflate`, offer compression as browsers do."""
    lines = [
        f"GET /deployments/ws/{uuid4()} HTTP/1.1",
        f"Host: {host}:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
    ]
    if deflate:
        lines.append(f"Sec-WebSocket-Extensions: {DEFLATE}; client_max_window_bits")
    return "\r\n".join([*lines, "", ""]).encode()


def frame(payload: bytes, kind: int = TEXT) -> bytes:
    """Return a client's frame, masked with zeros."""
    size = len(payload)
    if size < 126:
        head = bytes([0x80 | kind, 0x80 | size])
    elif size < 1 << 16:
        head = bytes([0x80 | kind, 0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([0x80 | kind, 0x80 | 127]) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


def text_frame(message: dict[str, Any]) -> bytes:
    """Return the frame of a message to the server."""
    return frame(json.dumps(message).encode())


def close_reason(payload: bytes) -> str:
    """Return the code and the reason in a close frame."""
    if len(payload) < 2:
        return "without a reason"
    return f"{int.from_bytes(payload[:2], 'big')} {payload[2:].decode(errors='replace')}".strip()


class Frames:
    """Splits received data into frames. Does not support fragmented messages, because uvicorn does not send any."""

    def __init__(self) -> None:
        self._rest = b""
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield (kind, payload) for each frame that `data` completes."""
        buffer = self._rest + data if self._rest else data
        at, end = 0, len(buffer)
        while end - at >= 2:
            size, start = buffer[at + 1], at + 2
            if size == 126:
                size, start = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
            elif size == 127:
                size, start = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 10
            if start + size > end:
                break
            payload = buffer[start : start + size]
            if buffer[at] & COMPRESSED:
                payload = self._inflate.decompress(payload + b"\x00\x00\xff\xff")
            yield buffer[at] & 0x0F, payload
            at = start + size
        self._rest = buffer[at:]


class LiveSocket:
    """A connected client that waits for one message at a time."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self._socket = socket.create_connection((host, port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(handshake(host, port))
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._socket.recv(65536)
        self._frames = Frames()
        self._waiting = self._frames.feed(answer.partition(b"\r\n\r\n")[2])
        self.seen_at = 0
        self.send({"access_token": token})
        self.until(lambda message: message.get("status") == "success")

    def send(self, message: dict[str, Any]) -> None:
        """Send a message."""
        self._socket.sendall(text_frame(message))

    def receive(self) -> dict[str, Any]:
        """Return the next message. `seen_at` is the time at which its bytes arrived (monotonic nanoseconds)."""
        while True:
            for kind, payload in self._waiting:
                if kind == TEXT:
                    message: dict[str, Any] = json.loads(payload)
                    return message
                if kind == PING:
                    self._socket.sendall(frame(payload, PONG))
                elif kind == CLOSE:
                    raise ConnectionError(f"The server closed the WebSocket ({close_reason(payload)}).")
            data = self._socket.recv(1 << 20)
            if not data:
                raise ConnectionError("The connection to the server was lost.")
            self.seen_at = time.monotonic_ns()
            self._waiting = self._frames.feed(data)

    def until(self, wanted: Any) -> dict[str, Any]:
        """Return the first message for which `wanted` is true. Drop the messages before it."""
        while not wanted(message := self.receive()):
            pass
        return message

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
