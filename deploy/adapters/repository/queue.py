"""The durable queue: procrastinate's tables and SQL functions, called in our own transactions.

docs/decisions/0002 says why its Python worker is not used: a job stays taken while its run goes on without a worker.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import asyncpg

from deploy.adapters.database import QUEUE_CHANNEL
from deploy.adapters.statement import Statement

# Jobs are put into WAITING, and admitted from there to the queue that is taken from (`fastdeploy_take_jobs`).
WAITING = "waiting"
TASK = "deploy"
# Gives the job's id; part of the statement that stores a new deployment, hence here by itself.
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
_AHEAD = Statement(
    "SELECT deployment_id, runs FROM ("
    "SELECT job.id, CAST(job.args ->> 'deployment_id' AS bigint) AS deployment_id, job.status = 'doing' AS runs, "
    "count(*) OVER () AS before FROM procrastinate_jobs AS own "
    "JOIN procrastinate_jobs AS job ON split_part(job.lock, ':', 2) = split_part(own.lock, ':', 2) AND job.id <> own.id "
    "WHERE own.id = :id AND (job.status = 'doing' OR job.status = 'todo' AND job.id < own.id)"
    ") AS job WHERE before >= CAST(:concurrency AS integer) ORDER BY NOT runs, id"
)
_JOBS = Statement(
    "SELECT id, CAST(args ->> 'deployment_id' AS bigint), CAST(split_part(lock, ':', 2) AS bigint), status = 'doing' "
    "FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
)


class NewJob(NamedTuple):
    """A deployment on its way into the queue."""

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
    """Deployments that wait for a worker: of each service so many at once as its config says, first come, first served."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def put(self, job: NewJob) -> int:
        """Queue a deployment that is stored already, and return the job's id."""
        job_id: int = await _PUT.value(self._driver, **job.values())
        return job_id

    async def ahead_of(self, job_id: int, *, concurrency: int) -> Sequence[tuple[int, bool]]:
        """Return (deployment id, whether it runs) of the same service's jobs before this one, in that order.

        Where nothing but a free worker is missing, there are none: they are fewer than may run at once (`concurrency`).
        """
        return [(row[0], row[1]) for row in await _AHEAD.rows(self._driver, id=job_id, concurrency=concurrency)]

    async def jobs(self) -> Sequence[Job]:
        """Return all that wait or run, in no order."""
        return [Job(*row) for row in await _JOBS.rows(self._driver)]

    async def take(self, limit: int = 1) -> list[tuple[int, int]]:
        """Take the next jobs that may run, at most `limit`: (job id, deployment id).

        What a service's config says at this moment counts. A lane is the place of one that runs: at most one job has it.

        Raises:
            UniqueViolationError: another worker took one of the same lane at the same moment (`ONE_PER_LANE`).
        """
        return [(row[0], row[1]) for row in await _TAKE.rows(self._driver, most=limit)]

    async def finish(self, job_id: int) -> None:
        """Take out a job that has run, and wake the workers for the next of its service. Twice does no harm."""
        await _FINISH.value(self._driver, id=job_id)

    async def wake(self) -> None:
        """Let the workers look, once this transaction is committed: there may be room for more at once."""
        await _WAKE.value(self._driver)

    async def withdraw(self, job_id: int) -> None:
        """Take a waiting job out, and wake the workers for the next of its service.

        One that is being claimed right now is left to whoever claims it: he holds the job and waits for the
        deployment, which we hold.
        """
        await _WITHDRAW.value(self._driver, id=job_id)
