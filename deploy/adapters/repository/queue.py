"""The durable queue: procrastinate's tables and SQL functions, called in our own transactions.

docs/decisions/0002 explains why its Python worker is not used: a job must stay claimed while its run continues without
a worker.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import asyncpg

from deploy.adapters.database import QUEUE_CHANNEL
from deploy.adapters.repository.statement import Statement, VisibleStatement
from deploy.domain.model import Lane
from deploy.domain.rights import Visible

QUEUE, TASK = "deployments", "deploy"
_PUT = Statement(
    "SELECT unnest(procrastinate_defer_jobs_v1(ARRAY[ROW(:queue, :task, 0, :lock, NULL, "
    "jsonb_build_object('deployment_id', id), NULL)]::procrastinate_job_to_defer_v1[])) AS job_id, id "
    "FROM (SELECT coalesce(CAST(:deployment_id AS bigint), nextval(pg_get_serial_sequence('deployments', 'id'))) AS id "
    "OFFSET 0) AS deployment"  # OFFSET: evaluate it once
)
_HAS_WAITING = Statement(
    f"SELECT EXISTS (SELECT FROM procrastinate_jobs WHERE status = 'todo' AND task_name = '{TASK}')"
)
_TAKE = Statement("SELECT job_id, deployment_id FROM fastdeploy_take_jobs(:most)")
_WAKE = Statement(f"SELECT pg_notify('{QUEUE_CHANNEL}', '{json.dumps({'type': 'job_inserted'})}')")
_FINISH = Statement("SELECT fastdeploy_finish_job(:id)")
_WITHDRAW = Statement(
    "SELECT fastdeploy_finish_job(id) "
    "FROM (SELECT id FROM procrastinate_jobs WHERE id = :id AND status = 'todo' FOR UPDATE SKIP LOCKED) AS job"
)
# The expressions of the index of waiting jobs.
_SERVICE, _ENVIRONMENT = "CAST(split_part(job.lock, ':', 2) AS bigint)", "split_part(job.lock, ':', 4)"
_FIELDS = f"job.id, job.args, {_SERVICE} AS service, {_ENVIRONMENT} AS environment"
_AHEAD = VisibleStatement(
    "SELECT waiting, deployment_id, runs FROM ("
    "SELECT job.id, CAST(job.args ->> 'deployment_id' AS bigint) AS deployment_id, job.runs, "
    "count(*) FILTER (WHERE NOT job.runs) OVER () AS waiting, "
    "count(*) FILTER (WHERE job.environment = own.environment) OVER () AS in_lane, "
    "count(*) FILTER (WHERE job.environment <> own.environment) OVER () AS in_other_lanes "
    f"FROM (SELECT {_FIELDS} FROM procrastinate_jobs AS job WHERE job.id = :id) AS own CROSS JOIN LATERAL ("
    f"SELECT {_FIELDS}, true AS runs FROM procrastinate_jobs AS job WHERE job.status = 'doing' AND {_SERVICE} = own.service "
    f"UNION ALL SELECT {_FIELDS}, false AS runs FROM procrastinate_jobs AS job "
    f"WHERE job.status = 'todo' AND job.task_name = 'deploy' AND {_SERVICE} = own.service AND job.id < own.id) AS job "
    "WHERE job.id <> own.id AND (job.environment IN ('', own.environment) OR own.environment = '') AND {visible}"
    ") AS job WHERE in_other_lanes > 0 OR in_lane >= CAST(:concurrency AS integer) ORDER BY runs, id DESC LIMIT 1",
    "job.service",
    environment="job.environment",
)
_JOBS = VisibleStatement(
    "SELECT id, CAST(args ->> 'deployment_id' AS bigint), CAST(split_part(lock, ':', 2) AS bigint), "
    "split_part(lock, ':', 4), status = 'doing' FROM procrastinate_jobs "
    "WHERE (status = 'doing' OR status = 'todo' AND id <= :last) AND {visible}",
    "CAST(split_part(lock, ':', 2) AS bigint)",
    environment="split_part(lock, ':', 4)",
)


class Job(NamedTuple):
    """A deployment in the queue."""

    id: int
    deployment_id: int
    service_id: int
    environment: str
    runs: bool


class Ahead(NamedTuple):
    """The deployments that a waiting one waits for: how many wait themselves, and the last one."""

    waiting: int
    last: int
    last_runs: bool


class Queue:
    """The queue of deployments: first in, first out, with at most `concurrency` running per lane."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def put(self, deployment_id: int, lane: Lane) -> int:
        """Add a deployment to the queue of its lane and return the job's ID."""
        _, job_id = await self._put(deployment_id, lane)
        return job_id

    async def put_new(self, lane: Lane) -> tuple[int, int]:
        """Draw the ID for a new deployment, like `Batches.next_id`, and add the deployment to the queue of its lane.

        Return the IDs of the deployment and of the job.
        """
        return await self._put(None, lane)

    async def _put(self, deployment_id: int | None, lane: Lane) -> tuple[int, int]:
        lock = f"service:{lane.service_id}:" + (f":{lane.environment}" if lane.environment else "")
        put = await _PUT.row(self._driver, queue=QUEUE, task=TASK, lock=lock, deployment_id=deployment_id)
        assert put is not None
        return put["id"], put["job_id"]

    async def ahead_of(self, job_id: int, *, visible: Visible, concurrency: int) -> Ahead | None:
        """Return the deployments that a waiting job waits for, or None if it only waits for a free worker.

        It waits if `concurrency` jobs of its lane are ahead, or any job of another lane that excludes its own.
        """
        row = await _AHEAD.row(self._driver, visible, id=job_id, concurrency=concurrency)
        return None if row is None else Ahead(*row)

    async def jobs(self, *, visible: Visible, last: int) -> Sequence[Job]:
        """Return all running jobs, and the queued jobs up to the ID `last`, in no particular order."""
        return [Job(*row) for row in await _JOBS.rows(self._driver, visible, last=last)]

    async def has_waiting(self) -> bool:
        """Return True if any job is waiting, whether or not it can run."""
        return bool(await _HAS_WAITING.value(self._driver))

    async def take(self, limit: int = 1) -> list[tuple[int, int]]:
        """Claim up to `limit` jobs that can run next, and return (job ID, deployment ID) of each.

        Apply the current config of each service. Skip services that another worker is claiming right now.
        """
        return [(row[0], row[1]) for row in await _TAKE.rows(self._driver, most=limit)]

    async def finish(self, job_id: int) -> None:
        """Remove a finished job and wake the workers for the lane's next job. Idempotent."""
        await _FINISH.value(self._driver, id=job_id)

    async def wake(self) -> None:
        """Wake the workers after this transaction commits, because more jobs might be allowed to run."""
        await _WAKE.value(self._driver)

    async def withdraw(self, job_id: int) -> None:
        """Remove a queued job and wake the workers for the lane's next job.

        Skip the job if a worker is claiming it: that worker holds the job and is waiting for the deployment, which the
        caller has locked.
        """
        await _WITHDRAW.value(self._driver, id=job_id)
