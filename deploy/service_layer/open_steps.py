"""The open steps of running deployments, kept between two batches of the same run.

A run that reports thousands of steps would otherwise read them all again for each batch. What is kept counts only if
nothing has happened in the deployment meanwhile: every change of a step gives the deployment a higher `seq`, every
batch a higher `spool_offset`, and its row is locked while we look.
"""

from __future__ import annotations

from collections import OrderedDict

from deploy.domain.model import Deployment, Step
from deploy.service_layer.unit_of_work import UnitOfWork

KEPT = 256


class OpenSteps:
    """Remembers the steps of the last few running deployments of this process."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, tuple[tuple[int, int], list[Step]]] = OrderedDict()

    async def of(self, deployment: Deployment, uow: UnitOfWork) -> list[Step]:
        """Return the open steps of a deployment whose row is locked; they are ours to change.

        They are forgotten at the same time: should the transaction fail, the next one reads them again.
        """
        version, steps = self._kept.pop(deployment.id, ((-1, -1), []))
        if version == (deployment.seq, deployment.spool_offset):
            return steps
        return await uow.steps.open_of(deployment.id)

    def keep(self, deployment: Deployment, steps: list[Step]) -> None:
        """Keep the steps for the next batch. A commit that fails after this leaves another version in the row."""
        if deployment.run_ended is None:
            self._kept[deployment.id] = ((deployment.seq, deployment.spool_offset), steps)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
