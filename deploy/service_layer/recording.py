"""What a message has changed in a deployment becomes rows, and wakes those who read them."""

from __future__ import annotations

from deploy.adapters.repository import Change, Version
from deploy.domain.model import Deployment, DeploymentState
from deploy.domain.run import Run
from deploy.service_layer.messages import stored_events
from deploy.service_layer.unit_of_work import UnitOfWork


async def record_run(uow: UnitOfWork, run: Run, version: Version) -> bool:
    """Store what has changed since the row had that version: deployment, steps and events.

    Returns False, with nothing stored, where the row is of another version by now; it never is while we hold its lock.
    """
    return await uow.batches.store(change_of(run, version))


async def record_locked(uow: UnitOfWork, run: Run, version: Version) -> None:
    """The same where we hold the row's lock; then it is stored in any case."""
    is_stored = await record_run(uow, run, version)
    assert is_stored, "a locked row does not change"


def change_of(run: Run, version: Version) -> Change:
    """Return what has changed since the row had that version, to be stored."""
    return Change(
        deployment=run.deployment,
        version=version,
        steps=run.touched.values(),
        removed=run.removed,
        events=list(stored_events(run.deployment, run.events)),
    )


async def forget_secrets(uow: UnitOfWork, deployment: Deployment) -> None:
    """Nobody needs them any more: remove the secret inputs of a deployment that runs no more, or never will."""
    if deployment.secret_inputs:
        await uow.secrets.remove(deployment.id)


async def settle(uow: UnitOfWork, run: Run) -> None:
    """After the end of a run: let the next deployment of the service start, note what was left running."""
    deployment = run.deployment
    if deployment.run_ended is None:
        return
    await forget_secrets(uow, deployment)
    if deployment.job_id is not None:
        await uow.queue.finish(deployment.job_id)
    if deployment.state is DeploymentState.SUCCESS:
        config = {"service": deployment.service, **deployment.context}
        await uow.deployed_services.put(deployment.service_id, deployment.id, config)
