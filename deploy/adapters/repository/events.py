"""Store and read the event log: the messages of each deployment, in order, exactly as sent to clients."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import asyncpg

from deploy.adapters.database import CHANNEL, Database
from deploy.adapters.repository.statement import (
    ENVIRONMENT_OF_DEPLOYMENT,
    SERVICE_OF_DEPLOYMENT,
    Statement,
    VisibleStatement,
)
from deploy.adapters.states import sql_list
from deploy.domain.model import ACTIVE, Lane
from deploy.domain.rights import Visible

# Inserts the rows from `event_rows`. `also` is an additional table to select from, or empty.
APPEND_EVENTS = (
    "INSERT INTO events (deployment_id, seq, last_line, message) "
    "SELECT CAST(:deployment_id AS bigint), CAST(:before_first AS bigint) + n, last_line, message FROM "
    "unnest(CAST(CAST(:last_lines AS text) AS bigint[]), string_to_array(:messages, chr(10))) "
    "WITH ORDINALITY AS new (last_line, message, n){also}"
)
# Include the number of the last event, so that listeners that already have the event can skip reading.
NOTIFY_OF_DEPLOYMENT = (
    f"pg_notify('{CHANNEL}', concat_ws(' ', 'deployment', CAST(:deployment_id AS bigint), CAST(:last_seq AS bigint)))"
)
_AFTER = VisibleStatement(
    "SELECT seq, last_line, message FROM events WHERE deployment_id = :deployment_id AND seq > :after "
    "AND (last_line IS NULL OR :with_output) AND {visible} ORDER BY seq LIMIT :limit",
    SERVICE_OF_DEPLOYMENT,
    environment=ENVIRONMENT_OF_DEPLOYMENT,
)
# Returns the first event regardless of its size, and the events after it that fit.
_SOME_AFTER = VisibleStatement(
    "SELECT seq, last_line, message FROM (SELECT seq, last_line, message, "
    "sum(octet_length(message)) OVER (ORDER BY seq) - octet_length(message) AS before "
    "FROM events WHERE deployment_id = :deployment_id AND seq > :after "
    "AND (last_line IS NULL OR :with_output) AND {visible} ORDER BY seq LIMIT :limit) AS counted "
    "WHERE before < :max_bytes ORDER BY seq",
    SERVICE_OF_DEPLOYMENT,
    environment=ENVIRONMENT_OF_DEPLOYMENT,
)
_OUTPUT = VisibleStatement(
    "SELECT seq, last_line, message FROM events WHERE deployment_id = :deployment_id AND last_line IS NOT NULL "
    "AND last_line > :after AND {visible} ORDER BY last_line LIMIT :limit",
    SERVICE_OF_DEPLOYMENT,
    environment=ENVIRONMENT_OF_DEPLOYMENT,
)
# A piece of the output, as (last line, message): the message is NULL if it cannot contain the text, with or without
# colors. Comparisons of letters are exact for ASCII. Messages with characters that casefold() converts to ASCII, and
# with controls that change the text that a terminal shows, are always included.
_SEARCH = VisibleStatement(
    "SELECT last_line, CASE WHEN message ILIKE :pattern OR ((octet_length(message) > char_length(message) "
    "OR strpos(message, '\\u') + strpos(message, '\\r') + strpos(message, '\\b') + strpos(message, '\\f') > 0) "
    "AND (message ~ :unusual OR regexp_replace(message, :colors, '', 'g') ILIKE :pattern)) "
    "THEN message END AS message FROM ("
    "SELECT last_line, message, sum(octet_length(message)) OVER (ORDER BY last_line) - octet_length(message) AS before "
    "FROM (SELECT last_line, message FROM events WHERE deployment_id = :deployment_id AND last_line IS NOT NULL "
    "AND last_line > :after AND {visible} ORDER BY last_line LIMIT :limit) AS next) AS piece "
    "WHERE before < :max_bytes ORDER BY last_line",
    SERVICE_OF_DEPLOYMENT,
    environment=ENVIRONMENT_OF_DEPLOYMENT,
)
_COLORS = r"\\u001b\[[0-9;:]*m"  # as JSON writes them
_UNUSUAL = (
    r"[ßİŉſǰẖẗẘẙẚẞ\u212Aﬀﬁﬂﬃﬄﬅﬆ]"
    r"|[\u0080-\u009f\u2028-\u202e\u2066-\u2069]"
    r"|\\u(?!001b\[[0-9;:]*m)|\\[bf]|\\r(?!\")"
)
_PLAIN = re.compile(r"[ !#-\[\]-~]+")
_NOTIFY = Statement(f"SELECT pg_notify('{CHANNEL}', :payload)")

# Queued and running deployments, and recently finished ones among the newest 1,000.
_CURSORS = VisibleStatement(
    f"SELECT id, seq FROM deployments WHERE state IN ({sql_list(ACTIVE)}) AND {{visible}} "
    "UNION SELECT id, seq FROM (SELECT id, seq, service_id, environment, finished FROM deployments ORDER BY id DESC LIMIT 1000) AS newest "
    "WHERE finished > now() - make_interval(secs => :seconds) AND {visible}",
    "service_id",
    environment="environment",
)
_LANE = Statement("SELECT service_id, environment FROM deployments WHERE id = :deployment_id")


# The `last_line` of a message without output that only clients that follow the deployment receive.
NO_LINE = 0


class StoredEvent(NamedTuple):
    """A stored message. `last_line` is the number of its last output line.

    It is None for messages to everyone, and `NO_LINE` for messages without output to clients that follow the deployment.
    """

    seq: int
    last_line: int | None
    message: str


class CommittedEvents(NamedTuple):
    """Consecutive events of a deployment that were stored together, ready to be sent to clients."""

    deployment_id: int
    lane: Lane
    events: Sequence[StoredEvent]


class Events:
    """The event log. `Batches` writes it."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def after(
        self, deployment_id: int, seq: int, *, visible: Visible, limit: int = 500, with_output: bool = True
    ) -> list[StoredEvent]:
        """Return up to `limit` events after `seq`, in order, optionally without output."""
        rows = await _AFTER.rows(
            self._driver, visible, deployment_id=deployment_id, after=seq, limit=limit, with_output=with_output
        )
        return [StoredEvent(*row) for row in rows]

    async def some_after(
        self, deployment_id: int, seq: int, *, visible: Visible, limit: int, max_bytes: int, with_output: bool
    ) -> list[StoredEvent]:
        """Like `after`, but stop at the event that reaches `max_bytes`."""
        rows = await _SOME_AFTER.rows(
            self._driver,
            visible,
            deployment_id=deployment_id,
            after=seq,
            limit=limit,
            max_bytes=max_bytes,
            with_output=with_output,
        )
        return [StoredEvent(*row) for row in rows]

    async def output_after(
        self, deployment_id: int, line: int, *, visible: Visible, limit: int = 100
    ) -> list[StoredEvent]:
        """Return up to `limit` output events with lines after line number `line`, in order."""
        rows = await _OUTPUT.rows(self._driver, visible, deployment_id=deployment_id, after=line, limit=limit)
        return [StoredEvent(*row) for row in rows]

    async def search_output(
        self,
        deployment_id: int,
        line: int,
        text: str,
        *,
        visible: Visible,
        limit: int = 2000,
        max_bytes: int = 4 << 20,
    ) -> list[tuple[int, str | None]]:
        """Search a piece of the output after line number `line`: up to `limit` events, or the one that reaches `max_bytes`.

        Return the last line of each event, and its message if it may contain `text` (ignoring case). An empty list
        means the end of the output.
        """
        # JSON does not escape these characters, so they can be searched for in the message itself.
        plain = max(_PLAIN.findall(text.casefold()), key=len, default="")
        escaped = re.sub(r"([%_])", r"\\\1", plain)
        rows = await _SEARCH.rows(
            self._driver,
            visible,
            deployment_id=deployment_id,
            after=line,
            pattern=f"%{escaped}%",
            unusual=_UNUSUAL,
            colors=_COLORS,
            limit=limit,
            max_bytes=max_bytes,
        )
        return [(row[0], row[1]) for row in rows]

    async def wake(self, payload: str) -> None:
        """Notify listening processes after this transaction commits."""
        await _NOTIFY.value(self._driver, payload=payload)


def event_rows(deployment_id: int, events: Sequence[StoredEvent]) -> dict[str, Any]:
    """Return the parameters of `APPEND_EVENTS` and `NOTIFY_OF_DEPLOYMENT`.

    Each parameter is one text that PostgreSQL splits at newlines, which is faster than passing arrays. A message is
    JSON without newlines.
    """
    last_lines = ["NULL" if event.last_line is None else str(event.last_line) for event in events]
    return {
        "deployment_id": deployment_id,
        "last_seq": events[-1].seq if events else None,
        "before_first": events[0].seq - 1 if events else None,
        "last_lines": f"{{{','.join(last_lines)}}}",
        "messages": "\n".join([event.message for event in events]),
    }


class EventReader:
    """Reads the end of the event log for live updates.

    Reads do not use transactions, because they happen after every transaction.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def after(
        self, deployment_id: int, seq: int, *, visible: Visible, limit: int, with_output: bool
    ) -> list[StoredEvent]:
        """Return up to `limit` events after `seq`, in order, optionally without output."""
        async with self._database.connection() as connection:
            events = Events(connection)
            return await events.after(deployment_id, seq, visible=visible, limit=limit, with_output=with_output)

    async def some_after(
        self, deployment_id: int, seq: int, *, visible: Visible, limit: int, max_bytes: int, with_output: bool
    ) -> list[StoredEvent]:
        """Like `after`, but stop at the event that reaches `max_bytes`."""
        async with self._database.connection() as connection:
            return await Events(connection).some_after(
                deployment_id, seq, visible=visible, limit=limit, max_bytes=max_bytes, with_output=with_output
            )

    async def cursors(self, *, visible: Visible, since_seconds: float) -> Sequence[tuple[int, int]]:
        """Return (ID, seq) of the deployments that are open or that finished in the last `since_seconds`."""
        async with self._database.connection() as connection:
            rows = await _CURSORS.rows(connection, visible, seconds=since_seconds)
        return [(row[0], row[1]) for row in rows]

    async def lane_of(self, deployment_id: int) -> Lane | None:
        """Return the lane of a deployment, or None if it was deleted."""
        async with self._database.connection() as connection:
            row = await _LANE.row(connection, deployment_id=deployment_id)
            return Lane(*row) if row is not None else None
