"""A site without its processes: the bus, its database, and a clock, with shortcuts for common actions."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from deploy.domain.commands import (
    ClaimDeployments,
    CreateUser,
    Heartbeat,
    IngestOutput,
    ServiceFolder,
    StartDeployment,
    SyncServices,
)
from deploy.domain.events import DeploymentClaimed, DeploymentQueued, Event, UserCreated
from deploy.domain.model import Deployment, Step
from deploy.domain.policy import WORKER
from deploy.domain.reports import Entry
from deploy.domain.rights import EVERYTHING
from deploy.service_layer.messagebus import MessageBus
from deploy.service_layer.retention import Retention
from deploy.service_layer.unit_of_work import OpenUnitOfWork, UnitOfWork
from tests.conftest import FixedClock
from tests.runs import ended


@dataclass
class Site:
    """The site under test. Every method is one command or one read."""

    bus: MessageBus
    open_uow: OpenUnitOfWork
    clock: FixedClock
    folders: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def user(self, name: str = "ada", **more: Any) -> int:
        """Create a user and return their ID."""
        (event,) = await self.bus.handle(CreateUser(name=name, password_hash="hash", **more), by=WORKER)
        assert isinstance(event, UserCreated)
        return event.user_id

    async def service(self, name: str = "shop", **data: Any) -> int:
        """Add or change a service, keep the existing ones, and return its ID."""
        self.folders[name] = data
        folders = tuple(ServiceFolder(name=name, data=data) for name, data in self.folders.items())
        await self.bus.handle(SyncServices(folders=folders), by=WORKER)
        async with self.open_uow() as uow:
            service = await uow.services.find(name, visible=EVERYTHING)
        assert service is not None
        return service.id

    async def start(self, service_id: int, **more: Any) -> int:
        """Queue a deployment and return its ID."""
        fields: dict[str, Any] = {"origin": "GitHub", "user": "ada", "user_id": None, **more}
        return queued(await self.bus.handle(StartDeployment(service_id=service_id, **fields), by=WORKER))

    async def expire(self, *, days: float = 0, count: int = 0) -> list[int]:
        """Apply these retention limits to all services. Return the IDs of the deleted deployments."""
        return [gone async for batch in Retention(self.bus, self.open_uow, days, count).batches() for gone in batch]

    async def claim(self, worker_id: str = "w1") -> int | None:
        """Claim the next deployment and return its ID. If there is none, return None."""
        events = await self.bus.handle(ClaimDeployments(worker_id=worker_id), by=WORKER)
        return next((event.deployment.id for event in events if isinstance(event, DeploymentClaimed)), None)

    async def running(self, name: str = "shop", *, steps: tuple[str, ...] = (), **more: Any) -> int:
        """Return the ID of a new deployment of a service with these steps that a worker has claimed."""
        service_id = await self.service(name, steps=[{"name": step} for step in steps])
        deployment_id = await self.start(service_id, **more)
        assert await self.claim() == deployment_id
        return deployment_id

    async def take_in(self, deployment_id: int, *entries: Entry) -> list[Event]:
        """Ingest the next entries of the run. Each one counts as 10 bytes of its spool."""
        before = (await self.deployment(deployment_id)).spool_offset
        offset = before + 10 * len(entries)
        return await self.bus.handle(
            IngestOutput(deployment_id=deployment_id, entries=entries, offset_before=before, offset=offset), by=WORKER
        )

    async def succeeded(self, name: str = "shop", **more: Any) -> int:
        """Return the ID of a new deployment that ran and succeeded."""
        deployment_id = await self.running(name, **more)
        await self.take_in(deployment_id, ended(0))
        return deployment_id

    async def beat(self, worker_id: str = "w1", host: str = "host1") -> None:
        """Send a heartbeat of a worker."""
        await self.bus.handle(Heartbeat(worker_id=worker_id, host=host, version="1", slots=2), by=WORKER)

    async def deployment(self, deployment_id: int) -> Deployment:
        """Return a deployment."""
        async with self.open_uow() as uow:
            return await uow.deployments.get(deployment_id, visible=EVERYTHING)

    async def steps(self, deployment_id: int) -> list[Step]:
        """Return the steps of a deployment in execution order."""
        async with self.open_uow() as uow:
            return await uow.steps.of(deployment_id, visible=EVERYTHING)

    async def states(self, deployment_id: int) -> dict[str, str]:
        """Return the state of each step by its name, in execution order."""
        return {step.name: step.state.value for step in await self.steps(deployment_id)}

    async def messages(self, deployment_id: int, after: int = 0) -> list[dict[str, Any]]:
        """Return the messages that clients receive."""
        async with self.open_uow() as uow:
            events = await uow.events.after(deployment_id, after, limit=100_000, visible=EVERYTHING)
        messages: list[dict[str, Any]] = [json.loads(event.message) for event in events]
        assert [message["seq"] for message in messages] == [event.seq for event in events]
        return messages


def queued(events: list[Event]) -> int:
    """Return the ID of the deployment that was queued now or earlier."""
    return next(event.deployment.id for event in events if isinstance(event, DeploymentQueued))


async def unfinished(uow: UnitOfWork) -> list[Deployment]:
    """Return all queued and running deployments, oldest first."""
    found = [*await uow.deployments.running(visible=EVERYTHING), *await uow.deployments.waiting(visible=EVERYTHING)]
    return sorted(found, key=lambda deployment: deployment.id)
