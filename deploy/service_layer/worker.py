"""The worker: claim deployments, start and follow their runs, and adopt runs without a follower.

Runs are not child processes of the worker. When the worker stops, they continue, and the next worker on this data
folder follows them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from deploy.adapters.ansible.configs import OutsideConfigs
from deploy.adapters.ansible.playbook_yaml import PlaybookError
from deploy.adapters.database import DATABASE_ERRORS
from deploy.adapters.filesystem import ServiceFolders
from deploy.adapters.notifications import Listener
from deploy.adapters.runs.directory import RunActive, RunAlreadyStarted, RunDirectory, RunSpec
from deploy.adapters.runs.fork_server import ForkServer
from deploy.adapters.runs.spec import LaunchSettings, run_spec, run_timeout
from deploy.adapters.runs.start import RunError
from deploy.adapters.sealing import Unsealable
from deploy.adapters.service_folders.processes import FoldersUnavailable
from deploy.adapters.service_folders.survey import Survey
from deploy.domain.commands import ClaimDeployments, FailLostRun, Heartbeat, PrepareRun
from deploy.domain.errors import Conflict
from deploy.domain.events import DeploymentClaimed, RunPrepared
from deploy.domain.model import Deployment, DeploymentState
from deploy.domain.policy import WORKER
from deploy.domain.rights import EVERYTHING
from deploy.domain.run_secrets import RunSecrets
from deploy.domain.service_config import ServiceConfig
from deploy.service_layer.enforcement import Enforcer
from deploy.service_layer.ingest.follow import NOT_STARTED, UNDECIDED, Follower, persistently
from deploy.service_layer.messagebus import MessageBus
from deploy.service_layer.retention import Retention
from deploy.service_layer.run_secrets import StoredSecrets
from deploy.service_layer.snapshots import Snapshots
from deploy.service_layer.unit_of_work import OpenUnitOfWork

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 5.0
CLAIM_SECONDS = 2.0
POLL_SECONDS = 0.01
MAX_PENDING_CANCELS = 1000
UNDECIDED_TIMEOUT = 60.0
# Scripts can still report while they are being stopped.
TOKEN_RESERVE = timedelta(minutes=5)


class Worker:
    """Runs up to `slots` deployments at once.

    `sign_token` creates a deployment token. `identity` does not change after a restart, because it belongs to the data
    folder that contains the runs.
    """

    def __init__(
        self,
        *,
        identity: Heartbeat,
        runs_dir: Path,
        launch: LaunchSettings,
        folders: ServiceFolders,
        fork_server: ForkServer,
        bus: MessageBus,
        open_unit_of_work: OpenUnitOfWork,
        run_secrets: StoredSecrets,
        listener: Listener,
        sign_token: Callable[[int, timedelta], str],
        retention: Retention,
        configs: OutsideConfigs | None = None,
    ) -> None:
        self._identity = identity
        self._runs_dir = runs_dir
        self._launch = launch
        self._folders = folders
        self._fork_server = fork_server
        self._bus = bus
        self._open_unit_of_work = open_unit_of_work
        self._run_secrets = run_secrets
        self._sign_token = sign_token
        self._retention = retention
        self._configs = configs
        self._snapshots = Snapshots(launch.services_root, bus)
        self._runs: dict[int, asyncio.Task[None]] = {}
        self._cancelled: OrderedDict[int, None] = OrderedDict()
        self._cancel_sent: dict[int, float] = {}
        self._wake = asyncio.Event()
        listener.on("queue", lambda _: self._wake.set())
        listener.on("cancel", lambda text: self._on_cancel(int(text)))
        listener.on_connect(self._wake.set)

    async def run(self) -> None:
        """Work until canceled. Active runs then continue without the worker."""
        background_tasks = [
            asyncio.create_task(keep) for keep in (self._fork_server.run(), self._beat(), self._retention.run())
        ]
        try:
            await self._claim()
        finally:
            tasks = [*background_tasks, *self._runs.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _claim(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._claim_free_slots()
            except DATABASE_ERRORS as error:
                log.warning("Failed to claim deployments: %s", error)
            try:
                await asyncio.wait_for(self._wake.wait(), CLAIM_SECONDS)
            except asyncio.TimeoutError:
                continue

    async def _claim_free_slots(self) -> None:
        """Claim as many deployments as there are free slots."""
        # Compute this on each pass: a run that ends in between does not always set the wake event (`_on_finished`).
        while (limit := self._identity.slots - len(self._runs)) > 0:
            events = await self._bus.handle(
                ClaimDeployments(worker_id=self._identity.worker_id, limit=limit), by=WORKER
            )
            claimed = [event for event in events if isinstance(event, DeploymentClaimed)]
            for event in claimed:
                self._spawn(event.deployment.id, event)
            if len(claimed) < limit:
                return

    def _spawn(self, deployment_id: int, claimed: DeploymentClaimed | None = None) -> None:
        if deployment_id in self._runs:
            return  # `_adopt_runs` also finds claims that were just committed
        task = asyncio.create_task(self._run_one(deployment_id, claimed), name=f"deployment {deployment_id}")
        self._runs[deployment_id] = task
        task.add_done_callback(lambda _: self._on_finished(deployment_id))

    def _on_finished(self, deployment_id: int) -> None:
        if len(self._runs) >= self._identity.slots:
            self._wake.set()  # a slot is free again
        task = self._runs.pop(deployment_id)
        self._cancel_sent.pop(deployment_id, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("Failed to follow deployment %s; trying again", deployment_id, exc_info=error)

    async def _run_one(self, deployment_id: int, claimed: DeploymentClaimed | None) -> None:
        run = RunDirectory.create(self._runs_dir, deployment_id)
        lock = run.follow_lock()
        if lock is None:
            return  # another process on this data folder is following it
        try:
            found = claimed if claimed is not None else await persistently(lambda: self._read(deployment_id))
            if not await _is_decided(run):
                await self._fail(deployment_id, UNDECIDED)
                return
            secrets = await self._start(found, run) if not run.started() else None
            self._send_pending_cancel(found.deployment)
            offset = 0 if claimed is not None else None
            if secrets is None:
                secrets = await persistently(lambda: self._secrets(found.deployment))
            await self._follow(deployment_id, run, secrets, offset)
            if run.finished() or not run.alive():
                run.remove()  # otherwise `_tidy` removes it later
        finally:
            os.close(lock)

    async def _follow(self, deployment_id: int, run: RunDirectory, secrets: RunSecrets, offset: int | None) -> None:
        mask, refusal = secrets.mask(), lambda: self._fork_server.refusal
        enforcer = Enforcer(run, self._fork_server.user, lambda: self._cancel_sent.get(deployment_id))
        watching = asyncio.create_task(enforcer.watch())
        try:
            follower = Follower(
                deployment_id, run, self._bus, self._open_unit_of_work, mask, offset, refusal, enforcer=enforcer
            )
            await follower.follow()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _start(self, claimed: DeploymentClaimed, run: RunDirectory) -> RunSecrets | None:
        """Start a run, and return its secrets, or None if it did not start now."""
        deployment, secrets = claimed.deployment, RunSecrets()
        if deployment.state is not DeploymentState.RUNNING:
            return None
        if deployment.spool_offset > 0:
            return None  # it ran, but its folder is gone; the follower reports it as lost
        try:
            secrets, survey = await self._prepare(deployment, claimed.config)
            await run.start_by(self._fork_server, self._spec(deployment, claimed.config, survey, secrets))
            return secrets
        except (RunActive, RunAlreadyStarted):
            return None
        except (RunError, PlaybookError, Unsealable, OSError) as error:
            await self._fail(deployment.id, NOT_STARTED.format(secrets.mask().text(str(error))))
            return None

    async def _prepare(self, deployment: Deployment, config: ServiceConfig) -> tuple[RunSecrets, Survey]:
        """Return the secrets of the run, which then include its token, and the survey of the service's folder."""
        with _as_run_errors(deployment):
            lifetime = timedelta(seconds=run_timeout(config, self._launch)) + TOKEN_RESERVE
            secrets, survey, _ = await asyncio.gather(
                persistently(lambda: self._issue_token(deployment.id, lifetime)),
                self._folders.survey(deployment.service, config),
                self._snapshots.take(deployment),
            )
            if not survey.is_script and not survey.settings.is_own and self._configs is not None:
                folder = self._launch.services_root.resolve() / deployment.service
                survey = replace(survey, settings=await self._configs.settings(folder))
            return secrets, survey

    async def _issue_token(self, deployment_id: int, lifetime: timedelta) -> RunSecrets:
        command = PrepareRun(deployment_id=deployment_id, token=self._sign_token(deployment_id, lifetime))
        (event,) = await self._bus.handle(command, by=WORKER)
        assert isinstance(event, RunPrepared)
        return event.secrets

    def _spec(self, deployment: Deployment, config: ServiceConfig, survey: Survey, secrets: RunSecrets) -> RunSpec:
        with _as_run_errors(deployment):
            return run_spec(deployment, config, survey, secrets, self._launch)

    async def _fail(self, deployment_id: int, reason: str) -> None:
        await persistently(
            lambda: self._bus.handle(FailLostRun(deployment_id=deployment_id, reason=reason), by=WORKER)
        )

    async def _secrets(self, deployment: Deployment) -> RunSecrets:
        async with self._open_unit_of_work() as uow:
            return await self._run_secrets.find(deployment, uow)

    async def _read(self, deployment_id: int) -> DeploymentClaimed:
        async with self._open_unit_of_work() as uow:
            found = await uow.deployments.to_run([deployment_id])
        return DeploymentClaimed(*found[deployment_id])

    def _on_cancel(self, deployment_id: int) -> None:
        if not self._send_cancel(deployment_id, "It was cancelled."):
            # The run could be starting right now. Remember the cancel and send it after the start.
            self._cancelled[deployment_id] = None
            if len(self._cancelled) > MAX_PENDING_CANCELS:
                self._cancelled.popitem(last=False)

    def _send_cancel(self, deployment_id: int, reason: str) -> bool:
        if deployment_id not in self._runs:
            return False
        self._cancel_sent.setdefault(deployment_id, time.monotonic())
        return RunDirectory.at(self._runs_dir, deployment_id).send({"cancel": reason[:1000]})

    def _send_pending_cancel(self, deployment: Deployment) -> None:
        was_notified = deployment.id in self._cancelled
        self._cancelled.pop(deployment.id, None)
        if (was_notified or deployment.cancel_requested is not None) and deployment.run_ended is None:
            self._send_cancel(deployment.id, deployment.cancel_requested or "It was cancelled.")

    async def _beat(self) -> None:
        """Send heartbeats, and follow runs that do not have a follower."""
        while True:
            self._fork_server.reap()
            try:
                await self._bus.handle(self._identity, by=WORKER)
                await self._adopt_runs()
            except DATABASE_ERRORS as error:
                log.warning("Failed to send the heartbeat: %s", error)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _adopt_runs(self) -> None:
        async with self._open_unit_of_work() as uow:
            active = await uow.deployments.running_on(self._identity.worker_id)
            reported = await uow.deployments.reported_but_alive(visible=EVERYTHING)
        for deployment in active:
            if deployment.id not in self._runs:
                self._spawn(deployment.id)
        for deployment in (*active, *reported):
            if deployment.cancel_requested is not None:
                self._send_cancel(deployment.id, deployment.cancel_requested)
        known = {deployment.id for deployment in active} | self._runs.keys()
        for deployment_id in RunDirectory.ids(self._runs_dir):
            if deployment_id not in known:
                await self._tidy(deployment_id)

    async def _tidy(self, deployment_id: int) -> None:
        """Follow the rest of a run whose deployment is already final, or remove its directory."""
        run = RunDirectory.at(self._runs_dir, deployment_id)
        async with self._open_unit_of_work() as uow:
            found = await uow.deployments.find(deployment_id, visible=EVERYTHING)
        if found is not None and found.has_live_process:
            self._spawn(deployment_id)
        elif not run.alive():
            run.remove()
        elif not run.finished():
            # Its worker was gone for so long that the run was declared lost, and the next deployment could start.
            run.send({"cancel": "The run was declared lost."})


async def _is_decided(run: RunDirectory) -> bool:
    """Wait until a supervisor that was requested by a dead worker has either started or exited.

    Return False on a timeout: the supervisor could still start, so starting another one is not safe.
    """
    deadline = time.monotonic() + UNDECIDED_TIMEOUT
    while run.alive() and not run.started():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


@contextmanager
def _as_run_errors(deployment: Deployment) -> Iterator[None]:
    """Convert unexpected errors to RunError, because a retry would fail the same way."""
    try:
        yield
    except (RunError, PlaybookError, Unsealable, *DATABASE_ERRORS):
        raise
    except (FoldersUnavailable, Conflict) as error:
        raise RunError(str(error)) from error
    except Exception as error:
        log.exception("Failed to prepare deployment %s", deployment.id)
        raise RunError(f"{type(error).__name__}: {error}") from error
