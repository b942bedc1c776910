"""The reaper: fail runs whose worker is gone, and requeue waiting deployments that do not have a job."""

from __future__ import annotations

import asyncio
import logging
import time

from deploy.adapters.database import DATABASE_ERRORS
from deploy.domain.commands import FailLostRun, RequeueDeployment
from deploy.domain.policy import internal_actor
from deploy.service_layer.messagebus import MessageBus
from deploy.service_layer.unit_of_work import OpenUnitOfWork

log = logging.getLogger(__name__)

REAPER = internal_actor("reaper")
POLL_SECONDS = 5.0
# Seconds. After an outage of the database or this process, heartbeats are old, so give workers time to send new ones.
OUTAGE_GRACE_SECONDS = 30.0


class Reaper:
    """Handles deployments that no worker handles. Several reapers can run in several processes."""

    def __init__(self, bus: MessageBus, open_unit_of_work: OpenUnitOfWork, grace_seconds: float) -> None:
        self._bus = bus
        self._open_unit_of_work = open_unit_of_work
        self._grace_seconds = grace_seconds
        self._healthy_since: float | None = None
        self._checked = 0

    async def run(self) -> None:
        """Check periodically until canceled."""
        while True:
            try:
                await self._check()
            except DATABASE_ERRORS as error:
                log.warning("Failed to check for lost runs: %s", error)
                self._healthy_since = None
            await asyncio.sleep(POLL_SECONDS)

    async def _check(self) -> None:
        async with self._open_unit_of_work() as uow:
            lost = await uow.deployments.lost(self._grace_seconds)
            # Check a long queue in parts.
            without_job, self._checked = await uow.deployments.without_job(self._checked)
        now = time.monotonic()
        self._healthy_since = self._healthy_since or now
        if now - self._healthy_since < min(OUTAGE_GRACE_SECONDS, self._grace_seconds):
            return
        for deployment_id, host in lost:
            reason = (
                f"The run was lost: the worker on {host} has not been seen for {self._grace_seconds:.0f} seconds. "
                "Check that host and what the deployment has done so far, then retry it."
            )
            await self._bus.handle(FailLostRun(deployment_id=deployment_id, reason=reason), by=REAPER)
        for deployment_id in without_job:
            await self._bus.handle(RequeueDeployment(deployment_id=deployment_id), by=REAPER)
