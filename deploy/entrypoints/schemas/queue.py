"""What waits, and the workers it waits for."""

from __future__ import annotations

from datetime import datetime

from deploy.entrypoints.schemas.common import Answer
from deploy.entrypoints.schemas.deployments import DeploymentOut, WaitingOut


class WorkerOut(Answer):
    """A process that runs deployments."""

    id: str
    host: str
    version: str
    slots: int
    running: list[int]
    started: datetime
    last_seen: datetime
    alive: bool


class WaitingDeployment(DeploymentOut):
    """A deployment in the queue, and why it waits."""

    waiting: WaitingOut


class QueueOut(Answer):
    """What runs, what waits, and who works."""

    running: list[DeploymentOut]
    waiting: list[WaitingDeployment]
    workers: list[WorkerOut]
