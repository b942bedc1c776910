"""Delete deployments that exceed the retention limits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from deploy.adapters.database import DATABASE_ERRORS
from deploy.domain.commands import ExpireDeployments
from deploy.domain.events import DeploymentExpired
from deploy.domain.policy import WORKER
from deploy.service_layer.messagebus import MessageBus
from deploy.service_layer.unit_of_work import OpenUnitOfWork

log = logging.getLogger(__name__)

# Seconds. The pause between batches leaves the database to other work.
EVERY, PAUSE = 3600.0, 0.2


@dataclass(frozen=True, slots=True)
class Retention:
    """Deletes old deployments of all services, in one short transaction per batch. A limit of 0 means no limit."""

    bus: MessageBus
    open_unit_of_work: OpenUnitOfWork
    days: float
    count: int

    async def run(self) -> None:
        """Delete old deployments every hour until canceled."""
        while True:
            try:
                async for _ in self.batches():
                    await asyncio.sleep(PAUSE)
            except DATABASE_ERRORS as error:
                log.warning("Failed to delete old deployments: %s", error)
            await asyncio.sleep(EVERY)

    async def batches(self) -> AsyncIterator[list[int]]:
        """Delete all old deployments. Yield the IDs of each batch after its transaction."""
        async with self.open_unit_of_work() as uow:
            services = [service.id for service in await uow.services.all_for_upkeep()]
        for service_id in services:
            command = ExpireDeployments(service_id=service_id, days=self.days, count=self.count)
            while events := await self.bus.handle(command, by=WORKER):
                yield [event.deployment_id for event in events if isinstance(event, DeploymentExpired)]
