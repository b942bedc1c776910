"""Insert a skewed history and a long queue by SQL."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

# Ten services are never deployed, and one was deployed only three times, long ago.
NEVER = tuple(f"sleeper-{number}" for number in range(11, 21))
OLD = "lines"
# Of ten deployments, one failed. The first three are the only ones of eve. Bob never deploys sleeper-01, nor from GitHub.
_HISTORY = """
    INSERT INTO deployments (service_id, service, origin, "user", context, state, created, started, finished,
        exit_code, worker_id, run_ended, seq, lines, spool_offset, step_count, run_count, has_failed_step)
    SELECT s.id, s.name, CASE WHEN who = 'bob' OR n % 2 = 0 THEN 'page' ELSE 'GitHub' END, who,
        json_build_object('env', json_build_object('commit', md5(n::text), 'branch', 'main', 'number', n)),
        CASE WHEN n % 10 = 7 THEN 'failure' WHEN n = 20 THEN 'cancelled' ELSE 'success' END,
        at, at + interval '120 milliseconds', at + interval '42.5 seconds',
        CASE n % 10 WHEN 7 THEN 1 ELSE 0 END, 'worker', at + interval '42.5 seconds', 14, 20, 4096, 5, 5, false
    FROM generate_series($1::bigint, $2::bigint) AS n
    CROSS JOIN LATERAL (SELECT timestamptz '2020-01-01' + n * interval '3 minutes' AS at) AS clock
    CROSS JOIN (SELECT array_agg(id ORDER BY name) AS ids FROM services WHERE name <> ALL ($3::text[]) AND name <> $4) AS usual
    JOIN services AS s ON s.id = CASE WHEN n <= 3 THEN (SELECT id FROM services WHERE name = $4)
        ELSE usual.ids[1 + n % cardinality(usual.ids)] END
    CROSS JOIN LATERAL (
        SELECT CASE WHEN n <= 3 THEN 'eve' WHEN n % 5 = 0 AND s.name <> 'sleeper-01' THEN 'bob' ELSE 'admin' END AS who
    ) AS people
    ORDER BY n
"""
# Indexes that no constraint needs.
_INDEXES = """
    SELECT indexname, indexdef FROM pg_indexes
    WHERE tablename = 'deployments' AND schemaname = 'public' AND NOT indexdef LIKE 'CREATE UNIQUE%'
"""
_QUEUE = """
    WITH added AS (
        INSERT INTO deployments (service_id, service, origin, "user", context, state, created, seq, lines, spool_offset,
            step_count, run_count, has_failed_step)
        SELECT s.id, s.name, 'benchmark', 'admin', '{"env": {}}', 'queued', now(), 0, 0, 0, 0, 0, false
        FROM generate_series(1, $1::bigint) AS n
        JOIN (SELECT id, name, row_number() OVER (ORDER BY name) - 1 AS place, count(*) OVER () AS total FROM services
            WHERE name LIKE 'quick-%') AS s ON s.place = n % s.total
        ORDER BY n RETURNING id, service_id
    )
    INSERT INTO procrastinate_jobs (queue_name, task_name, lock, args)
    SELECT 'deployments', 'deploy', 'service:' || service_id || ':', json_build_object('deployment_id', id)
    FROM added ORDER BY id
"""
_LINK = """
    UPDATE deployments SET job_id = job.id FROM procrastinate_jobs AS job
    WHERE (job.args ->> 'deployment_id')::bigint = deployments.id AND deployments.job_id IS NULL AND state = 'queued'
"""


async def _connected(url: str, *statements: tuple[str, tuple[Any, ...]]) -> Any:
    connection = await asyncpg.connect(url)
    found = None
    try:
        async with connection.transaction():
            # Checking the foreign keys of a million rows one by one would take longer than everything else.
            await connection.execute("SET LOCAL session_replication_role = replica")
            for statement, values in statements:
                found = await connection.fetchval(statement, *values)
    finally:
        await connection.close()
    return found


async def _without_indexes(url: str, statement: str, *values: Any) -> None:
    """Execute a statement that adds a million deployments, and build the indexes for reads afterward."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute("SET LOCAL maintenance_work_mem = '256MB'")
            indexes = await connection.fetch(_INDEXES)
            for name, _ in indexes:
                await connection.execute(f'DROP INDEX "{name}"')
            await connection.execute(statement, *values)
            for _, definition in indexes:
                await connection.execute(definition)
    finally:
        await connection.close()


async def _vacuum(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


def seed_history(url: str, total: int) -> None:
    """Add deployments until there are about `total` deployments."""
    count = asyncio.run(_connected(url, ("SELECT count(*) FROM deployments", ())))
    asyncio.run(_without_indexes(url, _HISTORY, count + 1, total, list(NEVER), OLD))
    asyncio.run(_vacuum(url))


def seed_queue(url: str, waiting: int) -> None:
    """Add waiting deployments of twenty services."""
    asyncio.run(_connected(url, (_QUEUE, (waiting,)), (_LINK, ())))
    asyncio.run(_vacuum(url))


def clear_queue(url: str) -> None:
    """Remove all waiting deployments."""
    jobs = "DELETE FROM procrastinate_jobs WHERE status = 'todo'"
    asyncio.run(_connected(url, (jobs, ()), ("DELETE FROM deployments WHERE state = 'queued'", ())))


def count_done(url: str) -> int:
    """Return the number of queued deployments that have ended."""
    query = "SELECT count(*) FROM deployments WHERE id > (SELECT max(id) - 20000 FROM deployments) AND origin = 'benchmark' AND run_ended IS NOT NULL"
    return int(asyncio.run(_connected(url, (query, ()))))
