"""A cache of running deployments and their open steps, kept from the claim on and between two batches of the same run.

Without it, each batch would read its deployment and all its open steps again, and there can be thousands of steps.
Cached entries are optimistic, not locked: a store names the version it is based on (`Batches.store`), and if the
deployment has changed since then, the row is read again. Each change of a deployment or its steps increases `seq`, and
each batch increases `spool_offset` (`Version`).
"""

from __future__ import annotations

from collections import OrderedDict

from deploy.domain.model import Deployment, Step
from deploy.service_layer.unit_of_work import UnitOfWork

CACHE_SIZE = 256
BLOCK = 50


class RunningDeployments:
    """Caches the most recent running deployments of this process."""

    def __init__(self) -> None:
        self._cache: OrderedDict[int, tuple[Deployment, list[Step] | None]] = OrderedDict()

    def take(self, deployment_id: int, spool_offset: int) -> tuple[Deployment, list[Step] | None] | None:
        """Remove and return a cached deployment and its open steps if they match this spool offset.

        The steps are None if they have not been read since the claim. The entry is removed so that the next transaction
        reads from the database if this one fails.
        """
        found = self._cache.pop(deployment_id, None)
        return found if found is not None and found[0].spool_offset == spool_offset else None

    def keep(self, deployment: Deployment, steps: list[Step] | None = None) -> None:
        """Cache a deployment for the next batch. If the commit then fails, the version of the row does not match."""
        if deployment.run_ended is None:
            self._cache[deployment.id] = (deployment, steps)
            if len(self._cache) > CACHE_SIZE:
                self._cache.popitem(last=False)


class StepIds:
    """IDs for new steps, reserved in blocks. IDs that are unused when the process ends are lost, which is harmless."""

    def __init__(self) -> None:
        self._free: list[int] = []

    async def take(self, count: int, uow: UnitOfWork) -> list[int]:
        """Return `count` IDs."""
        while len(self._free) < count:
            # Read `_free` only after the await, because other tasks can take from it during the await.
            fetched = await uow.steps.reserve_ids(max(count, BLOCK))
            self._free = [*self._free, *fetched]
        taken, self._free = self._free[:count], self._free[count:]
        return taken

    def give_back(self, ids: list[int]) -> None:
        """Give back unused IDs."""
        self._free = ids + self._free
