"""Schemas for the queue and the workers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from deploy.adapters.repository import Worker
from deploy.domain.model import Deployment
from deploy.entrypoints.schemas.common import ResponseModel
from deploy.entrypoints.schemas.deployments import DeploymentOut, WaitingOut
from deploy.service_layer.queue import alive


class WorkerOut(ResponseModel):
    """A process that runs deployments; `running` holds their ids."""

    id: str
    host: str
    version: str
    slots: int
    running: list[int]
    started: datetime
    last_seen: datetime
    alive: bool


class WaitingDeployment(DeploymentOut):
    """A deployment in the queue, and why it is waiting."""

    waiting: WaitingOut


class QueueOut(ResponseModel):
    """Running and waiting deployments, and the workers.

    `waiting` is one page; `next_after` is the `after` of the next page (null at the end).
    """

    running: list[DeploymentOut]
    running_count: int
    waiting: list[WaitingDeployment]
    waiting_count: int
    next_after: int | None
    workers: list[WorkerOut]


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
