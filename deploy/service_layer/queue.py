"""Find the reasons deployments are waiting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from deploy.adapters.repository.queue import Job
from deploy.domain.model import Deployment, DeploymentState
from deploy.domain.policy import Visible
from deploy.service_layer.unit_of_work import UnitOfWork


class Ahead(NamedTuple):
    """The deployments ahead of a waiting one: how many wait, the ID of the last one, and True if it is running."""

    waiting: int
    last: int | None
    last_runs: bool


FREE = Ahead(0, None, last_runs=False)


async def why_waiting(
    deployment: Deployment, uow: UnitOfWork, now: datetime, worker_grace_seconds: float, *, visible: Visible
) -> dict[str, Any] | None:
    """Return the reason a deployment is waiting, its position in the service's queue (from 1), and the deployment
    ahead.

    Return None if the deployment is not queued.
    """
    if deployment.state is not DeploymentState.QUEUED:
        return None
    concurrency = (await uow.services.some([deployment.service_id], visible=visible))[0].concurrency
    job_id = deployment.job_id
    jobs = await uow.queue.ahead_of(job_id, visible=visible, concurrency=concurrency) if job_id is not None else []
    ahead = Ahead(sum(not runs for _, runs in jobs), *jobs[-1]) if jobs else FREE
    has_worker = await _has_worker(uow, now, worker_grace_seconds)
    return _reason(deployment, ahead, concurrency, has_worker=has_worker)


async def why_all_waiting(
    deployments: Sequence[Deployment],
    uow: UnitOfWork,
    now: datetime,
    worker_grace_seconds: float,
    *,
    visible: Visible,
) -> dict[int, dict[str, Any]]:
    """Return the result of `why_waiting` for many deployments, by ID, with as few queries as for one."""
    waiting = [deployment for deployment in deployments if deployment.state is DeploymentState.QUEUED]
    if not waiting:
        return {}
    services = await uow.services.some(sorted({deployment.service_id for deployment in waiting}), visible=visible)
    concurrency = {service.id: service.concurrency for service in services}
    ahead = all_ahead(await uow.queue.jobs(visible=visible), concurrency)
    has_worker = await _has_worker(uow, now, worker_grace_seconds)
    return {
        deployment.id: _reason(
            deployment,
            ahead.get(deployment.job_id or 0, FREE),
            concurrency[deployment.service_id],
            has_worker=has_worker,
        )
        for deployment in waiting
    }


def all_ahead(jobs: Iterable[Job], concurrency: Mapping[int, int]) -> dict[int, Ahead]:
    """Return the deployments ahead of each job that waits for others, by job ID. Must agree with `Queue.ahead_of`.

    `concurrency` maps a service ID to the number of the service's deployments that can run at once.
    """
    by_service: dict[int, list[Job]] = defaultdict(list)
    for job in sorted(jobs, key=lambda job: (not job.runs, job.id)):
        by_service[job.service_id].append(job)
    found = {}
    for service_id, of_service in by_service.items():
        before = FREE
        for place, job in enumerate(of_service):
            if not job.runs and place >= concurrency.get(service_id, 1):
                found[job.id] = before
            before = Ahead(before.waiting + (not job.runs), job.deployment_id, job.runs)
    return found


def alive(last_seen: datetime, now: datetime, grace_seconds: float) -> bool:
    """Return True if a worker last seen at `last_seen` counts as alive."""
    return (now - last_seen).total_seconds() < grace_seconds


async def _has_worker(uow: UnitOfWork, now: datetime, grace_seconds: float) -> bool:
    return any(alive(worker.last_seen, now, grace_seconds) for worker in await uow.workers.list())


def _reason(deployment: Deployment, ahead: Ahead, concurrency: int, *, has_worker: bool) -> dict[str, Any]:
    if not has_worker:
        reason = "No worker is running. Start one with: fastdeploy worker"
    elif ahead.last is not None:
        # A run that has reported its result counts as running until its process ends.
        state = "running" if ahead.last_runs else "waiting"
        how_many = "one" if concurrency == 1 else concurrency
        reason = f"Deployment {ahead.last} of {deployment.service} is {state} ahead of it; {how_many} at a time."
    else:
        reason = "All workers are busy. It starts as soon as one is free."
    return {"reason": reason, "position": 1 + ahead.waiting, "blocked_by": ahead.last}
