"""What happened in each deployment, in order: the messages that clients get, kept as they were told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.adapters.database import CHANNEL

# Inserts what `event_arrays` gives; `also` is a table more to select from, which may be empty.
APPEND_EVENTS = (
    "INSERT INTO events (deployment_id, seq, last_line, message) "
    "SELECT CAST(:deployment_id AS bigint), seq, last_line, message FROM "
    "unnest(CAST(:seqs AS bigint[]), CAST(:last_lines AS bigint[]), CAST(:messages AS text[])) "
    "AS new (seq, last_line, message){also}"
)
NOTIFY_OF_DEPLOYMENT = f"pg_notify('{CHANNEL}', 'deployment ' || CAST(:deployment_id AS bigint))"
_APPEND = text(f"WITH appended AS ({APPEND_EVENTS.format(also='')}) SELECT {NOTIFY_OF_DEPLOYMENT}")
_AFTER = text(
    "SELECT seq, last_line, message FROM events WHERE deployment_id = :deployment_id AND seq > :after "
    "AND (last_line IS NULL OR :with_output) ORDER BY seq LIMIT :limit"
)
_OUTPUT = text(
    "SELECT seq, last_line, message FROM events WHERE deployment_id = :deployment_id AND last_line IS NOT NULL "
    "AND last_line > :after ORDER BY last_line LIMIT :limit"
)
_NOTIFY = text(f"SELECT pg_notify('{CHANNEL}', :payload)")


class StoredEvent(NamedTuple):
    """One message; `last_line` is the number of the last output line in it, None for other messages."""

    seq: int
    last_line: int | None
    message: str


class Events:
    """The event log."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def append(self, deployment_id: int, events: Sequence[StoredEvent]) -> None:
        """Store events, and tell the listening processes, once this is committed, that there is something to read.

        Their numbers follow those there are, which the lock on the deployment's row warrants.
        """
        await self._session.execute(_APPEND, event_arrays(deployment_id, events))

    async def after(
        self, deployment_id: int, seq: int, *, limit: int = 500, with_output: bool = True
    ) -> list[StoredEvent]:
        """Return what came after `seq`, in order, at most `limit` events; without the output if not wanted."""
        values = {"deployment_id": deployment_id, "after": seq, "limit": limit, "with_output": with_output}
        rows = await self._session.execute(_AFTER, values)
        return [StoredEvent(*row) for row in rows]

    async def output_after(self, deployment_id: int, line: int, *, limit: int = 100) -> list[StoredEvent]:
        """Return the output events that hold lines after number `line`, in order, at most `limit` events."""
        rows = await self._session.execute(_OUTPUT, {"deployment_id": deployment_id, "after": line, "limit": limit})
        return [StoredEvent(*row) for row in rows]

    async def wake(self, payload: str) -> None:
        """Tell the listening processes, once this transaction is committed, that there is something to read."""
        await self._session.execute(_NOTIFY, {"payload": payload})


def event_arrays(deployment_id: int, events: Sequence[StoredEvent]) -> dict[str, Any]:
    """Return the parameters of `APPEND_EVENTS`."""
    return {
        "deployment_id": deployment_id,
        "seqs": [event.seq for event in events],
        "last_lines": [event.last_line for event in events],
        "messages": [event.message for event in events],
    }
