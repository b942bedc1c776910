"""Schemas for the queue and the workers."""

from __future__ import annotations

from datetime import datetime

from deploy.entrypoints.schemas.common import ResponseModel
from deploy.entrypoints.schemas.deployments import DeploymentOut, WaitingOut


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
