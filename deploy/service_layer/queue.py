"""Find the reasons deployments are waiting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from deploy.adapters.repository.queue import Ahead, Job
from deploy.domain.model import Deployment, DeploymentState
from deploy.domain.rights import Visible
from deploy.service_layer.unit_of_work import UnitOfWork


async def under_way(uow: UnitOfWork, *, visible: Visible) -> list[Deployment]:
    """Return running deployments, oldest first.

    This includes deployments that reported a result but whose process is still running.
    """
    # Key by ID: both queries find a deployment that reports its result between them.
    unfinished = await uow.deployments.running(visible=visible)
    reported = await uow.deployments.reported_but_alive(visible=visible)
    found = {deployment.id: deployment for deployment in (*unfinished, *reported)}
    return sorted(found.values(), key=lambda deployment: deployment.id)


async def why_waiting(
    deployment: Deployment, uow: UnitOfWork, now: datetime, worker_grace_seconds: float, *, visible: Visible
) -> dict[str, Any] | None:
    """Return the reason a deployment is waiting, its position in its lane (from 1), and the deployment ahead.

    Return None if the deployment is not queued. The position of a held deployment is 0, because it is not in the queue.
    """
    if deployment.state is not DeploymentState.QUEUED:
        return None
    concurrency = (await uow.services.some([deployment.service_id], visible=visible))[0].concurrency
    job_id = deployment.job_id
    ahead = await uow.queue.ahead_of(job_id, visible=visible, concurrency=concurrency) if job_id is not None else None
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
    # Only earlier jobs can be ahead, so the first page of a long queue reads only a few.
    last = max(deployment.job_id or 0 for deployment in waiting)
    ahead = all_ahead(await uow.queue.jobs(visible=visible, last=last), concurrency)
    has_worker = await _has_worker(uow, now, worker_grace_seconds)
    return {
        deployment.id: _reason(
            deployment,
            ahead.get(deployment.job_id or 0),
            concurrency[deployment.service_id],
            has_worker=has_worker,
        )
        for deployment in waiting
    }


class _Lane:
    """The jobs of a lane that come before some job."""

    def __init__(self) -> None:
        self.jobs = self.waiting = 0
        self.last: tuple[bool, int, int] | None = None  # (waits, job ID, deployment ID): the order of jobs

    def add(self, job: Job) -> None:
        self.jobs += 1
        self.waiting += not job.runs
        self.last = (not job.runs, job.id, job.deployment_id)


def all_ahead(jobs: Iterable[Job], concurrency: Mapping[int, int]) -> dict[int, Ahead]:
    """Return the deployments ahead of each job that waits for others, by job ID. Must agree with `Queue.ahead_of`.

    `concurrency` maps a service ID to the number of deployments that can run at once in each of its lanes.
    """
    services: dict[int, dict[str, _Lane]] = defaultdict(lambda: defaultdict(_Lane))
    found = {}
    for job in sorted(jobs, key=lambda job: (not job.runs, job.id)):
        lanes = services[job.service_id]
        own = lanes[job.environment]
        # Jobs without an environment exclude those with one.
        others = [
            lane
            for environment, lane in lanes.items()
            if lane is not own and lane.jobs and "" in (environment, job.environment)
        ]
        if not job.runs and (others or own.jobs >= concurrency.get(job.service_id, 1)):
            before = [lane for lane in (own, *others) if lane.last is not None]
            waits, _, last = max(lane.last for lane in before if lane.last is not None)
            found[job.id] = Ahead(sum(lane.waiting for lane in before), last, not waits)
        own.add(job)
    return found


def alive(last_seen: datetime, now: datetime, grace_seconds: float) -> bool:
    """Return True if a worker last seen at `last_seen` counts as alive."""
    return (now - last_seen).total_seconds() < grace_seconds


async def _has_worker(uow: UnitOfWork, now: datetime, grace_seconds: float) -> bool:
    return any(alive(worker.last_seen, now, grace_seconds) for worker in await uow.workers.list())


def _reason(deployment: Deployment, ahead: Ahead | None, concurrency: int, *, has_worker: bool) -> dict[str, Any]:
    if deployment.held is not None:
        return {"reason": f"On hold: {deployment.held.reason}", "position": 0, "blocked_by": None}
    if not has_worker:
        reason = "No worker is running. Start one with: fastdeploy worker"
    elif ahead is not None:
        # A run that has reported its result counts as running until its process ends.
        state = "running" if ahead.last_runs else "waiting"
        how_many = "one" if concurrency == 1 else concurrency
        reason = f"Deployment {ahead.last} of {deployment.service} is {state} ahead of it; {how_many} at a time."
    else:
        reason = "All workers are busy. It starts as soon as one is free."
    if ahead is None:
        return {"reason": reason, "position": 1, "blocked_by": None}
    return {"reason": reason, "position": 1 + ahead.waiting, "blocked_by": ahead.last}
