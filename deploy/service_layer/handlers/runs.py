"""Handlers for workers: claim deployments, store the output of runs, fail lost runs, and delete old deployments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from deploy.adapters.repository import Change, Version
from deploy.domain import commands
from deploy.domain.ansible_errors import LAST_LINES, ansible_error
from deploy.domain.errors import Conflict
from deploy.domain.events import DeploymentClaimed, DeploymentExpired, Event, RunPrepared
from deploy.domain.hosts import Hosts
from deploy.domain.model import Deployment, DeploymentState, Step
from deploy.domain.reports import Line, Reported, RunEnded, clean_text, short_text
from deploy.domain.rights import EVERYTHING
from deploy.domain.run import Run
from deploy.domain.run_secrets import RunSecrets
from deploy.domain.service_config import MAX_RETENTION_COUNT, MAX_RETENTION_DAYS, ServiceConfig
from deploy.service_layer.clock import Clock
from deploy.service_layer.ingest.entries import NOTE_PREFIX
from deploy.service_layer.ingest.running_deployments import RunningDeployments, StepIds
from deploy.service_layer.ingest.store import change_of, record_locked, record_run, settle
from deploy.service_layer.messages import open_line_message
from deploy.service_layer.output import lines_of
from deploy.service_layer.run_secrets import StoredSecrets
from deploy.service_layer.unit_of_work import UnitOfWork

# PostgreSQL refuses notifications of 8,000 bytes and more.
MAX_NOTIFICATION_BYTES = 8000


async def claim_deployments(
    command: commands.ClaimDeployments, uow: UnitOfWork, *, now: Clock, running: RunningDeployments
) -> list[Event]:
    """Claim the next deployments: update jobs and rows in one transaction."""
    # A worker that is woken often finds that there is nothing to claim.
    if not await uow.queue.has_waiting():
        return []
    async with uow.atomically():
        return await _claimed(command, uow, now, running)


async def _claimed(
    command: commands.ClaimDeployments, uow: UnitOfWork, now: Clock, running: RunningDeployments
) -> list[Event]:
    events: list[Event] = []
    room = command.limit
    while room > 0 and (taken := await uow.queue.take(room)):
        found = await uow.deployments.to_run([deployment_id for _, deployment_id in taken])
        changes: list[Change] = []
        for job_id, deployment_id in taken:
            deployment, config = found.get(deployment_id, (None, ServiceConfig()))
            if deployment is None or deployment.state is not DeploymentState.QUEUED:
                await uow.queue.finish(job_id)  # canceled in the meantime
                continue
            run, version = Run(deployment, (), iter(())), Version.of(deployment)
            run.events += deployment.start(worker_id=command.worker_id, now=now())
            changes.append(change_of(run, version))
            running.keep_claimed(deployment)
            events += [DeploymentClaimed(deployment, config), *run.events]
        await uow.batches.store_all(changes)
        if len(taken) < room:
            break
        room -= len(changes)
    return events


async def prepare_run(command: commands.PrepareRun, uow: UnitOfWork, *, run_secrets: StoredSecrets) -> list[Event]:
    """Store the deployment token of a run with its other secrets, before it starts.

    Raises:
        Unsealable: The secrets are not stored or cannot be decrypted.
        Conflict: The run has already ended.
    """
    only = RunSecrets(token=command.token)
    if await run_secrets.keep_first(command.deployment_id, only, uow):  # as for most runs
        return [RunPrepared(command.deployment_id, only)]
    deployment = await uow.deployments.get(command.deployment_id, visible=EVERYTHING)
    secrets = replace(await run_secrets.open(deployment, uow), token=command.token)
    if not await run_secrets.keep(deployment.id, secrets, uow):
        raise Conflict(f"Deployment {deployment.id} has already finished ({deployment.state.value}).")
    return [RunPrepared(deployment.id, secrets)]


async def ingest_output(
    command: commands.IngestOutput, uow: UnitOfWork, *, running: RunningDeployments, step_ids: StepIds
) -> list[Event]:
    """Store the output of a run.

    The spool offset is stored in the same transaction, so each line is applied exactly once.
    """
    new_steps = sum(isinstance(entry, (Reported, RunEnded)) for entry in command.entries)
    ids = await step_ids.take(new_steps, uow)
    cached = running.take(command.deployment_id, command.offset_before)
    free, run = iter(ids), None
    if cached is not None:
        deployment, open_steps, hosts = cached
        if open_steps is None:
            open_steps = await uow.steps.open_of(deployment.id)
        run = await _stored(command, uow, free, deployment, open_steps, hosts)
    if run is None:  # not cached, or changed since it was cached
        async with uow.atomically():
            deployment = await uow.deployments.get(command.deployment_id, for_update=True, visible=EVERYTHING)
            if deployment.spool_offset != command.offset_before:
                return []
            free = iter(ids)
            steps, hosts = await uow.steps.open_of(deployment.id), await uow.hosts.tracked(deployment.id)
            run = await _stored(command, uow, free, deployment, steps, hosts)
            assert run is not None, "a locked row does not change"
    running.keep(run)
    step_ids.give_back(list(free))
    return run.events


async def _stored(
    command: commands.IngestOutput,
    uow: UnitOfWork,
    ids: Iterator[int],
    deployment: Deployment,
    open_steps: list[Step],
    hosts: Hosts,
) -> Run | None:
    """Apply the entries and store the changes. Return None if the row has changed since it was read."""
    run, version = Run(deployment, open_steps, ids, hosts), Version.of(deployment)
    for entry in command.entries:
        run.take(await _explained(entry, run, uow) if isinstance(entry, RunEnded) else entry)
    deployment.spool_offset = command.offset
    if deployment.run_ended is None:
        return run if await record_run(uow, run, version) else None
    async with uow.atomically():
        is_stored = await record_run(uow, run, version)
        if is_stored:
            await settle(uow, run)
    return run if is_stored else None


async def _explained(end: RunEnded, run: Run, uow: UnitOfWork) -> RunEnded:
    """Return the end of a run, with Ansible's error if a playbook failed before any of its tasks did."""
    if not end.is_playbook or end.code in (None, 0) or end.cause is not None or run.deployment.reason is not None:
        return end
    before = max(0, run.stored_lines - LAST_LINES)
    stored = await uow.events.output_after(run.deployment.id, before, visible=EVERYTHING, limit=LAST_LINES)
    printed = [line.text for event in stored for line in lines_of(event.message)]
    return replace(end, error=short_text(ansible_error([*printed, *run.printed])))


async def show_open_line(command: commands.ShowOpenLine, uow: UnitOfWork) -> list[Event]:
    """Notify the servers of a line that has not ended yet, unless it is too long for a notification."""
    message = open_line_message(command.deployment_id, command.number, command.at, command.text)
    payload = f"open_line {command.deployment_id} {message}"
    if len(payload.encode()) < MAX_NOTIFICATION_BYTES:
        await uow.events.wake(payload)
    return []


async def fail_lost_run(command: commands.FailLostRun, uow: UnitOfWork, *, now: Clock) -> list[Event]:
    """End a run that can no longer be followed, so that it does not stay in the running state forever."""
    deployment = await uow.deployments.get(command.deployment_id, for_update=True, visible=EVERYTHING)
    if deployment.run_ended is not None:
        return []
    version = Version.of(deployment)
    run = Run(deployment, await uow.steps.open_of(deployment.id), iter(await uow.steps.reserve_ids(1)))
    if command.note:
        run.take(Line(NOTE_PREFIX + clean_text(command.note), now()))
    run.take(RunEnded(at=now(), code=None, cause=command.cause, message=clean_text(command.reason)))
    await record_locked(uow, run, version)
    await settle(uow, run)
    return run.events


async def expire_deployments(command: commands.ExpireDeployments, uow: UnitOfWork) -> list[Event]:
    """Delete a batch of a service's deployments that exceed the retention limits. Call again as long as it returns
    events.

    Always keep the last success of each lane, because it is the basis for planning the next deployment.
    """
    service = next(iter(await uow.services.some([command.service_id], visible=EVERYTHING)), None)
    # Deletions cannot be undone, so do not guess how long to keep the deployments.
    if service is None or service.config.faults("retention_days", "retention_count"):
        return []
    days, count = service.config.retention_days, service.config.retention_count
    days = min(command.days if days is None else days, MAX_RETENTION_DAYS)
    count = min(command.count if count is None else count, MAX_RETENTION_COUNT)
    if not days and not count:
        return []
    return [
        DeploymentExpired(deployment_id)
        for deployment_id in await uow.retention.remove_old(service.id, days=days, count=count)
    ]


async def heartbeat(command: commands.Heartbeat, uow: UnitOfWork) -> list[Event]:
    """Record that a worker is alive."""
    await uow.workers.beat(
        worker_id=command.worker_id, host=command.host, version=command.version, slots=command.slots
    )
    return []
