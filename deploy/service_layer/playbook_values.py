"""Report values of playbook services that do not reach their playbooks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from deploy.adapters.ansible.variables import unusable_names
from deploy.adapters.filesystem import NOTHING, FolderProblem, ServiceFolders
from deploy.adapters.inputs import schema as shape
from deploy.domain.commands import ServiceFolder
from deploy.domain.rights import EVERYTHING
from deploy.domain.service_config import ServiceConfig
from deploy.service_layer.inputs import may_reject_values
from deploy.service_layer.unit_of_work import OpenUnitOfWork

CONFIG = "config.json"


async def value_problems(
    found: Iterable[ServiceFolder],
    folders: ServiceFolders,
    open_unit_of_work: OpenUnitOfWork,
    *,
    accepted: Mapping[str, Any] = NOTHING,
) -> list[FolderProblem]:
    """Return the services that reject values that they used to accept, and inputs that cannot be variables.

    The services work all the same. `accepted` contains input schemas that were checked before, by service.

    Raises:
        FoldersUnavailable: The services folder cannot be read.
    """
    configs = {folder.name: ServiceConfig.from_json(folder.data) for folder in found}
    rejecting = await _names_given(
        [name for name, config in configs.items() if may_reject_values(config)], open_unit_of_work
    )
    named = {
        name: shape.names(schema)
        for name, config in configs.items()
        if not config.names_script and (schema := config.input_schema) is not None and accepted.get(name) != schema
    }
    problems = []
    for name in [name for name in configs if rejecting.get(name) or named.get(name)]:
        if (await folders.survey(name, configs[name])).is_script:
            continue
        if name in rejecting:
            problems.append(FolderProblem(name, CONFIG, _rejected(rejecting[name]), is_minor=True))
        elif unusable := await asyncio.to_thread(unusable_names, named[name]):
            problems.append(FolderProblem(name, CONFIG, _unusable(unusable), is_minor=True))
    return problems


async def _names_given(services: list[str], open_unit_of_work: OpenUnitOfWork) -> dict[str, list[str]]:
    """Return the names of the values in each service's last deployments, for services that have any."""
    if not services:
        return {}
    async with open_unit_of_work() as uow:
        return await uow.previous_values.names(services, visible=EVERYTHING)


def _rejected(names: list[str]) -> str:
    return (
        f"earlier deployments passed values to the playbook ({_listed(names)}), but it declares no inputs. "
        'Such deployments are now rejected: declare them in `inputs`, or accept any values with "inputs": true.'
    )


def _unusable(names: list[str]) -> str:
    return (
        f"inputs: Ansible reserves these names or cannot use them for variables: {_listed(names)}. Rename them, or read "
        "them from `fastdeploy_context` in the playbook."
    )


def _listed(names: list[str]) -> str:
    shown = ", ".join(name[:100] for name in names[:10])
    return f"{shown}, …" if len(names) > 10 else shown
