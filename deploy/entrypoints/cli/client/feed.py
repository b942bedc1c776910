"""The messages of a deployment as they come: over the WebSocket where that is possible, else asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

from deploy.entrypoints.cli.client.api import Api
from deploy.entrypoints.cli.client.errors import ClientError, Refused, Unavailable, Unreachable
from deploy.entrypoints.cli.client.live_socket import LiveSocket, NoSocket
from deploy.entrypoints.cli.client.transcript import Message, Sequencer

# How often to ask: quickly while something happens, less often when nothing does.
ASK_AT_FIRST, ASK_AT_LAST = 0.25, 2.0
RETRY_AT_FIRST, RETRY_AT_LAST = 0.5, 10.0
# A server that is upgraded or restarted is back by then.
PATIENCE_SECONDS = 300.0
SOCKET_FAILURES = 3


class Feed:
    """Messages of one deployment after number `after`, each once, in order, whatever happens to the connection.

    Iterating gives lists of messages, an empty one when nothing has happened for a moment; it never ends by itself.
    `on_trouble` is told a sentence when the connection is lost, and None when it is back.
    """

    def __init__(
        self, api: Api, deployment_id: int, on_trouble: Callable[[str | None], None], *, after: int = 0
    ) -> None:
        self._api = api
        self._deployment_id = deployment_id
        self._on_trouble = on_trouble
        self._order = Sequencer(deployment_id, after)
        # Only users may open the WebSocket.
        self._listens = api.credentials.kind == "user"
        self._socket_failures = 0
        self._in_trouble_since: float | None = None
        self._pause = RETRY_AT_FIRST

    def __iter__(self) -> Generator[list[Message], None, None]:
        """Give messages until the caller has enough.

        Raises:
            ClientError: the server cannot be reached for minutes, or does not let us watch any more.
        """
        while True:
            try:
                yield from self._listen() if self._listens else self._ask()
            except NoSocket as error:
                self._socket_failures += 1
                self._listens = not error.for_good and self._socket_failures < SOCKET_FAILURES
                yield from self._ask_once()
            except (Unreachable, Unavailable) as error:
                self._wait(error)
            except Refused as error:
                raise self._api.explained(error, self._deployment_id) from error

    def _listen(self) -> Generator[list[Message], None, None]:
        with LiveSocket(self._api) as live:
            live.subscribe(self._deployment_id, after=self._order.last)
            while True:
                received = live.receive()
                new, has_gap = self._order.take(received.messages)
                self._socket_failures = 0
                self._recover()
                while has_gap:
                    missing, has_gap = self._fetch()
                    new += missing
                yield new
                if received.must_resume:
                    time.sleep(ASK_AT_FIRST)
                    live.subscribe(self._deployment_id, after=self._order.last)

    def _ask(self) -> Generator[list[Message], None, None]:
        pause = ASK_AT_FIRST
        while True:
            new, more = self._fetch()
            yield new
            pause = ASK_AT_FIRST if new else min(pause * 1.5, ASK_AT_LAST)
            if not more:
                time.sleep(pause)

    def _ask_once(self) -> Generator[list[Message], None, None]:
        try:
            new, _ = self._fetch()
        except (Unreachable, Unavailable) as error:
            self._wait(error)
            return
        yield new
        time.sleep(ASK_AT_FIRST)

    def _fetch(self) -> tuple[list[Message], bool]:
        page = self._api.events(self._deployment_id, self._order.last)
        new, _ = self._order.take(page["events"])
        self._recover()
        return new, bool(page["more"])

    def _recover(self) -> None:
        if self._in_trouble_since is not None:
            self._on_trouble(None)
        self._in_trouble_since, self._pause = None, RETRY_AT_FIRST

    def _wait(self, error: ClientError) -> None:
        now = time.monotonic()
        if self._in_trouble_since is None:
            self._in_trouble_since = now
            self._on_trouble(str(error))
        if now - self._in_trouble_since > PATIENCE_SECONDS:
            raise Unreachable(
                f"{error}\nNo contact for {PATIENCE_SECONDS / 60:.0f} minutes. The deployment does not depend on it; "
                f"look again with: fastdeploy deployments watch {self._deployment_id}"
            ) from error
        time.sleep(self._pause)
        self._pause = min(self._pause * 2, RETRY_AT_LAST)
