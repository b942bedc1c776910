"""Store the changes that a message made to a deployment."""

from __future__ import annotations

from deploy.adapters.repository import Change, Version
from deploy.domain.model import DeploymentState
from deploy.domain.run import Run
from deploy.service_layer.messages import stored_events
from deploy.service_layer.unit_of_work import UnitOfWork


async def record_run(uow: UnitOfWork, run: Run, version: Version) -> bool:
    """Store the changes since this version of the row: deployment, steps, and events.

    If the row now has another version, store nothing and return False. This cannot happen while the caller holds the
    row's lock.
    """
    return await uow.batches.store(change_of(run, version))


async def record_locked(uow: UnitOfWork, run: Run, version: Version) -> None:
    """Store the changes of a run whose row is locked."""
    is_stored = await record_run(uow, run, version)
    assert is_stored, "a locked row does not change"


def change_of(run: Run, version: Version) -> Change:
    """Return the changes to store since this version of the row."""
    run.flush()
    return Change(
        deployment=run.deployment,
        version=version,
        steps=run.touched.values(),
        removed=run.removed,
        results=run.results.values(),
        events=list(stored_events(run.deployment, run.events)),
    )


async def settle(uow: UnitOfWork, run: Run) -> None:
    """After the end of a run, let the lane's next deployment start, and record the deployed service."""
    deployment = run.deployment
    if deployment.run_ended is None:
        return
    is_success = deployment.state is DeploymentState.SUCCESS
    deployed = {"service": deployment.service, **deployment.context} if is_success else None
    await uow.batches.settle(deployment, deployed=deployed)
