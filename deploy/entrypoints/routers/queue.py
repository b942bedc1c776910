"""The queue: running and waiting deployments, and the workers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query

from deploy.adapters.repository import Worker
from deploy.domain.model import Deployment, DeploymentState
from deploy.domain.policy import Action, Actor, Visible
from deploy.entrypoints.dependencies import AppStateDep, require
from deploy.entrypoints.schemas.common import MAX_ID, Detail
from deploy.entrypoints.schemas.deployments import DeploymentOut, WaitingOut
from deploy.entrypoints.schemas.queue import QueueOut, WaitingDeployment, WorkerOut
from deploy.service_layer.queue import alive, why_all_waiting
from deploy.service_layer.unit_of_work import UnitOfWork

SHOWN_RUNNING = 50

router = APIRouter(tags=["operations"], responses={401: {"model": Detail}})


@router.get("/queue/")
async def read_queue(
    actor: Annotated[Actor, require(Action.READ_QUEUE)],
    state: AppStateDep,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
) -> QueueOut:
    """Return running and waiting deployments, oldest first, with the reason why each one waits; and the workers,
    most recently seen first.

    `waiting` is a page of up to `limit` deployments; for the next page, set `after` to `next_after`. `running` contains
    the oldest 50. The counts include all. A deployment that has reported its result still counts as running until its
    processes have ended.
    """
    grace = state.settings.worker_grace_seconds
    async with state.open_reads() as uow:
        waiting = await uow.deployments.waiting(visible=actor.visible, after=after, limit=limit + 1)
        running = await _running(uow, actor.visible)
        waiting_count = await uow.deployments.count(DeploymentState.QUEUED, visible=actor.visible)
        more, waiting = len(waiting) > limit, waiting[:limit]
        reasons = await why_all_waiting(waiting, uow, state.now(), grace, visible=actor.visible)
        workers = await uow.workers.list()
    return QueueOut(
        running=[DeploymentOut.model_validate(deployment) for deployment in running[:SHOWN_RUNNING]],
        running_count=len(running),
        waiting=[
            WaitingDeployment(
                **DeploymentOut.model_validate(deployment).model_dump(),
                waiting=WaitingOut.model_validate(reasons[deployment.id]),
            )
            for deployment in waiting
        ],
        waiting_count=waiting_count,
        next_after=waiting[-1].id if more else None,
        workers=[worker_out(worker, running, state.now(), grace) for worker in workers],
    )


@router.get("/workers/")
async def list_workers(actor: Annotated[Actor, require(Action.READ_WORKERS)], state: AppStateDep) -> list[WorkerOut]:
    """List the workers, most recently seen first, with the deployments each one is running."""
    async with state.open_reads() as uow:
        workers = await uow.workers.list()
        running = await _running(uow, actor.visible)
    grace = state.settings.worker_grace_seconds
    return [worker_out(worker, running, state.now(), grace) for worker in workers]


async def _running(uow: UnitOfWork, visible: Visible) -> list[Deployment]:
    """Return running deployments, oldest first.

    This includes deployments that reported a result but whose process is still running.
    """
    # Key by ID: both queries find a deployment that reports its result between them.
    unfinished = await uow.deployments.running(visible=visible)
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
