"""Client for the WebSocket (docs/reference/websocket.md)."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from deploy.entrypoints.cli.client.address import socket_url
from deploy.entrypoints.cli.client.api import Api
from deploy.entrypoints.cli.client.errors import Unavailable, Unreachable
from deploy.entrypoints.cli.client.transcript import Message
from deploy.entrypoints.cli.client.transport import RETRY_STATUSES, user_agent

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

OPEN_TIMEOUT = 10.0
# `receive` returns after this time if there are no messages.
POLL_SECONDS = 0.5
BATCH = 500
# The server sends a ping at least every 20 seconds.
SILENCE_TIMEOUT = 60.0
MAX_MESSAGE_BYTES = 64 * 1024 * 1024


class SocketUnavailable(Exception):
    """The WebSocket cannot be opened. `permanent` means that retrying will not help, as behind some proxies."""

    def __init__(self, text: str, *, permanent: bool) -> None:
        super().__init__(text)
        self.permanent = permanent


@dataclass(slots=True)
class Received:
    """Received messages. `must_resume` means that the client must subscribe again."""

    messages: list[Message] = field(default_factory=list)
    must_resume: bool = False


class LiveSocket:
    """A context manager for a WebSocket that is signed in as the user of the API."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._connection: ClientConnection | None = None
        self._last_message_at = 0.0

    def __enter__(self) -> LiveSocket:
        """Connect and sign in.

        Raises:
            SocketUnavailable: HTTP works, but the WebSocket cannot be opened.
            Unreachable, Unavailable, NotSignedIn: HTTP does not work either, or the server is stopping.
        """
        from websockets.exceptions import InvalidStatus, WebSocketException

        token = self._api.credentials.token()
        try:
            self._connection = self._connect()
        except InvalidStatus as error:
            status = error.response.status_code
            if status in RETRY_STATUSES:
                raise Unavailable(f"{self._api.url} returned {status}.", 1.0) from error
            raise SocketUnavailable(str(error), permanent=True) from error
        except ConnectionRefusedError as error:
            raise Unreachable(f"Lost connection to {self._api.url}.") from error
        except (OSError, EOFError, WebSocketException, ImportError) as error:
            raise SocketUnavailable(str(error), permanent=isinstance(error, ImportError)) from error
        try:
            self._sign_in(token)
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def subscribe(self, deployment_id: int, *, after: int) -> None:
        """Subscribe to the messages of a deployment after number `after`."""
        self._send({"subscribe": {"deployment_id": deployment_id, "after": after}})

    def receive(self) -> Received:
        """Return the messages received within POLL_SECONDS.

        Raises:
            Unreachable: The connection was lost.
            NotSignedIn: The session has ended.
        """
        received = Received()
        wait = POLL_SECONDS
        while len(received.messages) < BATCH:
            fields = self._next(wait)
            if fields is None:
                break
            wait = 0.0
            self._handle(fields, received)
        return received

    def _handle(self, fields: Message, received: Received) -> None:
        kind, code = fields.get("type"), fields.get("code")
        if kind in ("deployment", "step", "output", "open_line"):
            received.messages.append(fields)
        elif kind == "resume" or (kind == "warning" and code == "try_again"):
            received.must_resume = True
        elif code == "token_expires" and self._api.credentials.can_renew:
            self._send({"access_token": self._api.credentials.renew()})
        elif (kind == "authentication" and fields.get("status") == "failure") or code == "session_ended":
            self._api.credentials.renew()  # raises if it cannot be renewed; otherwise, reconnect with the new token
            raise Unreachable("The session of the connection has ended.")

    def _connect(self) -> ClientConnection:
        from websockets.sync.client import connect

        transport = self._api.transport
        url = socket_url(self._api.url, str(uuid.uuid4()))
        return connect(
            url,
            ssl=transport.tls if url.startswith("wss") else None,
            proxy=True if transport.trusts_environment else None,
            open_timeout=OPEN_TIMEOUT,
            close_timeout=1.0,
            max_size=MAX_MESSAGE_BYTES,
            user_agent_header=user_agent(),
        )

    def _sign_in(self, token: str) -> None:
        self._last_message_at = time.monotonic()
        self._send({"access_token": token})
        while True:
            fields = self._next(OPEN_TIMEOUT)
            if fields is None:
                raise SocketUnavailable("The WebSocket does not respond.", permanent=False)
            if fields.get("type") == "authentication":
                break
        if fields.get("status") != "success":
            self._api.credentials.renew()
            raise Unreachable("The server did not accept the token.")

    def _send(self, fields: dict[str, Any]) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            self._open().send(json.dumps(fields))
        except (ConnectionClosed, OSError) as error:
            raise self._connection_lost() from error

    def _next(self, wait: float) -> Message | None:
        from websockets.exceptions import ConnectionClosed

        try:
            text = self._open().recv(timeout=wait)
        except TimeoutError as error:
            if time.monotonic() - self._last_message_at > SILENCE_TIMEOUT:
                raise self._connection_lost() from error
            return None
        except (ConnectionClosed, OSError) as error:
            raise self._connection_lost() from error
        self._last_message_at = time.monotonic()
        return _parse(text)

    def _open(self) -> ClientConnection:
        assert self._connection is not None, "used outside of its context"
        return self._connection

    def _connection_lost(self) -> Unreachable:
        return Unreachable(f"Lost connection to {self._api.url}.")


def _parse(text: str | bytes) -> Message:
    try:
        fields = json.loads(text)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}
