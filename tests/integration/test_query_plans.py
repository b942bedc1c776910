"""Frequent queries stay fast with a long history because they use indexes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from typing import Any, TypeAlias

import pytest
import pytest_asyncio
from asyncpg.connection import LoggedQuery
from sqlalchemy import event

from deploy.adapters.database import Database
from deploy.adapters.repository import EventReader, Listings
from deploy.adapters.repository.deployments import Filter
from deploy.domain.model import Deployment, DeploymentState, Lane
from deploy.domain.policy import EVERYTHING
from deploy.service_layer.queue import why_all_waiting
from deploy.service_layer.unit_of_work import UnitOfWork, unit_of_work
from tests.databases import Databases

DEPLOYMENTS, SERVICES = 10_000, 20
# All numbers are constants in this file.
SEED = [
    f"INSERT INTO services (name, data) SELECT 's' || n, '{{}}' FROM generate_series(1, {SERVICES}) AS n",  # noqa: S608
    # Every service has successes, except for one that never had any and one whose history is later than another's.
    f"""
    INSERT INTO deployments (service_id, service, origin, "user", context, state, created, started, finished,
        run_ended, seq, lines, spool_offset, step_count, run_count, has_failed_step)
    SELECT s.id, s.name, 'GitHub', 'ada', '{{}}',
        CASE WHEN n > {DEPLOYMENTS - 10} THEN 'queued' WHEN n % 3 = 0 OR s.id = 1 THEN 'failure' ELSE 'success' END,
        now() - interval '1 year', now() - interval '1 year',
        CASE WHEN n <= {DEPLOYMENTS - 10} THEN now() - interval '1 year' END,
        CASE WHEN n <= {DEPLOYMENTS - 10} THEN now() - interval '1 year' END,
        20, 100, 1000, 3, 3, n % 3 = 0
    FROM generate_series(1, {DEPLOYMENTS}) AS n
    JOIN services AS s ON s.id = CASE WHEN n < 100 THEN {SERVICES} ELSE 1 + n % ({SERVICES} - 1) END
    ORDER BY n
    """,  # noqa: S608
    """
    INSERT INTO steps (deployment_id, name, description, position, state, message, detail, hosts)
    SELECT id, 'step ' || n, '', n, 'success', '', '{}', '[]' FROM deployments, generate_series(1, 3) AS n
    """,
    """
    INSERT INTO events (deployment_id, seq, last_line, message)
    SELECT id, n, CASE WHEN n % 2 = 0 THEN n * 5 END, '{}' FROM deployments, generate_series(1, 20) AS n
    """,
    "INSERT INTO snapshots (deployment_id, config) SELECT id, '{}' FROM deployments",
    "ANALYZE",
]
Read = Callable[[UnitOfWork], Awaitable[Any]]
MIDDLE = DEPLOYMENTS // 2
LONG_AGO, YEAR = datetime(2020, 1, 1, tzinfo=timezone.utc), timedelta(days=365)


async def before_the_middle(uow: UnitOfWork) -> Deployment | None:
    """Find the last success before the middle of the history."""
    return await uow.history.last_success_before(
        await uow.deployments.get(MIDDLE, visible=EVERYTHING), visible=EVERYTHING
    )


READS: dict[str, Read] = {
    "outcomes of a service": lambda uow: uow.history.finished(Lane(3), limit=500, visible=EVERYTHING),
    "outcomes of a service with open deployments only": lambda uow: uow.history.finished(
        Lane(SERVICES), limit=500, visible=EVERYTHING
    ),
    "the previous success": before_the_middle,
    "snapshots": lambda uow: uow.history.snapshots([MIDDLE, MIDDLE + 1], visible=EVERYTHING),
    "the queue": lambda uow: uow.queue.jobs(visible=EVERYTHING),
    "one deployment": lambda uow: uow.deployments.get(MIDDLE, visible=EVERYTHING),
    "one deployment, locked": lambda uow: uow.deployments.get(MIDDLE, for_update=True, visible=EVERYTHING),
    "a plan": lambda uow: uow.plans.by_successes(Lane(3), visible=EVERYTHING),
    "a plan without a success": lambda uow: uow.plans.by_successes(Lane(1), visible=EVERYTHING),
    "a plan of a service without recent deployments": lambda uow: uow.plans.by_successes(
        Lane(SERVICES), visible=EVERYTHING
    ),
    "the newest of each service": lambda uow: uow.deployments.latest_by_service(
        list(range(1, SERVICES + 1)), visible=EVERYTHING
    ),
    "open deployments": lambda uow: uow.deployments.open(visible=EVERYTHING),
    "open deployments of a service": lambda uow: uow.deployments.open(service_id=3, visible=EVERYTHING),
    "open deployments of a worker": lambda uow: uow.deployments.open(worker_id="w1", visible=EVERYTHING),
    "deployments without a job": lambda uow: uow.deployments.without_job(),
    "reported results with a live process": lambda uow: uow.deployments.reported_but_alive(visible=EVERYTHING),
    "lost deployments": lambda uow: uow.deployments.lost(60),
    "an idempotency key": lambda uow: uow.deployments.with_key(3, "k1"),
    "events": lambda uow: uow.events.after(MIDDLE, 3, visible=EVERYTHING),
    "events without output": lambda uow: uow.events.after(MIDDLE, 3, with_output=False, visible=EVERYTHING),
    "output": lambda uow: uow.events.output_after(MIDDLE, 3, visible=EVERYTHING),
    "steps": lambda uow: uow.steps.of(MIDDLE, visible=EVERYTHING),
    "open steps": lambda uow: uow.steps.open_of(MIDDLE),
}


async def page(database: Database, limit: int = 100, **more: Any) -> str:
    """Read a page of deployments."""
    return await Listings(database).deployments(limit=limit, **more, visible=EVERYTHING)


OutsideRead: TypeAlias = Callable[[Database], Awaitable[Any]]
OUTSIDE: dict[str, OutsideRead] = {
    "cursors": lambda database: EventReader(database).cursors(since_seconds=60, visible=EVERYTHING),
    "new events": lambda database: EventReader(database).after(
        MIDDLE, 3, limit=200, with_output=True, visible=EVERYTHING
    ),
    "new events for one client": lambda database: EventReader(database).some_after(
        MIDDLE, 3, limit=200, max_bytes=1 << 19, with_output=True, visible=EVERYTHING
    ),
    "new events without output": lambda database: EventReader(database).after(
        MIDDLE, 3, limit=200, with_output=False, visible=EVERYTHING
    ),
    "the service of a deployment": lambda database: EventReader(database).service_of(MIDDLE),
    "all services": lambda database: Listings(database).services(visible=EVERYTHING),
    "the newest": page,
    "the next page": lambda database: page(database, limit=1000, before=MIDDLE),
    "deployments of a service": lambda database: page(database, only=Filter(service_id=3)),
    "deployments of a service without recent ones": lambda database: page(database, only=Filter(service_id=SERVICES)),
    "successful deployments": lambda database: page(
        database, only=Filter(service_id=3, states=(DeploymentState.SUCCESS,))
    ),
    "a time range": lambda database: page(database, only=Filter(since=LONG_AGO, until=LONG_AGO + YEAR)),
    "recent failures and cancellations": lambda database: page(
        database,
        only=Filter(states=(DeploymentState.FAILURE, DeploymentState.CANCELLED), since=LONG_AGO),
        before=MIDDLE,
    ),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def full(databases: Databases) -> AsyncIterator[Database]:
    """Yield a database with a long history."""
    async with databases.migrated() as url:
        made = Database(url)
        async with made.transaction() as connection:
            for statement in SEED:
                await connection.execute(statement)
        yield made
        await made.close()


@asynccontextmanager
async def statements(database: Database) -> AsyncIterator[list[tuple[str, Any]]]:
    """Yield the executed statements with their parameters, except those that begin and end transactions."""
    seen: list[tuple[str, Any]] = []

    def note(record: LoggedQuery) -> None:
        if record.query.split()[0] in ("SELECT", "WITH"):
            seen.append((record.query, tuple(record.args or ())))

    def note_session(*arguments: Any) -> None:
        _, _, statement, parameters, *_ = arguments
        seen.append((statement, parameters))

    async with database.connection() as connection:
        # Only this test uses the pool, which reuses the connection returned last first.
        connection.add_query_logger(note)
        engine = connection.engine.sync_engine
    event.listen(engine, "after_cursor_execute", note_session)
    try:
        yield seen
        await asyncio.sleep(0)  # the logger is called in the next loop iteration
    finally:
        event.remove(engine, "after_cursor_execute", note_session)
        connection.remove_query_logger(note)


def scans(plan: dict[str, Any]) -> Iterator[str]:
    """Yield the tables that a plan scans completely."""
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for part in plan.get("Plans", ()):
        yield from scans(part)


async def plans(database: Database, seen: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    """Return the plan of each statement."""
    found = []
    async with database.connection() as connection:
        for statement, parameters in seen:
            # Our connections use one plan for all values (`plan_cache_mode`), so the values do not matter.
            values = f"({', '.join(['NULL'] * len(parameters))})" if parameters else ""
            await connection.execute(f"PREPARE explained AS {statement}")
            try:
                (plan,) = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE explained{values}")
            finally:
                await connection.execute("DEALLOCATE explained")
            found.append(plan["Plan"])
    return found


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
async def test_reads_do_not_scan_the_whole_history(full: Database, read: Read) -> None:
    async with statements(full) as seen, unit_of_work(full.transaction)() as uow:
        await read(uow)
    assert seen
    large = {"deployments", "events", "snapshots", "steps"}
    for plan in await plans(full, seen):
        assert not large & set(scans(plan)), json.dumps(plan, indent=1)


@pytest.mark.parametrize("read", OUTSIDE.values(), ids=OUTSIDE.keys())
async def test_reads_outside_transactions_do_not_scan_the_whole_history(full: Database, read: OutsideRead) -> None:
    async with statements(full) as seen:
        await read(full)
    assert seen
    for plan in await plans(full, seen):
        assert not {"deployments", "events"} & set(scans(plan)), json.dumps(plan, indent=1)


async def test_a_long_queue_takes_as_many_queries_as_a_short_one(full: Database) -> None:
    open_uow = unit_of_work(full.transaction)
    async with open_uow() as uow:
        found = await uow.deployments.open(visible=EVERYTHING)
    now = datetime.now(timezone.utc)
    counts = []
    # The first round does not count: asyncpg looks up a type when a connection first uses it.
    for waiting in (found, found[:1], found):
        async with statements(full) as seen, open_uow() as uow:
            assert len(await why_all_waiting(waiting, uow, now, 60, visible=EVERYTHING)) == len(waiting)
        counts.append(len(seen))
    assert len(found) == 10
    assert counts[1:] == [3, 3]


async def test_a_full_scan_is_detected(full: Database) -> None:
    (plan,) = await plans(full, [("SELECT count(*) FROM deployments WHERE reason = 'x'", ())])
    assert list(scans(plan)) == ["deployments"]
