"""Receive live messages of a deployment over the WebSocket or, if that is not possible, by polling."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

from deploy.entrypoints.cli.client.api import Api
from deploy.entrypoints.cli.client.errors import ClientError, Refused, Unavailable, Unreachable
from deploy.entrypoints.cli.client.live_socket import LiveSocket, SocketUnavailable
from deploy.entrypoints.cli.client.transcript import Message, Sequencer

# Poll often while messages are arriving, and less often otherwise.
MIN_POLL_SECONDS, MAX_POLL_SECONDS = 0.25, 2.0
MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.5, 10.0
# Long enough for the server to be upgraded or restarted.
RECONNECT_TIMEOUT = 300.0
SOCKET_FAILURES = 3


class Feed:
    """The messages of a deployment after number `after`, each once and in order, even if the connection is lost.

    Iteration never ends. It yields lists of messages, which are empty if nothing has happened. `on_connection_change`
    is called with a message when the connection is lost, and with None when it is restored.
    """

    def __init__(
        self, api: Api, deployment_id: int, on_connection_change: Callable[[str | None], None], *, after: int = 0
    ) -> None:
        self._api = api
        self._deployment_id = deployment_id
        self._on_connection_change = on_connection_change
        self._sequencer = Sequencer(deployment_id, after)
        # Only users can open the WebSocket.
        self._uses_socket = api.credentials.kind == "user"
        self._socket_failures = 0
        self._disconnected_since: float | None = None
        self._pause = MIN_RETRY_SECONDS

    def __iter__(self) -> Generator[list[Message], None, None]:
        """Yield lists of messages.

        Raises:
            ClientError: The server was unreachable for RECONNECT_TIMEOUT, or no longer allows watching.
        """
        while True:
            try:
                yield from self._listen() if self._uses_socket else self._poll()
            except SocketUnavailable as error:
                self._socket_failures += 1
                self._uses_socket = not error.permanent and self._socket_failures < SOCKET_FAILURES
                yield from self._poll_once()
            except (Unreachable, Unavailable) as error:
                self._wait(error)
            except Refused as error:
                raise self._api.explain(error, self._deployment_id) from error

    def _listen(self) -> Generator[list[Message], None, None]:
        with LiveSocket(self._api) as live:
            live.subscribe(self._deployment_id, after=self._sequencer.last)
            while True:
                received = live.receive()
                new, has_gap = self._sequencer.take(received.messages)
                self._socket_failures = 0
                self._recover()
                while has_gap:
                    missing, has_gap = self._fetch()
                    new += missing
                # Not numbered, because it is not stored.
                open_lines = [message for message in received.messages if message["type"] == "open_line"]
                yield new + open_lines[-1:]
                if received.must_resume:
                    time.sleep(MIN_POLL_SECONDS)
                    live.subscribe(self._deployment_id, after=self._sequencer.last)

    def _poll(self) -> Generator[list[Message], None, None]:
        pause = MIN_POLL_SECONDS
        while True:
            new, more = self._fetch()
            yield new
            pause = MIN_POLL_SECONDS if new else min(pause * 1.5, MAX_POLL_SECONDS)
            if not more:
                time.sleep(pause)

    def _poll_once(self) -> Generator[list[Message], None, None]:
        try:
            new, _ = self._fetch()
        except (Unreachable, Unavailable) as error:
            self._wait(error)
            return
        yield new
        time.sleep(MIN_POLL_SECONDS)

    def _fetch(self) -> tuple[list[Message], bool]:
        page = self._api.events(self._deployment_id, self._sequencer.last)
        new, _ = self._sequencer.take(page["events"])
        self._recover()
        return new, bool(page["more"])

    def _recover(self) -> None:
        if self._disconnected_since is not None:
            self._on_connection_change(None)
        self._disconnected_since, self._pause = None, MIN_RETRY_SECONDS

    def _wait(self, error: ClientError) -> None:
        now = time.monotonic()
        if self._disconnected_since is None:
            self._disconnected_since = now
            self._on_connection_change(str(error))
        if now - self._disconnected_since > RECONNECT_TIMEOUT:
            raise Unreachable(
                f"{error}\nCould not reconnect within {RECONNECT_TIMEOUT / 60:.0f} minutes. The deployment is not affected. "
                f"Watch it again with: fastdeploy deployments watch {self._deployment_id}"
            ) from error
        time.sleep(self._pause)
        self._pause = min(self._pause * 2, MAX_RETRY_SECONDS)
