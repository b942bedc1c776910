"""Read the end of the event log, outside of transactions because this happens after every transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deploy.adapters.database import Database
from deploy.adapters.repository.events import Events, StoredEvent

# Queued and running deployments, and recently finished ones among the newest 1,000.
_CURSORS = """
    SELECT id, seq FROM deployments WHERE state IN ('queued', 'running')
    UNION SELECT id, seq FROM deployments WHERE id > (SELECT coalesce(max(id), 0) - 1000 FROM deployments)
        AND finished > now() - make_interval(secs => $1)
"""
_SERVICE = "SELECT service_id FROM deployments WHERE id = $1"


class EventReader:
    """Reads for the live updates, with one statement each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def after(self, deployment_id: int, seq: int, *, limit: int, with_output: bool) -> list[StoredEvent]:
        """Return the events after `seq` in order, at most `limit`, optionally without output."""
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
        """Return (ID, seq) of deployments that are open or finished in the last `since_seconds`."""
        return [(row[0], row[1]) for row in await self._fetch(_CURSORS, since_seconds)]

    async def service_of(self, deployment_id: int) -> int | None:
        """Return the service ID of a deployment, or None if it was deleted."""
        rows = await self._fetch(_SERVICE, deployment_id)
        return int(rows[0][0]) if rows else None

    async def _fetch(self, query: str, *values: Any) -> Sequence[Any]:
        async with self._database.connection() as connection:
            rows: Sequence[Any] = await connection.fetch(query, *values)
            return rows
