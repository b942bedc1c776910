"""Create the worker for `fastdeploy worker` and `fastdeploy serve`."""

from __future__ import annotations

import socket
from importlib.metadata import version
from pathlib import Path

from deploy.adapters.ansible.configs import OutsideConfigs
from deploy.adapters.inputs.programs import ChoiceContext, ChoicePrograms
from deploy.adapters.runs.fork_server import ForkServer
from deploy.adapters.runs.spec import LaunchSettings, worker_home
from deploy.adapters.runs.start import DeployUser
from deploy.adapters.tokens import new_token_id
from deploy.config import Settings, read_or_create_secret
from deploy.domain.commands import Heartbeat
from deploy.entrypoints.app_state import AppState
from deploy.entrypoints.deploy_user import deploy_user
from deploy.service_layer.choices import choice_handlers
from deploy.service_layer.retention import Retention
from deploy.service_layer.run_secrets import StoredSecrets
from deploy.service_layer.worker import Worker
from deploy.service_layer.worker_tasks import TaskRunner


def create_worker(state: AppState, settings: Settings, *, api_url: str) -> tuple[Worker, TaskRunner]:
    """Return a worker on the data folder of `settings`: what runs deployments, and what answers worker tasks.

    Raises:
        ConfigurationError: The deploy user owns the data folder.
        RunError: The deploy user does not exist.
    """
    user = deploy_user(settings)
    worker_id = read_or_create_secret(settings.data_dir / "worker-id", new_token_id())
    worker = Worker(
        identity=Heartbeat(
            worker_id=worker_id,
            host=socket.gethostname(),
            version=version("fastdeploy-server"),
            slots=settings.worker_slots,
        ),
        runs_dir=settings.runs_dir,
        launch=launch_settings(settings, user, api_url),
        folders=state.folders,
        fork_server=ForkServer(user),
        bus=state.bus,
        open_unit_of_work=state.open_unit_of_work,
        run_secrets=StoredSecrets(state.inputs.vault),
        listener=state.listener,
        sign_token=state.tokens.deployment_token,
        retention=Retention(state.bus, state.open_unit_of_work, settings.retention_days, settings.retention_count),
        configs=OutsideConfigs(
            path=settings.path_for_deploy,
            home=worker_home(user.home if user else None),
            user=lambda: deploy_user(settings),
        ),
    )
    context = ChoiceContext(folders=state.folders, path=settings.path_for_deploy, user=lambda: deploy_user(settings))
    handlers = choice_handlers(ChoicePrograms(context))
    return worker, TaskRunner(worker_id, handlers, state.open_autocommit, state.listener)


def launch_settings(settings: Settings, user: DeployUser | None, api_url: str) -> LaunchSettings:
    """Return the settings shared by all runs of this worker."""
    return LaunchSettings(
        services_root=Path(settings.services_root).resolve(),
        path=settings.path_for_deploy,
        home=worker_home(user.home if user else None),
        api_url=(settings.api_url or api_url).rstrip("/"),
        timeout=settings.deployment_timeout_seconds,
        output_limit=settings.output_limit_mib << 20,
        ssh_auth_sock=settings.ssh_auth_sock or None,
    )
