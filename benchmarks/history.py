"""Insert a deployment history with steps, events, and output by SQL, which takes seconds."""

from __future__ import annotations

import asyncio

import asyncpg

# Of every twenty deployments, one failed and one was canceled. Each has five steps and all events.
_DEPLOYMENTS = """
    INSERT INTO deployments (service_id, service, origin, "user", user_id, context, state, created, started, finished,
        reason, exit_code, worker_id, run_ended, seq, lines, spool_offset, step_count, run_count, has_failed_step)
    SELECT s.id, s.name, CASE n % 3 WHEN 0 THEN 'frontend' ELSE 'GitHub' END, 'admin',
        (SELECT id FROM users ORDER BY id LIMIT 1),
        json_build_object('env', json_build_object('commit', md5(n::text), 'branch', 'main', 'number', n)),
        CASE n % 20 WHEN 7 THEN 'failure' WHEN 13 THEN 'cancelled' ELSE 'success' END,
        at, at + interval '120 milliseconds', at + interval '42.5 seconds',
        CASE n % 20 WHEN 7 THEN 'The step “Restart” failed: the unit did not come up.' WHEN 13 THEN 'Cancelled by admin.' END,
        CASE n % 20 WHEN 7 THEN 1 WHEN 13 THEN NULL ELSE 0 END,
        'worker', at + interval '42.5 seconds', 14, 20, 4096, 5, 5, n % 20 = 7
    FROM generate_series($1::bigint, $2::bigint) AS n
    CROSS JOIN LATERAL (SELECT now() - interval '400 days' + n * interval '57 minutes 0.123456 seconds' AS at) AS clock
    JOIN (SELECT id, name, row_number() OVER (ORDER BY name) - 1 AS place, count(*) OVER () AS total FROM services) AS s
        ON s.place = n % s.total
    ORDER BY n
"""
_STEPS = """
    INSERT INTO steps (deployment_id, name, description, position, run_order, state, message, started, finished,
        first_line, last_line, detail, hosts)
    SELECT d.id, (ARRAY['Fetch', 'Build', 'Migrate', 'Restart', 'Check'])[k], 'What this step is for', k, k,
        CASE WHEN k = 4 AND d.has_failed_step THEN 'failure' ELSE 'success' END, 'All is well',
        d.started + k * interval '8 seconds', d.started + (k + 1) * interval '8 seconds', 4 * k - 3, 4 * k, '{}', '[]'
    FROM deployments d CROSS JOIN generate_series(1, 5) AS k WHERE d.id > $1
"""
_EVENTS = """
    INSERT INTO events (deployment_id, seq, last_line, message)
    SELECT d.id, k, CASE WHEN k IN (3, 6, 9, 12) THEN 5 * k / 3 END,
        json_build_object('type', 'step', 'id', k, 'deployment_id', d.id, 'name', 'Build', 'state', 'success',
            'message', repeat(md5(k::text), 8), 'started', d.started, 'finished', d.finished, 'seq', k)::text
    FROM deployments d CROSS JOIN generate_series(1, 14) AS k WHERE d.id > $1
"""


async def _seed(url: str, total: int) -> None:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            # Checking the foreign keys of 200,000 rows one by one would take longer than everything else.
            await connection.execute("SET LOCAL session_replication_role = replica")
            count, newest = await connection.fetchrow("SELECT count(*), coalesce(max(id), 0) FROM deployments")
            await connection.execute(_DEPLOYMENTS, count + 1, total)
            await connection.execute(_STEPS, newest)
            await connection.execute(_EVENTS, newest)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


def seed(url: str, total: int) -> None:
    """Add deployments until there are `total` deployments."""
    asyncio.run(_seed(url, total))


async def _version(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close()


def postgres_version(url: str) -> str:
    """Return the version of the database server."""
    return asyncio.run(_version(url)).split()[0]
