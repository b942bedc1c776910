"""Events of a deployment become rows, and wake those who read them."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.domain.events import Event, StepChanged
from deploy.domain.model import Deployment, DeploymentState
from deploy.domain.run import Run
from deploy.service_layer.messages import stored_events
from deploy.service_layer.unit_of_work import UnitOfWork


async def record(uow: UnitOfWork, deployment: Deployment, events: Sequence[Event]) -> None:
    """Append events to the log of a deployment whose row is ours (locked, or not yet visible to others)."""
    stored = list(stored_events(deployment, events))
    if not stored:
        return
    await uow.events.append(deployment.id, stored)
    await uow.steps.put({e.step.id: e.step for e in events if isinstance(e, StepChanged) and not e.deleted}.values())


async def record_run(uow: UnitOfWork, run: Run) -> None:
    """Store what a batch has changed: steps, events, and, where the run has ended, the free job."""
    deployment = run.deployment
    await uow.steps.put(run.touched.values())
    await uow.steps.remove(run.removed)
    stored = list(stored_events(deployment, run.events))
    if stored:
        await uow.events.append(deployment.id, stored)


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
