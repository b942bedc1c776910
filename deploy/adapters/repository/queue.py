"""The durable queue: procrastinate's tables and SQL functions, called in our own transactions.

docs/decisions/0002 says why its Python worker is not used: a job stays taken while its run goes on without a worker.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import asyncpg

from deploy.adapters.statement import Statement

QUEUE = "deployments"
TASK = "deploy"
# Gives the job's id; part of the statement that stores a new deployment, hence here by itself.
PUT_JOB = (
    "SELECT unnest(procrastinate_defer_jobs_v1(ARRAY[ROW(:queue, :task, 0, :lane, NULL, CAST(:job_args AS jsonb), NULL)]"
    "::procrastinate_job_to_defer_v1[])) AS id"
)
_PUT = Statement(PUT_JOB)
# The function takes one at a time, and sees what it has taken before; it is called until it finds none: that takes a
# look at all that wait.
_FETCH = Statement(
    "WITH RECURSIVE taken AS ("
    "SELECT 1 AS n, procrastinate_fetch_job_v2(ARRAY[:queue]::varchar[], NULL) AS job "
    "UNION ALL SELECT n + 1, procrastinate_fetch_job_v2(ARRAY[:queue]::varchar[], NULL) "
    "FROM taken WHERE (job).id IS NOT NULL AND n < CAST(:most AS integer)) "
    "SELECT (job).id, CAST((job).args ->> 'deployment_id' AS bigint) FROM taken WHERE (job).id IS NOT NULL"
)
ONE_PER_LANE = "procrastinate_jobs_lock_idx_v1"
_FINISH = Statement("SELECT fastdeploy_finish_job(:id)")
_WITHDRAW = Statement(
    "SELECT fastdeploy_finish_job(id) "
    "FROM (SELECT id FROM procrastinate_jobs WHERE id = :id AND status = 'todo' FOR UPDATE SKIP LOCKED) AS job"
)
_LANES = Statement(
    "SELECT lane FROM generate_series(0, :concurrency - 1) AS lane LEFT JOIN procrastinate_jobs AS job "
    "ON job.lock = :prefix || lane AND job.status IN ('todo', 'doing') GROUP BY lane ORDER BY count(job.id), lane LIMIT 1"
)
_AHEAD = Statement(
    "SELECT CAST(job.args ->> 'deployment_id' AS bigint), job.status = 'doing' FROM procrastinate_jobs AS own "
    "JOIN procrastinate_jobs AS job ON job.lock LIKE regexp_replace(own.lock, '[0-9]+$', '%') AND job.id <> own.id "
    "WHERE own.id = :id AND (job.status = 'doing' OR job.status = 'todo' AND job.id < own.id) "
    "AND EXISTS (SELECT FROM procrastinate_jobs AS other WHERE other.lock = own.lock AND other.id <> own.id "
    "AND (other.status = 'doing' OR other.status = 'todo' AND other.id < own.id)) "
    "ORDER BY job.status = 'todo', job.id"
)


_JOBS = Statement(
    "SELECT id, CAST(args ->> 'deployment_id' AS bigint), regexp_replace(lock, '[0-9]+$', ''), lock, status = 'doing' "
    "FROM procrastinate_jobs WHERE status IN ('todo', 'doing') AND queue_name = :queue"
)


class NewJob(NamedTuple):
    """A deployment on its way into the queue, and the lane in which it will wait."""

    deployment_id: int
    lane: str

    def values(self) -> dict[str, Any]:
        """Return the parameters of `PUT_JOB`."""
        args = json.dumps({"deployment_id": self.deployment_id})
        return {"queue": QUEUE, "task": TASK, "lane": self.lane, "job_args": args}


class Job(NamedTuple):
    """A deployment in the queue; jobs of one lane run one at a time, the lanes of one service take turns."""

    id: int
    deployment_id: int
    service: str
    lane: str
    runs: bool


class Queue:
    """Deployments that wait for a worker. Jobs of one lock run one at a time, first come, first served."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def job_for(self, deployment_id: int, *, service_id: int, concurrency: int = 1) -> NewJob:
        """Return the job of a deployment. `concurrency` lanes serve a service, the shortest is taken."""
        prefix = f"service:{service_id}:"
        lane = await _LANES.value(self._driver, concurrency=concurrency, prefix=prefix) if concurrency > 1 else 0
        return NewJob(deployment_id, f"{prefix}{lane}")

    async def put(self, job: NewJob) -> int:
        """Queue a deployment that is stored already, and return the job's id."""
        job_id: int = await _PUT.value(self._driver, **job.values())
        return job_id

    async def ahead_of(self, job_id: int) -> Sequence[tuple[int, bool]]:
        """Return (deployment id, whether it runs) of the same service's jobs before this one, in that order.

        Where nothing but a free worker is missing, there are none.
        """
        return [(row[0], row[1]) for row in await _AHEAD.rows(self._driver, id=job_id)]

    async def jobs(self) -> Sequence[Job]:
        """Return all that wait or run, in no order."""
        return [Job(*row) for row in await _JOBS.rows(self._driver, queue=QUEUE)]

    async def take(self, limit: int = 1) -> list[tuple[int, int]]:
        """Take the next jobs that may run, at most `limit`: (job id, deployment id).

        Raises:
            UniqueViolationError: another worker took one of the same lane at the same moment (`ONE_PER_LANE`).
        """
        return [(row[0], row[1]) for row in await _FETCH.rows(self._driver, queue=QUEUE, most=limit)]

    async def finish(self, job_id: int) -> None:
        """Give the job's lane free, and wake the workers for the next of its service. Twice does no harm."""
        await _FINISH.value(self._driver, id=job_id)

    async def withdraw(self, job_id: int) -> None:
        """Take a waiting job out, and wake the workers for the next of its service.

        One that is being claimed right now is left to whoever claims it: he holds the job and waits for the
        deployment, which we hold.
        """
        await _WITHDRAW.value(self._driver, id=job_id)
