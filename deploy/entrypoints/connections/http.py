"""HTTP with limits.

uvicorn itself does not limit the size of a request's head or the time that a request takes to arrive.
"""

from __future__ import annotations

import asyncio
import json
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NoReturn

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from deploy.entrypoints.connections.guard import Guarded

if TYPE_CHECKING:
    from deploy.entrypoints.connections.config import WebConfig

HEAD_BYTES = 64 * 1024
HEADERS = 200
# The bytes of a request other than its body: head, chunk sizes, and trailers. The parser buffers trailers until they
# end.
OVERHEAD_BYTES = 1 << 20
# Requests that a client can send before the first one is answered.
PIPELINED = 32
# How long the server discards data that a rejected client is still sending. Closing immediately would reset the
# connection, and the client might not receive the reason.
LINGER_SECONDS = 2.0
RETRY_AFTER_SECONDS = b"2"


class Part(Enum):
    """The part of a request that the parser is in."""

    NOTHING = auto()
    HEAD = auto()
    BODY = auto()


class Refused(Exception):
    """A request exceeds a limit. Raised inside the parser to stop it."""


class HttpProtocol(Guarded, HttpToolsProtocol):
    """One HTTP connection. It waits for its client, except while the server processes a complete request."""

    def __init__(
        self,
        config: WebConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.guard = config.guard
        self._part = Part.NOTHING
        self._finished = False
        self._refusal = (HTTPStatus.BAD_REQUEST, "")
        self._chunk = 0  # bytes received last
        self._bytes = 0  # bytes of the current message, excluding its body

    # Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request."""
        super().connection_made(transport)
        self.address = self.guard.peer_address(self.client[0] if self.client else None)
        self.guard.opened(self)
        if not transport.is_closing():
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection."""
        super().connection_lost(exc)
        self.guard.closed(self)

    def data_received(self, data: bytes) -> None:
        """Parse `data`, then record whose turn it is."""
        if self._finished:
            return
        before = self._part
        self._chunk = len(data)
        self._bytes = self._chunk if before is Part.NOTHING else self._bytes + self._chunk
        super().data_received(data)
        self._note_turn(before)

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over to the WebSocket protocol."""
        self._finished = True
        self.guard.closed(self)
        super().handle_websocket_upgrade()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._wait()

    def resume_writing(self) -> None:
        """Record that the client is reading."""
        super().resume_writing()
        self._wait()

    # Parser

    def on_message_begin(self) -> None:
        """Start a request."""
        super().on_message_begin()
        self._part = Part.HEAD

    def on_headers_complete(self) -> None:
        """Reject a request that exceeds a limit before the application sees it."""
        if len(self.headers) > HEADERS:
            self._refuse_in_parser(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"More than {HEADERS} headers.")
        # Make the cheap comparison first: it rules out all but the largest requests.
        if max(self._bytes, self._chunk) > HEAD_BYTES and self._head_bytes() > HEAD_BYTES:
            self._refuse_in_parser(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _too_large("request line and headers"))
        if len(self.pipeline) >= PIPELINED:
            self._refuse_in_parser(HTTPStatus.TOO_MANY_REQUESTS, f"More than {PIPELINED} unanswered requests.")
        super().on_headers_complete()
        self._part = Part.BODY

    def on_body(self, body: bytes) -> None:
        """Exclude the body from the count, because the application limits the body while reading it."""
        self._bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        super().on_message_complete()
        self._part = Part.NOTHING
        self._bytes = 0

    def on_response_complete(self) -> None:
        """Wait for the next request unless one has already arrived."""
        super().on_response_complete()
        if not self._is_busy and not self.transport.is_closing():
            self._wait()

    def send_400_response(self, msg: str) -> None:
        """Reject a request that the parser did not accept."""
        status, detail = self._refusal
        self._refuse(status, detail or msg)

    # Limits

    def expire(self) -> None:
        """Close the connection because its client took too long."""
        if self.flow.write_paused or (self.transport.is_closing() and not self._finished):
            self.expire_reader()
        elif self._finished:
            self.transport.abort()
        elif self._part is Part.NOTHING:
            self.transport.close()
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The request took too long to arrive. Send it again.")

    def make_room(self) -> None:
        """Close the connection to make room for others."""
        if self._finished or self.flow.write_paused or self.transport.is_closing():
            self.transport.abort()
            return
        if self._part is not Part.NOTHING or self.cycle is None:
            self._finish(HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections. Try again in a moment.")
        self.transport.close()

    @property
    def _is_busy(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn's annotation does not allow None
        return cycle is not None and not cycle.response_complete

    def _note_turn(self, before: Part) -> None:
        if not self._finished and self._part is not Part.NOTHING:
            self._check_size()
        if self._finished or self.flow.write_paused:
            return
        if self._part is not before:
            self._wait()
        elif self._is_busy and self._part is Part.NOTHING:
            self.guard.done(self)

    def _wait(self) -> None:
        limits = self.guard.limits
        if self.flow.write_paused:
            self.wait_for_reader()
        elif self._part is Part.BODY:
            self.guard.wait(self, limits.body_seconds)
        elif self._part is Part.HEAD:
            self.guard.wait(self, limits.head_seconds)
        elif self._is_busy:
            self.guard.done(self)
        else:
            # uvicorn closes idle connections. This handles clients that send data that does not start a request.
            self.guard.wait(self, self.timeout_keep_alive + limits.head_seconds)

    def _head_bytes(self) -> int:
        # 4: the colon and space after each name, and the line break.
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _check_size(self) -> None:
        if len(self.headers) > HEADERS:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"More than {HEADERS} headers.")
        elif self._part is Part.HEAD and self._bytes > HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _too_large("request line and headers"))
        elif self._bytes > OVERHEAD_BYTES:
            self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body's chunks are too small, or its trailers are too large."
            )

    def _refuse_in_parser(self, status: HTTPStatus, detail: str) -> NoReturn:
        self._refusal = (status, detail)
        raise Refused(detail)

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        self._finish(status, detail)
        if not self.transport.is_closing():
            self.transport.write_eof()
            self.flow.resume_reading()
            self.guard.wait(self, LINGER_SECONDS)

    def _finish(self, status: HTTPStatus, detail: str) -> None:
        self._finished = True
        if self.pipeline or (self._is_busy and self.cycle.response_started):
            self.transport.abort()  # in the middle of a response
            return
        if self._is_busy:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(_answer(status, detail, self.server_state.default_headers))


def _too_large(what: str) -> str:
    return f"The {what} are larger than {HEAD_BYTES} bytes."


def _answer(status: HTTPStatus, detail: str, headers: list[tuple[bytes, bytes]]) -> bytes:
    body = json.dumps({"detail": detail}).encode()
    headers = [
        *headers,
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"retry-after", RETRY_AFTER_SECONDS))
    lines = [b"%b: %b\r\n" % header for header in headers]
    return b"".join([STATUS_LINE[status], *lines, b"\r\n", body])
