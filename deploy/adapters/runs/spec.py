"""Describe what a deployment runs, as data. `directory` starts it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.adapters.ansible.command import (
    EXTRA_VARS_FILE,
    RUN_DIR,
    Playbook,
    extra_vars,
    playbook_argv,
    playbook_env,
)
from deploy.adapters.ansible.locate import find_executable, find_strategies
from deploy.adapters.ansible.playbook_yaml import PlaybookError
from deploy.adapters.runs.directory import RunSpec
from deploy.adapters.runs.start import RunError
from deploy.adapters.service_folders.survey import Survey
from deploy.domain.model import Deployment
from deploy.domain.run_secrets import RunSecrets
from deploy.domain.service_config import ServiceConfig

CONFIG_FILE = "config.json"
LINE_LIMIT = 1 << 20
# Seconds between SIGTERM and SIGKILL.
SCRIPT_GRACE = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSettings:
    """Settings shared by all runs of a worker. `timeout` is in seconds, `output_limit` in bytes."""

    services_root: Path
    path: str
    home: str
    api_url: str
    timeout: float
    output_limit: int
    ssh_auth_sock: str | None = None
    lang: str = "C.UTF-8"


def run_spec(
    deployment: Deployment,
    config: ServiceConfig,
    survey: Survey,
    secrets: RunSecrets,
    settings: LaunchSettings,
) -> RunSpec:
    """Return the run spec for a deployment of a service with this `config`.

    `survey` is the survey of the service's folder with that config. `secrets` are passed like the other values, in a
    file that only the run can read.

    Raises:
        PlaybookError: The playbook, or something its config refers to, cannot be used.
        RunError: The stored config is invalid. New configs like this are rejected, but older ones are still stored.
    """
    if faults := config.faults():
        raise RunError(f"The service's config is invalid: {faults}. Correct its config.json, then sync the services.")
    folder = settings.services_root.resolve() / deployment.service
    values = {**deployment.context.get("env", {}), **secrets.inputs}
    if survey.is_script:
        return _script(deployment, config, secrets.token or "", folder, settings, values)
    return _playbook(deployment, config, survey, folder, settings, values)


def _script(
    deployment: Deployment,
    config: ServiceConfig,
    token: str,
    folder: Path,
    settings: LaunchSettings,
    values: Mapping[str, Any],
) -> RunSpec:
    script = str(folder / config.script)
    run_config = {
        "deployment_id": deployment.id,
        "access_token": token,
        "deploy_script": script,
        "steps_url": f"{settings.api_url}/steps/",
        "deployment_finish_url": f"{settings.api_url}/deployments/finish/",
        "context": {**deployment.context, "env": values},
        "path_for_deploy": settings.path,
    }
    if settings.ssh_auth_sock:
        run_config["ssh_auth_sock"] = settings.ssh_auth_sock
    file = f"{RUN_DIR}/{CONFIG_FILE}"
    return RunSpec(
        argv=[script, "--config", file],
        cwd=str(folder),
        env={"PATH": settings.path, "HOME": settings.home, "LANG": settings.lang, "DEPLOY_CONFIG_FILE": file},
        files={CONFIG_FILE: _json(run_config)},
        timeout=run_timeout(config, settings),
        grace=SCRIPT_GRACE,
        output_limit=settings.output_limit,
        line_limit=LINE_LIMIT,
    )


def _json(value: Mapping[str, Any]) -> str:
    """Return compact JSON. Lone surrogates stay escaped because UTF-8 cannot encode them."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode("utf-8")


def _playbook(
    deployment: Deployment,
    config: ServiceConfig,
    survey: Survey,
    folder: Path,
    settings: LaunchSettings,
    values: Mapping[str, Any],
) -> RunSpec:
    if survey.fault:
        raise PlaybookError(survey.fault)
    playbook = Playbook(
        executable=find_executable(settings.path),
        path=Path(survey.playbook),
        folder=folder,
        inventory=Path(survey.inventory) if survey.inventory is not None else None,
        pipelining=config.pipelining,
        settings=survey.settings,
        strategies=find_strategies(config),
    )
    return RunSpec(
        argv=playbook_argv(playbook, diff=bool(config.diff)),
        cwd=str(folder),
        env=playbook_env(
            playbook,
            path=settings.path,
            home=settings.home,
            lang=settings.lang,
            ssh_auth_sock=settings.ssh_auth_sock,
        ),
        files={EXTRA_VARS_FILE: extra_vars(values, deployment_id=deployment.id, service=deployment.service)},
        timeout=run_timeout(config, settings),
        # Three signals in a row (INT, TERM, KILL) must fit in ten seconds.
        grace=3.0,
        interrupt=True,
        events=True,
        output_limit=settings.output_limit,
        line_limit=LINE_LIMIT,
    )


def run_timeout(config: ServiceConfig, settings: LaunchSettings) -> float:
    """Return the timeout of a run in seconds: the service's own, or the default."""
    return config.timeout if config.timeout is not None else settings.timeout


def worker_home(home_of_deploy_user: str | None) -> str:
    """Return HOME for runs: the deploy user's home, or the server's own."""
    return home_of_deploy_user or os.environ.get("HOME") or str(Path("~").expanduser())
