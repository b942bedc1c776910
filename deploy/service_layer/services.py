"""Sync the services with their folders, for the API, the command line, and startup."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deploy.adapters.filesystem import FolderProblem, ServiceFolders
from deploy.domain.commands import SyncServices
from deploy.domain.events import Event
from deploy.domain.policy import Actor
from deploy.domain.rights import EVERYTHING
from deploy.service_layer.messagebus import MessageBus
from deploy.service_layer.playbook_values import value_problems
from deploy.service_layer.unit_of_work import OpenUnitOfWork


async def sync_services(
    folders: ServiceFolders,
    bus: MessageBus,
    open_unit_of_work: OpenUnitOfWork,
    *,
    by: Actor,
    accepted: dict[str, Any] | None = None,
) -> tuple[list[Event], list[FolderProblem]]:
    """Read the folders and update the database. Return the changes and the folder problems.

    Also report services whose values do not reach their playbooks.

    `accepted` is the result of `accepted_inputs`. These schemas are not validated again.
    """
    found, problems = await folders.read(accepted or {})
    # If the services root itself cannot be read, the state of every service is unknown, so do not change any.
    if any(not problem.folder for problem in problems):
        return [], problems
    broken = frozenset(problem.folder for problem in problems)
    events = await bus.handle(SyncServices(folders=tuple(found), broken=broken), by=by)
    problems += await value_problems(found, folders, open_unit_of_work, accepted=accepted or {})
    return events, problems


async def folder_problems(folders: ServiceFolders, open_unit_of_work: OpenUnitOfWork) -> list[FolderProblem]:
    """Return the problems that a sync would report."""
    found, problems = await folders.read()
    return [*problems, *await value_problems(found, folders, open_unit_of_work)]


async def accepted_inputs(open_unit_of_work: OpenUnitOfWork) -> dict[str, Any]:
    """Return the input schema of each service in the database, by name. None means that the service does not declare
    inputs.

    A schema that was valid once stays valid, and validating it again would slow down startup.
    """
    async with open_unit_of_work() as uow:
        return {service.name: service.config.input_schema for service in await uow.services.list(visible=EVERYTHING)}


async def visible_folders(by: Actor, open_unit_of_work: OpenUnitOfWork) -> Callable[[str], bool]:
    """Return a function that returns True if the actor is allowed to know that a folder exists."""
    if by.visible == EVERYTHING:
        return lambda _name: True
    async with open_unit_of_work() as uow:
        names = {service.name for service in await uow.services.list(visible=by.visible)}
    return names.__contains__
