"""Sync the services with their folders: for the API, the command line and the start. Loads no web framework."""

from __future__ import annotations

from typing import Any

from deploy.adapters.filesystem import FolderProblem
from deploy.domain.commands import SyncServices
from deploy.domain.events import Event
from deploy.entrypoints.state import AppState


async def sync_services(services: AppState, *, starts: bool = False) -> tuple[list[Event], list[FolderProblem]]:
    """Read the folders and update the database; return the changes and the folder problems.

    With `starts` (at startup), only input schemas that are not yet in the database are validated: a schema that was
    valid once stays valid, and skipping it makes the start faster.
    """
    accepted = await accepted_inputs(services) if starts else {}
    folders, problems = await services.folders.read(accepted)
    # If the services root itself cannot be read, nothing is known about any service: change none.
    if any(not problem.folder for problem in problems):
        return [], problems
    broken = frozenset(problem.folder for problem in problems)
    return await services.bus.handle(SyncServices(folders=tuple(folders), broken=broken)), problems


async def accepted_inputs(services: AppState) -> dict[str, Any]:
    """Return the input schema of each service by name; None if it declares no inputs."""
    async with services.open_unit_of_work() as uow:
        return {service.name: service.data.get("inputs") for service in await uow.services.list()}
