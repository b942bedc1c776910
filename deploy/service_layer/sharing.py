"""Serve many clients that want the same at the same moment without doing the same work for each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any, TypeVar, cast

from deploy.adapters.database import Database
from deploy.adapters.repository import EventReader, StoredEvent
from deploy.domain.rights import Visible

Result = TypeVar("Result")

# Reads that run at the same time. While they run, more callers gather for each of the following reads.
MAX_READS = 4
# Messages that a client that catches up is sent before it is the turn of others, and the time that each of them takes.
BURST, SECONDS_PER_MESSAGE = 16, 20e-6


class SharedReads:
    """Combines reads with the same key that have not started yet.

    A caller never receives the result of a read that started before the call, because it would miss what has been
    committed in between.
    """

    def __init__(self) -> None:
        self._waiting: dict[Hashable, asyncio.Task[Any]] = {}
        self._slots = asyncio.Semaphore(MAX_READS)

    async def get(self, key: Hashable, read: Callable[[], Awaitable[Result]]) -> Result:
        """Return the result of `read`, or of the read of another caller with the same key that starts later."""
        task = self._waiting.get(key)
        if task is None:
            task = self._waiting[key] = asyncio.create_task(self._run(key, read))
            task.add_done_callback(_retrieve_error)
        # If a caller is canceled, the others still want the result.
        return cast("Result", await asyncio.shield(task))

    async def _run(self, key: Hashable, read: Callable[[], Awaitable[Result]]) -> Result:
        try:
            await self._slots.acquire()
        finally:
            del self._waiting[key]
        try:
            return await read()
        finally:
            self._slots.release()


def _retrieve_error(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # otherwise, asyncio would log it if all callers have been canceled


class Turns:
    """Spreads bursts of work over time, so that they take at most half of it and other work comes in between.

    Without this, a thousand clients that catch up would each send a burst in every iteration of the event loop.
    """

    def __init__(self, seconds: float) -> None:
        """`seconds` is the processor time of a burst."""
        self._seconds = seconds
        self._next = 0.0

    async def wait(self) -> None:
        """Wait for the turn of the next burst."""
        now = asyncio.get_running_loop().time()
        begin = max(now, self._next)
        self._next = begin + 2 * self._seconds
        await asyncio.sleep(begin - now)


class SharedEventReader(EventReader):
    """Reads events for clients that join or catch up, often a thousand of them with the same ones.

    The clients continue one after another.
    """

    def __init__(self, database: Database, turns: Turns) -> None:
        super().__init__(database)
        self._reads, self._turns = SharedReads(), turns

    async def some_after(
        self, deployment_id: int, seq: int, *, visible: Visible, limit: int, max_bytes: int, with_output: bool
    ) -> list[StoredEvent]:
        """Return what `EventReader.some_after` returns. Callers must not change it."""
        read = super().some_after
        found = await self._reads.get(
            (deployment_id, seq, visible, limit, max_bytes, with_output),
            lambda: read(
                deployment_id, seq, visible=visible, limit=limit, max_bytes=max_bytes, with_output=with_output
            ),
        )
        await self._turns.wait()
        return found

    async def cursors(self, *, visible: Visible, since_seconds: float) -> Sequence[tuple[int, int]]:
        """Return what `EventReader.cursors` returns. Callers must not change it."""
        read = super().cursors
        found = await self._reads.get(
            (visible, since_seconds), lambda: read(visible=visible, since_seconds=since_seconds)
        )
        await self._turns.wait()
        return found
