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
    same_service = await uow.deployments.open(service_id=deployment.service_id)
    running = [other for other in same_service if other.state is DeploymentState.RUNNING]
    before = [other for other in same_service if other.state is DeploymentState.QUEUED and other.id < deployment.id]
    position = len(before) + 1
    blocker = before[-1] if before else running[0] if running else None
    workers = [worker for worker in await uow.workers.list() if alive(worker.last_seen, now, worker_grace_seconds)]
    if not workers:
        reason = "No worker is running. Start one with: fastdeploy worker"
    elif blocker is not None:
        verb = "runs" if blocker.state is DeploymentState.RUNNING else "waits"
        reason = f"Deployment {blocker.id} of {blocker.service} {verb} before it; one at a time."
    else:
        reason = "All workers are busy; it starts as soon as one is free."
    return {"reason": reason, "position": position, "blocked_by": blocker.id if blocker else None}


def alive(last_seen: datetime, now: datetime, grace_seconds: float) -> bool:
    """Whether a worker that was last seen then counts as living."""
    return (now - last_seen).total_seconds() < grace_seconds
