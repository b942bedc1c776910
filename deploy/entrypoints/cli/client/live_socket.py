"""The WebSocket, signed in (docs/reference/websocket)."""

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
from deploy.entrypoints.cli.client.transport import COME_BACK, user_agent

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

OPEN_SECONDS = 10.0
# Waits for news so long before it says that there is none.
TICK_SECONDS = 0.5
BATCH = 500
# The server sends at least a ping every 20 seconds.
SILENCE_SECONDS = 60.0
LARGEST_MESSAGE = 64 * 1024 * 1024


class NoSocket(Exception):
    """There is no WebSocket to be had here; `for_good`: because something in between does not let it through."""

    def __init__(self, text: str, *, for_good: bool) -> None:
        super().__init__(text)
        self.for_good = for_good


@dataclass(slots=True)
class Received:
    """What has come: numbered messages, and whether to subscribe again."""

    messages: list[Message] = field(default_factory=list)
    must_resume: bool = False


class LiveSocket:
    """A context manager: the connection, signed in as the user whose API it is."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._connection: ClientConnection | None = None
        self._heard_at = 0.0

    def __enter__(self) -> LiveSocket:
        """Connect and sign in.

        Raises:
            NoSocket: HTTP works (we have just got a token), but the WebSocket does not open.
            Unreachable, Unavailable, NotSignedIn: not even HTTP works, or the server is about to stop.
        """
        from websockets.exceptions import InvalidStatus, WebSocketException

        token = self._api.credentials.token()
        try:
            self._connection = self._connect()
        except InvalidStatus as error:
            status = error.response.status_code
            if status in COME_BACK:
                raise Unavailable(f"{self._api.url} answers {status}.", 1.0) from error
            raise NoSocket(str(error), for_good=True) from error
        except ConnectionRefusedError as error:
            raise Unreachable(f"The connection to {self._api.url} is lost.") from error
        except (OSError, EOFError, WebSocketException, ImportError) as error:
            raise NoSocket(str(error), for_good=isinstance(error, ImportError)) from error
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
        """Ask for everything of a deployment after message number `after`."""
        self._send({"subscribe": {"deployment_id": deployment_id, "after": after}})

    def receive(self) -> Received:
        """Return what has come, after a moment at most.

        Raises:
            Unreachable: the connection is lost.
            NotSignedIn: the session has ended.
        """
        received = Received()
        wait = TICK_SECONDS
        while len(received.messages) < BATCH:
            fields = self._next(wait)
            if fields is None:
                break
            wait = 0.0
            self._sort(fields, received)
        return received

    def _sort(self, fields: Message, received: Received) -> None:
        kind, code = fields.get("type"), fields.get("code")
        if kind in ("deployment", "step", "output"):
            received.messages.append(fields)
        elif kind == "resume" or (kind == "warning" and code == "try_again"):
            received.must_resume = True
        elif code == "token_expires" and self._api.credentials.can_renew:
            self._send({"access_token": self._api.credentials.renew()})
        elif (kind == "authentication" and fields.get("status") == "failure") or code == "session_ended":
            self._api.credentials.renew()  # raises where there is nothing to renew; else come back with the new token
            raise Unreachable("The session on the connection has ended.")

    def _connect(self) -> ClientConnection:
        from websockets.sync.client import connect

        transport = self._api.transport
        url = socket_url(self._api.url, str(uuid.uuid4()))
        return connect(
            url,
            ssl=transport.tls if url.startswith("wss") else None,
            proxy=True if transport.trusts_environment else None,
            open_timeout=OPEN_SECONDS,
            close_timeout=1.0,
            max_size=LARGEST_MESSAGE,
            user_agent_header=user_agent(),
        )

    def _sign_in(self, token: str) -> None:
        self._heard_at = time.monotonic()
        self._send({"access_token": token})
        while True:
            fields = self._next(OPEN_SECONDS)
            if fields is None:
                raise NoSocket("The WebSocket does not answer.", for_good=False)
            if fields.get("type") == "authentication":
                break
        if fields.get("status") != "success":
            self._api.credentials.renew()
            raise Unreachable("The token was not accepted on the connection.")

    def _send(self, fields: dict[str, Any]) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            self._open().send(json.dumps(fields))
        except (ConnectionClosed, OSError) as error:
            raise self._lost() from error

    def _next(self, wait: float) -> Message | None:
        from websockets.exceptions import ConnectionClosed

        try:
            text = self._open().recv(timeout=wait)
        except TimeoutError as error:
            if time.monotonic() - self._heard_at > SILENCE_SECONDS:
                raise self._lost() from error
            return None
        except (ConnectionClosed, OSError) as error:
            raise self._lost() from error
        self._heard_at = time.monotonic()
        return _object(text)

    def _open(self) -> ClientConnection:
        assert self._connection is not None, "used before it was entered"
        return self._connection

    def _lost(self) -> Unreachable:
        return Unreachable(f"The connection to {self._api.url} is lost.")


def _object(text: str | bytes) -> Message:
    try:
        fields = json.loads(text)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}
