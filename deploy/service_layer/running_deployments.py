"""Running deployments and their open steps, kept between two batches of the same run.

A run that reports thousands of steps would otherwise read them all again for each batch, and every batch would begin
with reading its deployment. What is kept is a guess, not a lock: whoever stores it says which version it was made
from (`Batches.store`), and reads the row when something else has happened in the deployment meanwhile. Every change
of a deployment or of its steps gives it a higher `seq`, every batch a higher `spool_offset` (`Version`).
"""

from __future__ import annotations

from collections import OrderedDict

from deploy.domain.model import Deployment, Step
from deploy.service_layer.unit_of_work import UnitOfWork

KEPT = 256
BLOCK = 50


class RunningDeployments:
    """Remembers the last few running deployments of this process."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, tuple[Deployment, list[Step]]] = OrderedDict()

    def take(self, deployment_id: int, spool_offset: int) -> tuple[Deployment, list[Step]] | None:
        """Return a deployment as it was when the spool had been taken in so far, and its open steps, to be changed.

        They are forgotten at the same time: should the transaction fail, the next one reads them again.
        """
        found = self._kept.pop(deployment_id, None)
        return found if found is not None and found[0].spool_offset == spool_offset else None

    def keep(self, deployment: Deployment, steps: list[Step]) -> None:
        """Keep a deployment for the next batch. A commit that fails after this leaves another version in the row."""
        if deployment.run_ended is None:
            self._kept[deployment.id] = (deployment, steps)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)


class StepIds:
    """Ids for new steps, fetched in blocks; those that are left when the process ends are lost, which does no harm."""

    def __init__(self) -> None:
        self._free: list[int] = []

    async def take(self, count: int, uow: UnitOfWork) -> list[int]:
        """Return so many ids."""
        while len(self._free) < count:
            # First fetched, then added to what is there by then: others take from it while we wait.
            fetched = await uow.steps.reserve_ids(max(count, BLOCK))
            self._free = [*self._free, *fetched]
        taken, self._free = self._free[:count], self._free[count:]
        return taken

    def give_back(self, ids: list[int]) -> None:
        """Take back ids that no step got."""
        self._free = ids + self._free
