"""A cache of running deployments, their open steps, and their hosts, kept from the claim on and between two batches.


Without it, each batch would read its deployment, all its open steps, and its host results again, and there can be
thousands of each.
Cached entries are optimistic, not locked: a store names the version it is based on (`Batches.store`), and if the
deployment has changed since then, the row is read again. Each change of a deployment or its steps increases `seq`, and
each batch increases `spool_offset` (`Version`).
"""

from __future__ import annotations

from collections import OrderedDict

from deploy.domain.hosts import Hosts
from deploy.domain.model import Deployment, Step
from deploy.domain.run import Run
from deploy.service_layer.unit_of_work import UnitOfWork

CACHE_SIZE = 256
BLOCK = 50


class RunningDeployments:
    """Caches the most recent running deployments of this process."""

    def __init__(self) -> None:
        self._cache: OrderedDict[int, tuple[Deployment, list[Step] | None, Hosts]] = OrderedDict()

    def take(self, deployment_id: int, spool_offset: int) -> tuple[Deployment, list[Step] | None, Hosts] | None:
        """Remove and return a cached deployment, its open steps, and its hosts if they match this spool offset.

        The steps are None if they have not been read since the claim. The entry is removed so that the next transaction
        reads from the database if this one fails.
        """
        found = self._cache.pop(deployment_id, None)
        return found if found is not None and found[0].spool_offset == spool_offset else None

    def keep_claimed(self, deployment: Deployment) -> None:
        """Cache a deployment that is about to run for the first time."""
        self._keep(deployment, None, Hosts())

    def keep(self, run: Run) -> None:
        """Cache a deployment for the next batch. If the commit then fails, the version of the row does not match."""
        if run.deployment.run_ended is None:
            self._keep(run.deployment, run.open_steps, run.hosts)

    def _keep(self, deployment: Deployment, open_steps: list[Step] | None, hosts: Hosts) -> None:
        self._cache[deployment.id] = (deployment, open_steps, hosts)
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
