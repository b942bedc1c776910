"""The end of the event log, read while it grows: outside of any transaction, for it happens after every single one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deploy.adapters.database import Database
from deploy.adapters.repository.events import Events, StoredEvent

# What is open, and what has ended lately; of the history, only the newest are looked at.
_CURSORS = """
    SELECT id, seq FROM deployments WHERE state IN ('queued', 'running')
    UNION SELECT id, seq FROM deployments WHERE id > (SELECT coalesce(max(id), 0) - 1000 FROM deployments)
        AND finished > now() - make_interval(secs => $1)
"""
_SERVICE = "SELECT service_id FROM deployments WHERE id = $1"


class Tail:
    """Reads for the live channel, one statement each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def after(self, deployment_id: int, seq: int, *, limit: int, with_output: bool) -> list[StoredEvent]:
        """Return what came after `seq`, in order, at most `limit` events; without the output if not wanted."""
        async with self._database.connection() as connection:
            return await Events(connection).after(deployment_id, seq, limit=limit, with_output=with_output)

    async def some_after(
        self, deployment_id: int, seq: int, *, limit: int, max_bytes: int, with_output: bool
    ) -> list[StoredEvent]:
        """Like `after`, but stop at the event that reaches `max_bytes`."""
        async with self._database.connection() as connection:
            return await Events(connection).some_after(
                deployment_id, seq, limit=limit, max_bytes=max_bytes, with_output=with_output
            )

    async def cursors(self, *, since_seconds: float) -> Sequence[tuple[int, int]]:
        """Return (id, seq) of what is open or ended in the last seconds."""
        return [(row[0], row[1]) for row in await self._fetch(_CURSORS, since_seconds)]

    async def service_of(self, deployment_id: int) -> int | None:
        """Return whose deployment it is; None when it was deleted."""
        rows = await self._fetch(_SERVICE, deployment_id)
        return int(rows[0][0]) if rows else None

    async def _fetch(self, query: str, *values: Any) -> Sequence[Any]:
        async with self._database.connection() as connection:
            rows: Sequence[Any] = await connection.fetch(query, *values)
            return rows
