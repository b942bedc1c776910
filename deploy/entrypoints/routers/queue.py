"""The queue: what runs, what waits and why, and who works."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter

from deploy.adapters.repository import Worker
from deploy.domain.model import Deployment, DeploymentState
from deploy.domain.policy import Action, Actor
from deploy.entrypoints.dependencies import ServicesDep, require
from deploy.entrypoints.schemas.common import Detail
from deploy.entrypoints.schemas.deployments import DeploymentOut, WaitingOut
from deploy.entrypoints.schemas.queue import QueueOut, WaitingDeployment, WorkerOut
from deploy.service_layer.unit_of_work import UnitOfWork
from deploy.service_layer.waiting import alive, why_all_waiting

router = APIRouter(tags=["operations"], responses={401: {"model": Detail}})


@router.get("/queue/")
async def read_queue(_actor: Annotated[Actor, require(Action.READ_QUEUE)], services: ServicesDep) -> QueueOut:
    """What runs, and what waits, both the oldest first; why each waits; and the workers, the last seen first.

    A deployment that has said itself that it is done runs until its processes have ended: it keeps its service busy.
    """
    grace = services.settings.worker_grace_seconds
    async with services.open_unit_of_work() as uow:
        found = await _under_way(uow)
        reasons = await why_all_waiting(found, uow, services.now(), grace)
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
        workers=[worker_out(worker, found, services.now(), grace) for worker in workers],
    )


@router.get("/workers/")
async def list_workers(
    _actor: Annotated[Actor, require(Action.READ_WORKERS)], services: ServicesDep
) -> list[WorkerOut]:
    """The workers, the last seen first, and what each is running."""
    async with services.open_unit_of_work() as uow:
        workers = await uow.workers.list()
        found = await _under_way(uow)
    grace = services.settings.worker_grace_seconds
    return [worker_out(worker, found, services.now(), grace) for worker in workers]


async def _under_way(uow: UnitOfWork) -> list[Deployment]:
    """Return what waits or runs, the oldest first; among them what has told its outcome, and goes on."""
    # By their ids: one that tells its outcome between the two is found by both.
    found = {one.id: one for one in (*await uow.deployments.open(), *await uow.deployments.told())}
    return sorted(found.values(), key=lambda deployment: deployment.id)


def worker_out(worker: Worker, found: Iterable[Deployment], now: datetime, grace_seconds: float) -> WorkerOut:
    """Return a worker, with those deployments of `found` that it runs."""
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
