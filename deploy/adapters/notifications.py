"""Listen for PostgreSQL notifications (LISTEN) on one connection per process.

A notification is only a hint to read the rows, and any notification can be lost. Listeners therefore also poll, and
they read the rows again after each reconnection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import asyncpg

from deploy.adapters.database import CHANNEL, DATABASE_ERRORS, QUEUE_CHANNEL, listening_connection

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
CHECK_EVERY = 10.0


class Listener:
    """Dispatches notifications to callbacks by their first word, and reconnects whenever the connection is lost."""

    def __init__(self, url: str, *, is_own: Callable[[int], bool] = lambda _pid: False) -> None:
        """`is_own` returns True if a server process belongs to one of this process's connections."""
        self._url = url
        self._is_own = is_own
        self._callbacks: dict[str, list[Callable[[str], None]]] = {}
        self._own_callbacks: dict[str, list[Callable[[str], None]]] = {}
        self._on_connect: list[Callable[[], None]] = []
        self.connected = asyncio.Event()

    def on(self, word: str, callback: Callable[[str], None], *, own: Callable[[str], None] | None = None) -> None:
        """Call `callback` with the remaining text of notifications that start with `word`.

        Call `own` instead for notifications that this process sent.
        """
        self._callbacks.setdefault(word, []).append(callback)
        self._own_callbacks.setdefault(word, []).append(own or callback)

    def on_connect(self, callback: Callable[[], None]) -> None:
        """Call `callback` after each connection, because earlier notifications could have been missed."""
        self._on_connect.append(callback)

    async def run(self) -> None:
        """Listen until canceled."""
        pause = FIRST_PAUSE
        while True:
            try:
                async with listening_connection(self._url) as connection:
                    pause = FIRST_PAUSE
                    await self._listen(connection)
            except DATABASE_ERRORS as error:
                log.warning("Cannot listen for notifications of the database (%s), retrying in %.1f s", error, pause)
            finally:
                self.connected.clear()
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _listen(self, connection: asyncpg.Connection) -> None:
        gone = asyncio.Event()
        connection.add_termination_listener(lambda _connection: gone.set())
        await connection.add_listener(CHANNEL, self._receive)
        await connection.add_listener(QUEUE_CHANNEL, lambda *_: self._dispatch(self._callbacks, "queue", ""))
        self.connected.set()
        for callback in self._on_connect:
            callback()
        while not gone.is_set():
            try:
                await asyncio.wait_for(gone.wait(), CHECK_EVERY)
            except asyncio.TimeoutError:
                # Detects a connection that was lost without being closed.
                await connection.execute("SELECT 1", timeout=CHECK_EVERY)

    def _receive(self, _connection: object, pid: int, _channel: str, payload: object) -> None:
        word, _, rest = str(payload).partition(" ")
        self._dispatch(self._own_callbacks if self._is_own(pid) else self._callbacks, word, rest)

    @staticmethod
    def _dispatch(callbacks: dict[str, list[Callable[[str], None]]], word: str, rest: str) -> None:
        for callback in callbacks.get(word, ()):
            callback(rest)
