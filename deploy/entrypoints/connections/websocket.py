"""WebSockets with limits on the rate of messages, the time to sign in, and the time without reading.

uvicorn itself limits the size of messages, even across fragments and before they are complete (`ws_max_size`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import CloseCode, Frame, Opcode

from deploy.entrypoints.connections.gate import GATE, authentication_answer
from deploy.entrypoints.connections.guard import Guarded

if TYPE_CHECKING:
    from deploy.entrypoints.connections.config import WebConfig

MESSAGE_BYTES = 64 * 1024
TOO_LARGE = authentication_answer("failure", f"Messages can have {MESSAGE_BYTES} bytes at most.")
# The burst a client can send, in seconds of its rate limit. A page that reconnects subscribes to everything it shows.
BURST_SECONDS = 10.0
# How long the server discards data that a rejected client is still sending. Closing immediately would reset the
# connection, and the client might not receive the reason.
LINGER_SECONDS = 2.0
# The application closes the connection after SIGN_IN_TIMEOUT_SECONDS. This handles clients that prevent that.
SIGN_IN_GRACE = 10.0
# The first byte of a frame with a complete text message.
TEXT = 0x80 | Opcode.TEXT


class WebSocketProtocol(Guarded, WebSocketsSansIOProtocol):
    """One WebSocket.

    It waits for its client until the client has signed in, and whenever the client is not reading.
    """

    def __init__(
        self,
        config: WebConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, GATE: self}, _loop)
        self.guard = config.guard
        self._finished = False
        self._signed_in = False
        self._paid_until = 0.0

    # Connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the client to sign in."""
        super().connection_made(transport)
        self.address = self.guard.peer_address(self.client[0] if self.client else None)
        self.guard.opened(self)
        if not transport.is_closing():
            self._wait_for_sign_in()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection."""
        super().connection_lost(exc)
        self.guard.closed(self)

    def data_received(self, data: bytes) -> None:
        """Parse `data` unless the connection is about to be closed."""
        if self._finished:
            return
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # uvicorn does not handle requests that its HTTP parser accepts but this parser rejects.
            self._finished = True
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def handle_events(self) -> None:
        """Count frames before processing them, because fragments and pings cost as much as messages."""
        if self.handshake_initiated and self._is_too_fast(len(self.conn.events)):
            self.conn.fail(
                CloseCode.POLICY_VIOLATION, f"More than {self.guard.limits.messages:g} messages per second."
            )
            self.handle_parser_exception()
        else:
            super().handle_events()

    def handle_parser_exception(self) -> None:
        """Send the reason for closing the connection, and give the client time to read it."""
        if not self._signed_in and self._sent_close(CloseCode.MESSAGE_TOO_BIG):
            # Clients expect an answer to each sign-in.
            self.transport.write(Frame(Opcode.TEXT, TOO_LARGE.encode()).serialize(mask=False))
        self._finish()
        self.transport.write_eof()
        # uvicorn does not close a connection that has this timer.
        self.close_timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)
        self.guard.wait(self, LINGER_SECONDS)

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self.wait_for_reader()

    def resume_writing(self) -> None:
        """Record that the client is reading."""
        super().resume_writing()
        if self._signed_in:
            self.guard.done(self)

    # Sign-in

    def await_sign_in(self, host: str | None) -> None:
        """Count this connection for the address of its client."""
        self.guard.done(self)
        self.address = self.guard.client_address(host)
        self._wait_for_sign_in()

    def signed_in(self) -> None:
        """Stop counting this connection."""
        self._signed_in = True
        if self.writable.is_set():
            self.guard.done(self)

    # Messages

    async def send_texts(self, messages: Sequence[str]) -> None:
        """Send messages in order, in a single write.

        Sending them one by one through the framework takes ten times as long, and each message goes to every client.
        """
        await self.writable.wait()
        if self.disconnected or self.close_sent or self._finished:
            raise ClientDisconnected
        self.transport.write(text_frames(messages))

    # Limits

    def expire(self) -> None:
        """Abort the connection unless its client has read more."""
        if self.transport.is_closing() or not self.writable.is_set():
            self.expire_reader()
        else:
            self.transport.abort()

    def make_room(self) -> None:
        """Close the connection to make room for others."""
        if not self.handshake_complete or self.close_sent or self.transport.is_closing() or not self.writable.is_set():
            self.transport.abort()
            return
        self.conn.fail(CloseCode.TRY_AGAIN_LATER, "Too many connections. Try again in a moment.")
        self._finish()
        self.transport.close()

    def _sent_close(self, code: CloseCode) -> bool:
        return self.conn.close_sent is not None and self.conn.close_sent.code == code

    def _finish(self) -> None:
        assert self.conn.close_sent is not None
        code, reason = self.conn.close_sent.code, self.conn.close_sent.reason
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = self._finished = True
        self.frames = []
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()

    def _wait_for_sign_in(self) -> None:
        self.guard.wait(self, self.guard.limits.sign_in_seconds + SIGN_IN_GRACE)

    def _is_too_fast(self, frames: int) -> bool:
        now = self.loop.time()
        self._paid_until = max(self._paid_until, now) + frames / self.guard.limits.messages
        return self._paid_until - now > BURST_SECONDS


def text_frames(messages: Sequence[str]) -> bytes:
    """Return the frames of messages from a server (RFC 6455). Compression is off, so no extension changes them."""
    parts = []
    for message in messages:
        data = message.encode()
        size = len(data)
        if size < 126:
            parts.append(bytes((TEXT, size)))
        elif size < 1 << 16:
            parts.append(bytes((TEXT, 126, size >> 8, size & 0xFF)))
        else:
            parts.append(bytes((TEXT, 127)) + size.to_bytes(8, "big"))
        parts.append(data)
    return b"".join(parts)
