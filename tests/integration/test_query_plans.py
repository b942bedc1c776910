"""No read scans the history: each statement looks at few more rows than it returns, however skewed the history is."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import pkgutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, TypeAlias

import pytest
import pytest_asyncio
from asyncpg.connection import LoggedQuery
from sqlalchemy import event

from deploy.adapters import repository
from deploy.adapters.database import Database
from deploy.adapters.repository import EventReader, Listings
from deploy.adapters.repository.deployments import Filter
from deploy.adapters.repository.hosts import Place, ResultFilter
from deploy.adapters.repository.statement import Statement, VisibleStatement
from deploy.domain.model import Deployment, DeploymentState, Lane
from deploy.domain.rights import EVERYTHING, Visible
from deploy.service_layer.queue import why_all_waiting, why_waiting
from deploy.service_layer.unit_of_work import UnitOfWork, unit_of_work
from tests.databases import Databases
from tests.site import unfinished

DEPLOYMENTS, SERVICES, WAITING = 20_000, 20, 300
NEVER, OLD, NORMAL = SERVICES, 19, 3
LIMIT = 20
# All numbers are constants in this file. Service 20 was never deployed, and service 19 only three times, long ago. The first
# deployments are also the only ones of eve and from "old". Services 1 to 9 are only deployed by ada, and from GitHub.
SEED = [
    f"INSERT INTO services (name, data) SELECT 's' || n, '{{}}' FROM generate_series(1, {SERVICES}) AS n",  # noqa: S608
    f"""
    INSERT INTO deployments (service_id, service, origin, "user", user_id, context, state, created, started, finished,
        run_ended, seq, lines, spool_offset, step_count, run_count, has_failed_step)
    SELECT service, 's' || service, CASE WHEN n <= 3 THEN 'old' WHEN service < 10 THEN 'GitHub' ELSE 'page' END,
        CASE WHEN n <= 3 THEN 'eve' WHEN service < 10 THEN 'ada' ELSE 'bob' END, NULL, '{{}}',
        CASE WHEN n <= 3 THEN 'failure' WHEN n > {DEPLOYMENTS - WAITING} THEN 'queued'
            WHEN n % 3 = 0 OR service = 1 THEN 'failure' ELSE 'success' END,
        at, at, CASE WHEN n <= {DEPLOYMENTS - WAITING} THEN at END, CASE WHEN n <= {DEPLOYMENTS - WAITING} THEN at END,
        20, 100, 1000, 3, 3, false
    FROM generate_series(1, {DEPLOYMENTS}) AS n
    CROSS JOIN LATERAL (SELECT CASE WHEN n <= 3 THEN {OLD} ELSE 1 + n % 18 END AS service) AS chosen
    CROSS JOIN LATERAL (SELECT timestamptz '2025-01-01' + n * interval '20 minutes' AS at) AS clock
    ORDER BY n
    """,  # noqa: S608
    """
    INSERT INTO procrastinate_jobs (queue_name, task_name, lock, args)
    SELECT 'deployments', 'deploy', 'service:' || service_id || ':', json_build_object('deployment_id', id)
    FROM deployments WHERE state = 'queued' ORDER BY id
    """,
    """
    UPDATE deployments SET job_id = job.id FROM procrastinate_jobs AS job
    WHERE CAST(job.args ->> 'deployment_id' AS bigint) = deployments.id
    """,
    """
    INSERT INTO steps (deployment_id, name, description, position, state, message, detail, hosts)
    SELECT id, 'step ' || n, '', n, 'success', '', '{}', '[]' FROM deployments, generate_series(1, 3) AS n
    """,
    """
    INSERT INTO events (deployment_id, seq, last_line, message)
    SELECT id, n, CASE WHEN n % 2 = 0 THEN n * 5 END, '{}' FROM deployments, generate_series(1, 10) AS n
    """,
    """
    INSERT INTO host_results (deployment_id, step_id, host, outcome, message, lines)
    SELECT deployment_id, id, 'web' || n, 'ok', '', '[]' FROM steps, generate_series(1, 2) AS n
    """,
    "INSERT INTO snapshots (deployment_id, config) SELECT id, '{}' FROM deployments",
    "ANALYZE",
]
Read = Callable[[UnitOfWork], Awaitable[Any]]
MIDDLE = DEPLOYMENTS // 2
START, DAY = datetime(2025, 1, 1, tzinfo=timezone.utc), timedelta(days=1)
SOME = Visible(frozenset({NORMAL, OLD, NEVER}))
IN_ENVIRONMENTS = Visible(SOME.services, frozenset({NORMAL}), frozenset({(NORMAL, ""), (NORMAL, "staging")}))
VISIBLE = {"all services": EVERYTHING, "some services": SOME, "some environments": IN_ENVIRONMENTS}


async def before_the_middle(uow: UnitOfWork, visible: Visible) -> Deployment | None:
    """Find the last success before the middle of the history."""
    deployment = await uow.deployments.get(MIDDLE - MIDDLE % 18 + NORMAL - 1, visible=EVERYTHING)
    return await uow.history.last_success_before(deployment, visible=visible)


async def waiting_alone(uow: UnitOfWork, visible: Visible) -> Any:
    """Find the reason why the first deployment in the queue waits."""
    first = (await uow.deployments.waiting(visible=visible, limit=1))[0]
    return await why_waiting(first, uow, datetime.now(timezone.utc), 60, visible=visible)


VisibleRead: TypeAlias = Callable[[UnitOfWork, Visible], Awaitable[Any]]
READS: dict[str, VisibleRead] = {
    "results of a service": lambda uow, visible: uow.history.finished(Lane(NORMAL), limit=LIMIT, visible=visible),
    "results of an old service": lambda uow, visible: uow.history.finished(Lane(OLD), limit=LIMIT, visible=visible),
    "the previous success": before_the_middle,
    "snapshots": lambda uow, visible: uow.history.snapshots([MIDDLE, MIDDLE + 1], visible=visible),
    "the jobs of a page": lambda uow, visible: uow.queue.jobs(visible=visible, last=LIMIT),
    "the deployments ahead": waiting_alone,
    "one deployment": lambda uow, visible: uow.deployments.find(MIDDLE, visible=visible),
    "one deployment, locked": lambda uow, visible: uow.deployments.get(1, for_update=True, visible=visible),
    "deployments to run": lambda uow, _: uow.deployments.to_run([MIDDLE]),
    "a plan": lambda uow, visible: uow.plans.by_successes(Lane(NORMAL), visible=visible),
    "a plan without a success": lambda uow, visible: uow.plans.by_successes(Lane(1), visible=visible),
    "a plan of an old service": lambda uow, visible: uow.plans.by_successes(Lane(OLD), visible=visible),
    "a plan of a service without deployments": lambda uow, visible: uow.plans.by_successes(
        Lane(NEVER), visible=visible
    ),
    "previous values of a user without deployments": lambda uow, visible: uow.previous_values.last(
        Lane(NORMAL), 1, visible=visible
    ),
    "the newest of each service": lambda uow, visible: uow.deployments.latest_by_service(
        list(range(1, SERVICES + 1)), visible=visible
    ),
    "running deployments": lambda uow, visible: uow.deployments.running(visible=visible),
    "waiting deployments": lambda uow, visible: uow.deployments.waiting(visible=visible, limit=LIMIT),
    "the last waiting deployments": lambda uow, visible: uow.deployments.waiting(
        visible=visible, after=DEPLOYMENTS - LIMIT, limit=LIMIT
    ),
    "the number of running deployments": lambda uow, visible: uow.deployments.count(
        DeploymentState.RUNNING, visible=visible
    ),
    "active deployments of a service": lambda uow, visible: uow.deployments.active(
        NORMAL, visible=visible, limit=LIMIT
    ),
    "active deployments of an old service": lambda uow, visible: uow.deployments.active(OLD, visible=visible),
    "the number of active deployments of a service": lambda uow, visible: uow.deployments.count_active(
        NORMAL, visible=visible
    ),
    "running deployments of a worker": lambda uow, _: uow.deployments.running_on("w1"),
    "deployments without a job": lambda uow, _: uow.deployments.without_job(limit=LIMIT),
    "reported results with a live process": lambda uow, visible: uow.deployments.reported_but_alive(visible=visible),
    "lost deployments": lambda uow, _: uow.deployments.lost(60),
    "names of the values of services": lambda uow, visible: uow.previous_values.names(
        [f"s{NEVER}", f"s{OLD}", f"s{NORMAL}"], visible=visible
    ),
    "waiting jobs": lambda uow, _: uow.queue.has_waiting(),
    "an idempotency key": lambda uow, _: uow.deployments.with_key(NORMAL, "ada", "k1"),
    "queued deployments of a service and a user": lambda uow, _: uow.deployments.count_queued(
        NORMAL, "ada", limit=LIMIT
    ),
    "secrets": lambda uow, _: uow.secrets.get(MIDDLE),
    "deployed services": lambda uow, visible: uow.deployed_services.list(visible=visible),
    "events": lambda uow, visible: uow.events.after(1, 3, visible=visible),
    "events up to a size": lambda uow, visible: uow.events.some_after(
        1, 3, visible=visible, limit=LIMIT, max_bytes=1 << 19, with_output=True
    ),
    "a search": lambda uow, visible: uow.events.search_output(1, 3, "x", visible=visible),
    "output": lambda uow, visible: uow.events.output_after(1, 3, visible=visible),
    "steps": lambda uow, visible: uow.steps.of(1, visible=visible),
    "open steps": lambda uow, _: uow.steps.open_of(MIDDLE),
    "host results": lambda uow, visible: uow.hosts.list(
        MIDDLE, limit=LIMIT, after=Place(), only=ResultFilter(step_id=3), visible=visible
    ),
    "one host result": lambda uow, visible: uow.hosts.one(MIDDLE, 3, "web1", visible=visible),
    "hosts of a run": lambda uow, _: uow.hosts.tracked(MIDDLE),
    "a recap": lambda uow, visible: uow.hosts.recaps(MIDDLE, limit=LIMIT, after=Place(), text="", visible=visible),
    "a summary of hosts": lambda uow, visible: uow.hosts.summary(MIDDLE, visible=visible),
    "workers": lambda uow, _: uow.workers.list(),
}
# Statements that change something. Their cost does not depend on the history, except for the deletion of old deployments.
WRITES = {
    ("batches", "_ADD"),
    ("batches", "_NEXT_ID"),
    ("batches", "_SETTLE"),
    ("batches", "_STORE"),
    ("events", "_NOTIFY"),
    ("history", "_KEEP_FILES"),
    ("queue", "_FINISH"),
    ("queue", "_PUT"),
    ("queue", "_TAKE"),  # tests/integration/test_lanes.py
    ("queue", "_WAKE"),
    ("queue", "_WITHDRAW"),
    ("retention", "_REMOVE_OLD"),  # below
    ("secrets", "_PUT"),
    ("secrets", "_PUT_FIRST"),
    ("secrets", "_REMOVE"),
    ("steps", "_RESERVE"),
    ("worker_tasks", "_ADD"),
    ("worker_tasks", "_CLAIM"),
    ("worker_tasks", "_FINISH"),
    ("worker_tasks", "_REMOVE"),
    ("worker_tasks", "_REMOVE_OVERDUE"),
    ("worker_tasks", "_TAKE_ANSWER"),
    ("workers", "_BEAT"),
}

OutsideRead: TypeAlias = Callable[[Database, Visible], Awaitable[Any]]
OUTSIDE: dict[str, OutsideRead] = {
    "cursors": lambda database, visible: EventReader(database).cursors(since_seconds=60, visible=visible),
    "the lane of a deployment": lambda database, _: EventReader(database).lane_of(MIDDLE),
    "all services": lambda database, visible: Listings(database).services(visible=visible),
}


def filters() -> Iterator[tuple[str, Filter]]:
    """Yield every combination of filters, with values that many, few, and no deployments have."""
    services = {"": None, "service": NORMAL, "old service": OLD}
    users = {"": None, "user": "ada", "rare user": "eve"}
    origins = {"": None, "origin": "page"}
    states = {
        "": (),
        "states": (DeploymentState.SUCCESS, DeploymentState.FAILURE),
        "rare": (DeploymentState.CANCELLED,),
    }
    times = {
        "": (None, None),
        "until": (None, START + 30 * DAY),
        "since": (START + 250 * DAY, None),
        "range": (START + 100 * DAY, START + 101 * DAY),
    }
    for names in itertools.product(services, users, origins, states, times):
        service, user, origin, state, time = names
        since, until = times[time]
        yield (
            ", ".join(filter(None, names)) or "no filter",
            Filter(
                service_id=services[service],
                user=users[user],
                origin=origins[origin],
                states=states[state],
                since=since,
                until=until,
            ),
        )


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


@dataclass
class Work:
    """The rows that a plan has looked at in large tables, and those that it has returned."""

    rows: float = 0
    returned: float = 0
    plan: list[Any] = field(default_factory=list)

    def add(self, plan: dict[str, Any]) -> None:
        """Add a node of a plan and those below it."""
        if plan.get("Relation Name") in {"deployments", "events", "snapshots", "steps", "procrastinate_jobs"}:
            seen = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
            self.rows += plan["Actual Loops"] * (seen + plan.get("Rows Removed by Index Recheck", 0))
        for part in plan.get("Plans", ()):
            self.add(part)


def literal(value: Any) -> str:
    """Return a parameter as a literal of SQL."""
    if value is None:
        return "NULL"
    if isinstance(value, (list, tuple)):
        value = "{" + ",".join(map(str, value)) + "}"
    return "'" + str(value).replace("'", "''") + "'"


async def work_of(database: Database, seen: list[tuple[str, Any]]) -> list[Work]:
    """Execute each statement with its generic plan, whatever the costs of random access are set to."""
    found = []
    async with database.connection() as connection:
        for (statement, parameters), cost in itertools.product(seen, ("1.1", "40")):
            values = f"({', '.join(map(literal, parameters))})" if parameters else ""
            await connection.execute(f"SET random_page_cost = {cost}")
            await connection.execute(f"PREPARE explained AS {statement}")
            try:
                text = await connection.fetchval(
                    f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE explained{values}"
                )
            finally:
                await connection.execute("DEALLOCATE explained")
                await connection.execute("RESET random_page_cost")
            work = Work(returned=text[0]["Plan"]["Actual Rows"], plan=[statement, parameters, text])
            work.add(text[0]["Plan"])
            found.append(work)
    return found


def ensure_small(works: list[Work]) -> None:
    """Fail if a statement has looked at many more rows than it was asked for."""
    assert works
    for work in works:
        # A statement can read a few more tables or services than it returns rows.
        assert work.rows <= 10 * max(LIMIT, work.returned), (
            f"{work.rows} {work.returned} {json.dumps(work.plan, default=str)[:6000]}"
        )


CASES = [
    pytest.param(read, visible, id=f"{name}, {whose}")
    for name, read in READS.items()
    for whose, visible in VISIBLE.items()
]


async def in_uow(database: Database, read: VisibleRead, visible: Visible) -> list[tuple[str, Any]]:
    """Read in a unit of work. Return the executed statements."""
    async with statements(database) as seen, unit_of_work(database.transaction)() as uow:
        await read(uow, visible)
    return seen


@pytest.mark.parametrize(("read", "visible"), CASES)
async def test_reads_look_at_few_rows(full: Database, read: VisibleRead, visible: Visible) -> None:
    ensure_small(await work_of(full, await in_uow(full, read, visible)))


@pytest.mark.parametrize("visible", VISIBLE.values(), ids=VISIBLE.keys())
@pytest.mark.parametrize("name", OUTSIDE.keys())
async def test_reads_outside_transactions_look_at_few_rows(full: Database, name: str, visible: Visible) -> None:
    async with statements(full) as seen:
        await OUTSIDE[name](full, visible)
    works = await work_of(full, seen)
    for work in works:
        # Per service: the newest deployment, up to 5 active ones twice, and up to 100 that are counted. The cursors include
        # all active deployments and the newest 1,000.
        work.returned = {"all services": 11 * SERVICES, "cursors": 1_300}.get(name, 1)
    ensure_small(works)


@pytest.mark.parametrize(
    ("before", "visible"), [(None, EVERYTHING), (MIDDLE, SOME), (None, IN_ENVIRONMENTS)], ids=VISIBLE.keys()
)
async def test_filters_look_at_few_rows(full: Database, before: int | None, visible: Visible) -> None:
    for name, only in filters():
        # A range of times is only known to 256 IDs at both ends, which may contain few matches. Finding it probes blocks.
        returned = 60 if only.since or only.until else LIMIT
        # Every visible service is read up to the limit.
        returned *= len(visible.services or "1")
        await ensure_page(full, name, only, before, visible, returned)


async def test_wrong_clocks_do_not_make_times_slow(databases: Databases) -> None:
    """A deployment that was created while the clock was wrong does not make a filter read everything around it."""
    async with databases.migrated() as url:
        database = Database(url)
        async with database.transaction() as connection:
            await connection.execute(SEED[0])
            await connection.execute(SEED[1])
            for n, years in ((700, 5), (MIDDLE, -5), (DEPLOYMENTS - 700, -5)):
                await connection.execute(
                    f"UPDATE deployments SET created = created + interval '{years} years' WHERE id = {n}"  # noqa: S608 - constants
                )
            await connection.execute("ANALYZE")
        for name, only in filters():
            if only.since or only.until:
                # Each of up to four ranges of IDs is only known to 256 IDs.
                await ensure_page(database, name, only, None, EVERYTHING, 4 * 30)
        await database.close()


async def ensure_page(
    database: Database, name: str, only: Filter, before: int | None, visible: Visible, returned: int
) -> None:
    """Fail if a page is wrong, or if a statement for it has looked at many more than `returned` rows."""
    async with statements(database) as seen:
        listings = Listings(database)
        page = json.loads(await listings.deployments(limit=LIMIT, before=before, only=only, visible=visible))
    assert [row["id"] for row in page] == await expected(database, only, before, visible), name
    works = await work_of(database, seen)
    for work in works:
        work.returned = returned
    ensure_small(works)


async def expected(database: Database, only: Filter, before: int | None, visible: Visible) -> list[int]:
    """Find a page of deployments in the simplest possible way."""
    states = [state.value for state in only.states]
    async with database.connection() as connection:
        rows = await connection.fetch(
            'SELECT id FROM deployments WHERE ($1::bigint IS NULL OR service_id = $1) AND ($2::text IS NULL OR "user" = $2) '
            "AND ($3::text IS NULL OR origin = $3) AND ($4::text[] = '{}' OR state = ANY($4)) "
            "AND ($5::timestamptz IS NULL OR created >= $5) AND ($6::timestamptz IS NULL OR created < $6) "
            "AND ($7::bigint IS NULL OR id < $7) AND ($8::bigint[] IS NULL OR service_id = ANY($8)) "
            "ORDER BY id DESC LIMIT $9",
            *(only.service_id, only.user, only.origin, states, only.since, only.until),
            *(before, None if visible.services is None else sorted(visible.services), LIMIT),
        )
    return [row[0] for row in rows]


def named_statements() -> Iterator[tuple[tuple[str, str], Statement | VisibleStatement]]:
    """Yield all statements of the repositories with their modules and names."""
    for module in pkgutil.iter_modules(repository.__path__):
        found = vars(importlib.import_module(f"{repository.__name__}.{module.name}"))
        for name, value in found.items():
            if isinstance(value, (Statement, VisibleStatement)):
                yield (module.name, name), value


async def test_every_statement_that_reads_is_tested(full: Database) -> None:
    executed = {text for read in READS.values() for text, _ in await in_uow(full, read, EVERYTHING)}
    async with statements(full) as seen:
        for outside in OUTSIDE.values():
            await outside(full, EVERYTHING)
        await Listings(full).deployments(
            limit=1, only=Filter(since=START, until=START + 9999 * DAY), visible=EVERYTHING
        )
    executed |= {text for text, _ in seen}
    known = {
        name: value.variants() if isinstance(value, VisibleStatement) else (value,)
        for name, value in named_statements()
    }
    missing = {name for name, variants in known.items() if not {one.sql for one in variants} & executed}
    # Imported statements have several names.
    missing -= {name for name in missing if any(known[name] == known[other] for other in WRITES & known.keys())}
    assert missing == set()
    assert known.keys() >= WRITES


async def test_retention_without_work_looks_at_few_rows(full: Database) -> None:
    (retention,) = (value for name, value in named_statements() if name == ("retention", "_REMOVE_OLD"))
    assert isinstance(retention, Statement)
    for service_id, days, count in ((NORMAL, 36_500, 0), (OLD, 36_500, 3), (NEVER, 1, 1), (OLD, 0, LIMIT)):
        values = {"service_id": service_id, "days": days, "count": count, "limit": LIMIT}
        ensure_small(await work_of(full, [(retention.sql, [values[name] for name in retention.names])]))


async def test_times_out_of_order_are_found(databases: Databases) -> None:
    """IDs and times only ascend together as long as all clocks agree."""
    async with databases.migrated() as url:
        database = Database(url)
        async with database.transaction() as connection:
            await connection.execute(SEED[0])
            await connection.execute(SEED[1])
            await connection.execute(
                "UPDATE deployments SET created = created + (hashint8(id) % 5000) * interval '1 hour'"
            )
        for since, until in (
            (None, START + 30 * DAY),
            (START + 100 * DAY, START + 101 * DAY),
            (START + 400 * DAY, None),
        ):
            only = Filter(since=since, until=until, user="ada")
            page = json.loads(await Listings(database).deployments(limit=LIMIT, only=only, visible=EVERYTHING))
            assert [row["id"] for row in page] == await expected(database, only, None, EVERYTHING)
        await database.close()


async def test_a_long_queue_takes_as_many_queries_as_a_short_one(full: Database) -> None:
    open_uow = unit_of_work(full.transaction)
    async with open_uow() as uow:
        found = await unfinished(uow)
    now = datetime.now(timezone.utc)
    counts = []
    # The first round does not count: asyncpg looks up a type when a connection first uses it.
    for waiting in (found, found[:1], found):
        async with statements(full) as seen, open_uow() as uow:
            assert len(await why_all_waiting(waiting, uow, now, 60, visible=EVERYTHING)) == len(waiting)
        counts.append(len(seen))
    assert len(found) == WAITING
    assert counts[1:] == [3, 3]


async def test_a_scan_is_detected(full: Database) -> None:
    for condition in ("reason = 'x'", f"service_id + 0 = {NEVER} ORDER BY id DESC LIMIT 1"):
        works = await work_of(full, [(f"SELECT id FROM deployments WHERE {condition}", ())])  # noqa: S608 - constants
        with pytest.raises(AssertionError):
            ensure_small(works)
