"""The durable queue: procrastinate's tables and SQL functions, called in our own transactions.

docs/decisions/0002 explains why its Python worker is not used: a job must stay claimed while its run continues without
a worker.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import asyncpg

from deploy.adapters.database import QUEUE_CHANNEL
from deploy.adapters.repository.statement import Statement, VisibleStatement
from deploy.domain.policy import Visible

# New jobs go to WAITING. `fastdeploy_take_jobs` moves them to the queue that workers take jobs from.
WAITING = "waiting"
TASK = "deploy"
# Returns the job's ID. A separate constant because the statement that stores a new deployment includes it.
PUT_JOB = (
    "SELECT unnest(procrastinate_defer_jobs_v1(ARRAY[ROW(:queue, :task, 0, :lane, NULL, CAST(:job_args AS jsonb), NULL)]"
    "::procrastinate_job_to_defer_v1[])) AS id"
)
_PUT = Statement(PUT_JOB)
_TAKE = Statement("SELECT job_id, deployment_id FROM fastdeploy_take_jobs(:most)")
ONE_PER_LANE = "procrastinate_jobs_lock_idx_v1"
_WAKE = Statement(f"SELECT pg_notify('{QUEUE_CHANNEL}', '{json.dumps({'type': 'job_inserted'})}')")
_FINISH = Statement("SELECT fastdeploy_finish_job(:id)")
_WITHDRAW = Statement(
    "SELECT fastdeploy_finish_job(id) "
    "FROM (SELECT id FROM procrastinate_jobs WHERE id = :id AND status = 'todo' FOR UPDATE SKIP LOCKED) AS job"
)
_AHEAD = VisibleStatement(
    "SELECT deployment_id, runs FROM ("
    "SELECT job.id, CAST(job.args ->> 'deployment_id' AS bigint) AS deployment_id, job.status = 'doing' AS runs, "
    "count(*) OVER () AS before FROM procrastinate_jobs AS own "
    "JOIN procrastinate_jobs AS job ON split_part(job.lock, ':', 2) = split_part(own.lock, ':', 2) AND job.id <> own.id "
    "WHERE own.id = :id AND (job.status = 'doing' OR job.status = 'todo' AND job.id < own.id) AND {visible}"
    ") AS job WHERE before >= CAST(:concurrency AS integer) ORDER BY NOT runs, id",
    "CAST(split_part(own.lock, ':', 2) AS bigint)",
)
_JOBS = VisibleStatement(
    "SELECT id, CAST(args ->> 'deployment_id' AS bigint), CAST(split_part(lock, ':', 2) AS bigint), status = 'doing' "
    "FROM procrastinate_jobs WHERE status IN ('todo', 'doing') AND {visible}",
    "CAST(split_part(lock, ':', 2) AS bigint)",
)


class NewJob(NamedTuple):
    """A deployment to add to the queue."""

    deployment_id: int
    service_id: int

    def values(self) -> dict[str, Any]:
        """Return the parameters of `PUT_JOB`."""
        args = json.dumps({"deployment_id": self.deployment_id})
        return {"queue": WAITING, "task": TASK, "lane": f"service:{self.service_id}:", "job_args": args}


class Job(NamedTuple):
    """A deployment in the queue."""

    id: int
    deployment_id: int
    service_id: int
    runs: bool


class Queue:
    """The queue of deployments: first in, first out, with at most `concurrency` running per service."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def put(self, job: NewJob) -> int:
        """Add a stored deployment to the queue and return the job's ID."""
        job_id: int = await _PUT.value(self._driver, **job.values())
        return job_id

    async def ahead_of(self, job_id: int, *, visible: Visible, concurrency: int) -> Sequence[tuple[int, bool]]:
        """Return (deployment ID, is running) of the service's jobs ahead of this one, in order.

        Return an empty list if fewer than `concurrency` jobs are ahead: the job is then only waiting for a free
        worker.
        """
        rows = await _AHEAD.rows(self._driver, visible, id=job_id, concurrency=concurrency)
        return [(row[0], row[1]) for row in rows]

    async def jobs(self, *, visible: Visible) -> Sequence[Job]:
        """Return all queued and running jobs, in no particular order."""
        return [Job(*row) for row in await _JOBS.rows(self._driver, visible)]

    async def take(self, limit: int = 1) -> list[tuple[int, int]]:
        """Claim up to `limit` jobs that can run next, and return (job ID, deployment ID) of each.

        Apply the current config of each service. At most one running job occupies a lane.

        Raises:
            UniqueViolationError: Another worker claimed a job of the same lane at the same time (`ONE_PER_LANE`).
        """
        return [(row[0], row[1]) for row in await _TAKE.rows(self._driver, most=limit)]

    async def finish(self, job_id: int) -> None:
        """Remove a finished job and wake the workers for the service's next job. Idempotent."""
        await _FINISH.value(self._driver, id=job_id)

    async def wake(self) -> None:
        """Wake the workers after this transaction commits, because more jobs might be allowed to run."""
        await _WAKE.value(self._driver)

    async def withdraw(self, job_id: int) -> None:
        """Remove a queued job and wake the workers for the service's next job.

        Skip the job if a worker is claiming it: that worker holds the job and is waiting for the deployment, which the
        caller has locked.
        """
        await _WITHDRAW.value(self._driver, id=job_id)
