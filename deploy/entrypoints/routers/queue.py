"""The queue: running and waiting deployments, and the workers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter

from deploy.adapters.repository import Worker
from deploy.domain.model import Deployment, DeploymentState
from deploy.domain.policy import Action, Actor, Visible
from deploy.entrypoints.dependencies import AppStateDep, require
from deploy.entrypoints.schemas.common import Detail
from deploy.entrypoints.schemas.deployments import DeploymentOut, WaitingOut
from deploy.entrypoints.schemas.queue import QueueOut, WaitingDeployment, WorkerOut
from deploy.service_layer.queue import alive, why_all_waiting
from deploy.service_layer.unit_of_work import UnitOfWork

router = APIRouter(tags=["operations"], responses={401: {"model": Detail}})


@router.get("/queue/")
async def read_queue(actor: Annotated[Actor, require(Action.READ_QUEUE)], state: AppStateDep) -> QueueOut:
    """Return running and waiting deployments, oldest first, with the reason why each one waits; and the workers,
    most recently seen first.

    A deployment that has reported its result still counts as running until its processes have ended.
    """
    grace = state.settings.worker_grace_seconds
    async with state.open_unit_of_work() as uow:
        found = await _under_way(uow, actor.visible)
        reasons = await why_all_waiting(found, uow, state.now(), grace, visible=actor.visible)
        workers = await uow.workers.list()
    running = [deployment for deployment in found if deployment.state is not DeploymentState.QUEUED]
    return QueueOut(
        running=[DeploymentOut.model_validate(deployment) for deployment in running],
        waiting=[
            WaitingDeployment(
                **DeploymentOut.model_validate(deployment).model_dump(),
                waiting=WaitingOut.model_validate(reasons[deployment.id]),
            )
            for deployment in found
            if deployment.id in reasons
        ],
        workers=[worker_out(worker, found, state.now(), grace) for worker in workers],
    )


@router.get("/workers/")
async def list_workers(actor: Annotated[Actor, require(Action.READ_WORKERS)], state: AppStateDep) -> list[WorkerOut]:
    """List the workers, most recently seen first, with the deployments each one is running."""
    async with state.open_unit_of_work() as uow:
        workers = await uow.workers.list()
        found = await _under_way(uow, actor.visible)
    grace = state.settings.worker_grace_seconds
    return [worker_out(worker, found, state.now(), grace) for worker in workers]


async def _under_way(uow: UnitOfWork, visible: Visible) -> list[Deployment]:
    """Return waiting and running deployments, oldest first.

    This includes deployments that reported a result but whose process is still running.
    """
    # Key by ID: both queries find a deployment that reports its result between them.
    unfinished = await uow.deployments.open(visible=visible)
    alive = await uow.deployments.reported_but_alive(visible=visible)
    found = {deployment.id: deployment for deployment in (*unfinished, *alive)}
    return sorted(found.values(), key=lambda deployment: deployment.id)


def worker_out(worker: Worker, found: Iterable[Deployment], now: datetime, grace_seconds: float) -> WorkerOut:
    """Return a worker with the deployments in `found` that it is running."""
    return WorkerOut(
        id=worker.id,
        host=worker.host,
        version=worker.version,
        slots=worker.slots,
        running=[deployment.id for deployment in found if deployment.worker_id == worker.id],
        started=worker.started,
        last_seen=worker.last_seen,
        alive=alive(worker.last_seen, now, grace_seconds),
    )
