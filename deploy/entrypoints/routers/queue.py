"""The queue: running and waiting deployments, and the workers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter

from deploy.domain.model import DeploymentState
from deploy.domain.policy import Action, Actor
from deploy.entrypoints.dependencies import AppStateDep, require
from deploy.entrypoints.schemas.common import Detail
from deploy.entrypoints.schemas.deployments import DeploymentOut, WaitingOut
from deploy.entrypoints.schemas.queue import QueueOut, WaitingDeployment, WorkerOut, worker_out
from deploy.service_layer.queue import under_way, why_all_waiting

router = APIRouter(tags=["operations"], responses={401: {"model": Detail}})


@router.get("/queue/")
async def read_queue(actor: Annotated[Actor, require(Action.READ_QUEUE)], state: AppStateDep) -> QueueOut:
    """Return running and waiting deployments, oldest first, with the reason why each one waits; and the workers,
    most recently seen first.

    A deployment that has reported its result still counts as running until its processes have ended.
    """
    grace = state.settings.worker_grace_seconds
    async with state.open_unit_of_work() as uow:
        found = await under_way(uow, visible=actor.visible)
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
        found = await under_way(uow, visible=actor.visible)
    grace = state.settings.worker_grace_seconds
    return [worker_out(worker, found, state.now(), grace) for worker in workers]
