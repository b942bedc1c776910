"""WebSockets with limits: how fast a client may send, how long it may take to sign in, and whether it has to read.

uvicorn limits the size of a message itself, before it is complete and across its fragments (`ws_max_size`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.frames import CloseCode, Frame, Opcode

from deploy.entrypoints.connections.gate import GATE, authentication_answer
from deploy.entrypoints.connections.guard import Guarded

if TYPE_CHECKING:
    from deploy.entrypoints.connections.config import WebConfig

MESSAGE_BYTES = 64 * 1024
TOO_LARGE = authentication_answer("failure", f"Messages can have {MESSAGE_BYTES} bytes at most.")
# A client may send ahead what the limit allows in this time: a page that reconnects subscribes to all it shows.
BURST_SECONDS = 10.0
# How long the server discards what a refused client still sends. Closing at once resets the connection, and the client
# may never see why.
LINGER_SECONDS = 2.0
# After SIGN_IN_TIMEOUT_SECONDS the application closes the connection; this is for a client that does not let it.
SIGN_IN_GRACE = 10.0


class WebSocketProtocol(Guarded, WebSocketsSansIOProtocol):
    """One WebSocket. It waits for its client until that has signed in, and whenever the client does not read."""

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
        """Forget the connection."""
        super().connection_lost(exc)
        self.guard.closed(self)

    def data_received(self, data: bytes) -> None:
        """Parse `data`, unless the connection is about to be closed."""
        if self._finished:
            return
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            # uvicorn expects no request here that its HTTP parser accepts and this one refuses.
            self._finished = True
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def handle_events(self) -> None:
        """Count frames before anything is made of them: fragments and pings cost as much as messages."""
        if self.handshake_initiated and self._is_too_fast(len(self.conn.events)):
            self.conn.fail(
                CloseCode.POLICY_VIOLATION, f"More than {self.guard.limits.messages:g} messages per second."
            )
            self.handle_parser_exception()
        else:
            super().handle_events()

    def handle_parser_exception(self) -> None:
        """Say why the connection is closed, and give the client time to read that."""
        if not self._signed_in and self._sent_close(CloseCode.MESSAGE_TOO_BIG):
            # The answer to a sign-in that cannot be right, as clients expect it.
            self.transport.write(Frame(Opcode.TEXT, TOO_LARGE.encode()).serialize(mask=False))
        self._finish()
        self.transport.write_eof()
        # uvicorn leaves a connection alone that has such a timer.
        self.close_timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)
        self.guard.wait(self, LINGER_SECONDS)

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self.wait_for_reader()

    def resume_writing(self) -> None:
        """Note that the client reads."""
        super().resume_writing()
        if self._signed_in:
            self.guard.done(self)

    # Sign-in

    def await_sign_in(self, host: str | None) -> None:
        """Count this connection by the address of its client."""
        self.guard.done(self)
        self.address = self.guard.client_address(host)
        self._wait_for_sign_in()

    def signed_in(self) -> None:
        """Stop counting this connection."""
        self._signed_in = True
        if self.writable.is_set():
            self.guard.done(self)

    # Limits

    def expire(self) -> None:
        """Abort the connection, unless its client has read on."""
        if self.transport.is_closing() or not self.writable.is_set():
            self.expire_reader()
        else:
            self.transport.abort()

    def make_room(self) -> None:
        """Close the connection for others."""
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
