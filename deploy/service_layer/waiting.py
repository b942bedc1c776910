"""Why a deployment waits."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from deploy.domain.model import Deployment, DeploymentState
from deploy.service_layer.unit_of_work import UnitOfWork


async def why_waiting(
    deployment: Deployment, uow: UnitOfWork, now: datetime, worker_grace_seconds: float
) -> dict[str, Any] | None:
    """Return reason, position in the queue of the service (from 1) and the deployment to wait for; None if it runs."""
    if deployment.state is not DeploymentState.QUEUED:
        return None
    ahead = await uow.queue.ahead_of(deployment.job_id) if deployment.job_id is not None else []
    position = 1 + sum(not runs for _, runs in ahead)
    # A run that has said itself that it is done counts as running until its process has ended.
    blocked_by, runs = ahead[-1] if ahead else (None, False)
    workers = [worker for worker in await uow.workers.list() if alive(worker.last_seen, now, worker_grace_seconds)]
    if not workers:
        reason = "No worker is running. Start one with: fastdeploy worker"
    elif blocked_by is not None:
        verb = "runs" if runs else "waits"
        service = (await uow.services.some([deployment.service_id]))[0]
        at_once = service.data.get("concurrency", 1)
        how_many = "one" if at_once == 1 else at_once
        reason = f"Deployment {blocked_by} of {deployment.service} {verb} before it; {how_many} at a time."
    else:
        reason = "All workers are busy; it starts as soon as one is free."
    return {"reason": reason, "position": position, "blocked_by": blocked_by}


def alive(last_seen: datetime, now: datetime, grace_seconds: float) -> bool:
    """Whether a worker that was last seen then counts as living."""
    return (now - last_seen).total_seconds() < grace_seconds
