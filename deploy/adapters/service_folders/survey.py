"""Find out what a service would run, from its folder and a config: the playbook, its steps, and its hosts."""

from __future__ import annotations

from dataclasses import dataclass, field
from posixpath import dirname, join

from deploy.adapters.ansible.command import AnsibleSettings
from deploy.adapters.ansible.locate import (
    find_inventory,
    playbook_path,
    read_settings,
    why_hosts_are_hidden,
)
from deploy.adapters.ansible.playbook_yaml import PlaybookError
from deploy.adapters.ansible.targets import host_patterns
from deploy.adapters.ansible.tasks import task_names
from deploy.adapters.runs.supervisor.file_access import MISSING
from deploy.adapters.service_folders.files import FileError, Files
from deploy.domain.service_config import DEFAULT_SCRIPT, ServiceConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What a service would run.

    `is_script` is True if the service runs a script; its playbook, if any, is then ignored. `inventory` is None if
    Ansible finds it. `hosts` contains the host patterns of the playbook, or None if they are only known when it runs.
    `fault` is the reason the playbook or the inventory cannot be used. `hidden` is the reason the hosts of the
    inventory must not be shown.
    """

    is_script: bool
    playbook: str = ""
    inventory: str | None = None
    settings: AnsibleSettings = field(default_factory=AnsibleSettings)
    steps: tuple[str, ...] = ()
    hosts: tuple[str, ...] | None = None
    fault: str = ""
    hidden: str = ""


def survey(files: Files, folder: str, config: ServiceConfig) -> Survey:
    """Return what the service in `folder` would run with this config.

    Raises:
        TooComplex: Reading the folder exceeds a limit.
    """
    is_script = has_script(files, folder, config)
    if faults := config.faults("ansible_playbook", "ansible_inventory"):
        return Survey(is_script=is_script, fault=faults)
    try:
        settings = read_settings(files, folder)
        inventory = find_inventory(files, folder, config, settings)
        names_playbook = config.ansible_playbook is not None
        playbook = playbook_path(files, folder, config, dirname(folder)) if names_playbook else ""
        hidden = why_hosts_are_hidden(files, folder, inventory, settings)
    except (PlaybookError, FileError) as error:
        return Survey(is_script=is_script, fault=str(error))
    return Survey(
        is_script=is_script,
        playbook=playbook,
        inventory=inventory,
        settings=settings,
        steps=_steps(files, playbook, folder, settings) if playbook else (),
        hosts=_hosts(files, playbook) if playbook and not is_script else None,
        hidden=hidden,
    )


def has_script(files: Files, folder: str, config: ServiceConfig) -> bool:
    """Return True if a script deploys the service. Otherwise, the platform runs its playbook."""
    if config.names_script:
        return True
    return files.kind(join(folder, DEFAULT_SCRIPT)) != MISSING


def _steps(files: Files, playbook: str, folder: str, settings: AnsibleSettings) -> tuple[str, ...]:
    try:
        return tuple(task_names(files, playbook, folder, settings))
    except (PlaybookError, FileError):
        return ()  # the run reports the problem


def _hosts(files: Files, playbook: str) -> tuple[str, ...] | None:
    try:
        patterns = host_patterns(files, playbook)
    except (PlaybookError, FileError):
        return None
    return None if patterns is None else tuple(patterns)
