"""The durable queue: procrastinate's tables and SQL functions, called in our own transactions.

docs/decisions/0002 says why its Python worker is not used: a job stays taken while its run goes on without a worker.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

QUEUE = "deployments"
TASK = "deploy"
_DEFER = text(
    "SELECT unnest(procrastinate_defer_jobs_v1(ARRAY[ROW(:queue, :task, 0, :lock, NULL, CAST(:args AS jsonb), NULL)]"
    "::procrastinate_job_to_defer_v1[]))"
)
_FETCH = text(
    "SELECT (job).id, (job).args ->> 'deployment_id' "
    "FROM (SELECT procrastinate_fetch_job_v2(ARRAY[:queue]::varchar[], NULL) AS job) AS fetched WHERE (job).id IS NOT NULL"
)
_FINISH = text("SELECT fastdeploy_finish_job(:id)")
_WITHDRAW = text(
    "SELECT fastdeploy_finish_job(id) "
    "FROM (SELECT id FROM procrastinate_jobs WHERE id = :id AND status = 'todo' FOR UPDATE SKIP LOCKED) AS job"
)
_LANES = text(
    "SELECT lane FROM generate_series(0, :concurrency - 1) AS lane LEFT JOIN procrastinate_jobs AS job "
    "ON job.lock = :prefix || lane AND job.status IN ('todo', 'doing') GROUP BY lane ORDER BY count(job.id), lane LIMIT 1"
)
_AHEAD = text(
    "SELECT CAST(job.args ->> 'deployment_id' AS bigint), job.status = 'doing' FROM procrastinate_jobs AS own "
    "JOIN procrastinate_jobs AS job ON job.lock LIKE regexp_replace(own.lock, '[0-9]+$', '%') AND job.id <> own.id "
    "WHERE own.id = :id AND (job.status = 'doing' OR job.status = 'todo' AND job.id < own.id) "
    "AND EXISTS (SELECT FROM procrastinate_jobs AS other WHERE other.lock = own.lock AND other.id <> own.id "
    "AND (other.status = 'doing' OR other.status = 'todo' AND other.id < own.id)) "
    "ORDER BY job.status = 'todo', job.id"
)


_JOBS = text(
    "SELECT id, CAST(args ->> 'deployment_id' AS bigint), regexp_replace(lock, '[0-9]+$', ''), lock, status = 'doing' "
    "FROM procrastinate_jobs WHERE status IN ('todo', 'doing') AND queue_name = :queue"
)


class Job(NamedTuple):
    """A deployment in the queue; jobs of one lane run one at a time, the lanes of one service take turns."""

    id: int
    deployment_id: int
    service: str
    lane: str
    runs: bool


class Queue:
    """Deployments that wait for a worker. Jobs of one lock run one at a time, first come, first served."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def put(self, deployment_id: int, *, service_id: int, concurrency: int = 1) -> int:
        """Queue a deployment and return the job's id. `concurrency` lanes serve a service, the shortest is taken."""
        prefix = f"service:{service_id}:"
        lane = (
            await self._session.scalar(_LANES, {"concurrency": concurrency, "prefix": prefix})
            if concurrency > 1
            else 0
        )
        values = {
            "queue": QUEUE,
            "task": TASK,
            "lock": f"{prefix}{lane}",
            "args": json.dumps({"deployment_id": deployment_id}),
        }
        job_id: int = (await self._session.execute(_DEFER, values)).scalar_one()
        return job_id

    async def ahead_of(self, job_id: int) -> Sequence[tuple[int, bool]]:
        """Return (deployment id, whether it runs) of the same service's jobs before this one, in that order.

        Where nothing but a free worker is missing, there are none.
        """
        rows = await self._session.execute(_AHEAD, {"id": job_id})
        return [(deployment_id, runs) for deployment_id, runs in rows]

    async def jobs(self) -> Sequence[Job]:
        """Return all that wait or run, in no order."""
        return [Job(*row) for row in await self._session.execute(_JOBS, {"queue": QUEUE})]

    async def take(self) -> tuple[int, int] | None:
        """Take the next job that may run: (job id, deployment id), or None when there is none."""
        row = (await self._session.execute(_FETCH, {"queue": QUEUE})).first()
        return (int(row[0]), int(row[1])) if row else None

    async def finish(self, job_id: int) -> None:
        """Give the job's lane free, and wake the workers for the next of its service. Twice does no harm."""
        await self._session.execute(_FINISH, {"id": job_id})

    async def withdraw(self, job_id: int) -> None:
        """Take a waiting job out, and wake the workers for the next of its service.

        One that is being claimed right now is left to whoever claims it: he holds the job and waits for the
        deployment, which we hold.
        """
        await self._session.execute(_WITHDRAW, {"id": job_id})
