"""Take snapshots of a service's files when a deployment starts, to compare later deployments with them."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from deploy.adapters.database import DATABASE_ERRORS
from deploy.adapters.service_folders.digests import folder_digests
from deploy.domain.commands import KeepFiles
from deploy.domain.model import Deployment
from deploy.domain.policy import WORKER
from deploy.service_layer.messagebus import MessageBus

log = logging.getLogger(__name__)

# Seconds that a start waits so that the files are read before its script can change them. This is enough for a small
# folder. For a large folder, the remaining files are read while the script starts.
READ_TIMEOUT = 0.005


class Snapshots:
    """Reads service folders while their deployments start. Errors never fail a start."""

    def __init__(self, services_root: Path, bus: MessageBus) -> None:
        self._root = services_root
        self._bus = bus
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, deployment: Deployment) -> None:
        """Start reading the files of a deployment's service. Store their digests in the background."""
        read = asyncio.ensure_future(asyncio.to_thread(folder_digests, self._root / deployment.service))
        task = asyncio.create_task(self._keep(deployment.id, read))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait([read], timeout=READ_TIMEOUT)

    async def _keep(self, deployment_id: int, read: asyncio.Future[dict[str, str] | None]) -> None:
        try:
            await self._bus.handle(KeepFiles(deployment_id=deployment_id, files=await read), by=WORKER)
        except (OSError, *DATABASE_ERRORS) as error:
            log.warning("Failed to record the files of deployment %s: %s", deployment_id, error)
