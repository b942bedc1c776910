"""Handlers that start and cancel deployments, and that process script reports sent over HTTP."""

from __future__ import annotations

from deploy.adapters.repository import Change, Version
from deploy.domain import commands
from deploy.domain.errors import Conflict, InvalidInput
from deploy.domain.events import DeploymentChanged, DeploymentQueued, Event, StepChanged
from deploy.domain.inputs import ENV
from deploy.domain.model import Deployment, DeploymentState, Lane
from deploy.domain.reports import MAX_DEPTH, is_deep
from deploy.domain.rights import EVERYTHING
from deploy.domain.rules import WaitingLimits, check_key, check_origin
from deploy.domain.run import Run, plan
from deploy.domain.run_secrets import RunSecrets
from deploy.service_layer.clock import Clock
from deploy.service_layer.ingest.running_deployments import StepIds
from deploy.service_layer.ingest.store import record_locked
from deploy.service_layer.inputs import Inputs, check_shape, values_of
from deploy.service_layer.messages import stored_events
from deploy.service_layer.plans import PlaybookSteps, expected
from deploy.service_layer.run_secrets import StoredSecrets
from deploy.service_layer.unit_of_work import UnitOfWork


async def start_deployment(
    command: commands.StartDeployment,
    uow: UnitOfWork,
    *,
    now: Clock,
    playbook_steps: PlaybookSteps,
    step_ids: StepIds,
    inputs: Inputs,
    run_secrets: StoredSecrets,
    limits: WaitingLimits,
) -> list[Event]:
    """Queue a deployment: store its row, planned steps, secrets, and job in one transaction."""
    check_shape(command)
    check_key(command.idempotency_key)
    if command.by_person and command.retry_of is None:  # otherwise, the origin was checked before it was stored
        check_origin(command.origin)
    # The lock serializes the starts of a service. Starts happen in the order of their IDs, an idempotency key is only
    # used once, and the service cannot be removed at the same time.
    service = await uow.services.get(command.service_id, for_update=True, visible=EVERYTHING)
    if command.idempotency_key is not None:
        before = await uow.deployments.with_key(service.id, command.user, command.idempotency_key)
        if before is not None:
            return [_repeated(before, command, inputs)]
    limits.check(service.name, *await uow.deployments.count_queued(service.id, command.user, limit=limits.most))
    if command.retry_of is not None:
        (await uow.deployments.get(command.retry_of, visible=EVERYTHING)).ensure_retryable()
    values = values_of(command, service.config)
    deployment_id, job_id = await _queued(command, uow)
    deployment = Deployment(
        id=deployment_id,
        job_id=job_id,
        service_id=service.id,
        service=service.name,
        origin=command.origin,
        user=command.user,
        user_id=command.user_id,
        context={**command.context, ENV: values.env},
        created=now(),
        idempotency_key=command.idempotency_key,
        request_fingerprint=inputs.fingerprint(command) if command.idempotency_key is not None else None,
        retry_of=command.retry_of,
        secret_inputs=sorted(values.secrets),
        environment=command.environment,
        held=command.held,
    )
    expectation = await expected(service, uow, playbook_steps, environment=command.environment, visible=EVERYTHING)
    deployment.expected_seconds = expectation.expected_seconds
    ids = iter(await step_ids.take(len(expectation.steps), uow))
    events: list[Event] = [DeploymentChanged(deployment.id), *plan(deployment, expectation.steps, ids)]
    await uow.batches.add(
        deployment,
        config=service.data,
        steps=[event.step for event in events if isinstance(event, StepChanged)],
        events=list(stored_events(deployment, events)),
    )
    if values.secrets:
        await run_secrets.keep(deployment.id, RunSecrets(inputs=values.secrets), uow)
    return [DeploymentQueued(deployment), *events]


async def _queued(command: commands.StartDeployment, uow: UnitOfWork) -> tuple[int, int | None]:
    """Return the IDs of the new deployment and of its job, which is None if the deployment is held."""
    if command.held is not None:
        return await uow.batches.next_id(), None
    return await uow.queue.put_new(Lane(command.service_id, command.environment))


async def release_deployment(command: commands.ReleaseDeployment, uow: UnitOfWork) -> list[Event]:
    """Queue a deployment that was held."""
    deployment = await uow.deployments.get(command.deployment_id, for_update=True, visible=EVERYTHING)
    run, version = Run(deployment, (), iter(())), Version.of(deployment)
    run.events += deployment.release()
    deployment.job_id = await uow.queue.put(deployment.id, deployment.lane)
    await record_locked(uow, run, version)
    return run.events


async def cancel_deployment(command: commands.CancelDeployment, uow: UnitOfWork, *, now: Clock) -> list[Event]:
    """Cancel a deployment: immediately if it is queued, or through its worker if it is running."""
    deployment = await uow.deployments.get(command.deployment_id, for_update=True, visible=EVERYTHING)
    version = Version.of(deployment)
    events = deployment.request_cancel(command.by, now=now())
    run = Run(deployment, await uow.steps.open_of(deployment.id), iter(()))
    if deployment.state is DeploymentState.CANCELLED:  # it was queued
        run.drop_open()
        await uow.secrets.remove(deployment.id)
        if deployment.job_id is not None:
            await uow.queue.withdraw(deployment.job_id)
    run.events += events
    await record_locked(uow, run, version)
    if deployment.has_live_process:
        # Notify the worker again on a repeated cancel; the first notification may have been lost.
        await uow.events.wake(f"cancel {deployment.id}")
    return run.events


async def report_step(
    command: commands.ReportStep, uow: UnitOfWork, *, now: Clock, run_secrets: StoredSecrets
) -> list[Event]:
    """Apply a step report that a script sent over HTTP."""
    if is_deep(command.report.detail):
        raise InvalidInput(f"The report is nested too deeply ({MAX_DEPTH} levels at most).")
    deployment = await uow.deployments.get(command.deployment_id, for_update=True, visible=EVERYTHING)
    if deployment.state.is_final:
        raise Conflict(f"Deployment {deployment.id} has already finished ({deployment.state.value}).")
    ids, version = iter(await uow.steps.reserve_ids(1)), Version.of(deployment)
    run = Run(deployment, await uow.steps.open_of(deployment.id), ids)
    mask = await run_secrets.mask(deployment, uow)
    run.report(mask.report(command.report), at=now())
    await record_locked(uow, run, version)
    return run.events


async def finish_deployment(command: commands.FinishDeployment, uow: UnitOfWork, *, now: Clock) -> list[Event]:
    """Finish a deployment whose script is done. Idempotent."""
    deployment = await uow.deployments.get(command.deployment_id, for_update=True, visible=EVERYTHING)
    run, version = Run(deployment, await uow.steps.open_of(deployment.id), iter(())), Version.of(deployment)
    run.finish(at=now())
    await record_locked(uow, run, version)
    return run.events


async def keep_files(command: commands.KeepFiles, uow: UnitOfWork) -> list[Event]:
    """Store the digests of the files that were present when a deployment started."""
    await uow.history.keep_files(command.deployment_id, command.files)
    return []


async def requeue_deployment(command: commands.RequeueDeployment, uow: UnitOfWork) -> list[Event]:
    """Give a waiting deployment a new job to replace a missing one."""
    deployment = await uow.deployments.get(command.deployment_id, for_update=True, visible=EVERYTHING)
    if deployment.state is not DeploymentState.QUEUED:
        return []
    without_job, _ = await uow.deployments.without_job(deployment.id - 1, limit=1)
    if deployment.id in without_job:
        deployment.job_id = await uow.queue.put(deployment.id, deployment.lane)
        await uow.batches.store(Change(deployment=deployment, version=Version.of(deployment)))
    return []


def _repeated(before: Deployment, command: commands.StartDeployment, inputs: Inputs) -> Event:
    if before.request_fingerprint is not None:
        is_same = before.request_fingerprint == inputs.fingerprint(command)
    else:  # created before fingerprints were stored
        is_same = (before.context, before.user) == (command.context, command.user)
    if not is_same:
        raise Conflict("This Idempotency-Key was already used for a different request. Use a new key.")
    return DeploymentQueued(before, is_new=False)
