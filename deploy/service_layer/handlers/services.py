"""Handlers that sync services with their folders and delete services."""

from __future__ import annotations

from deploy.domain import commands
from deploy.domain.errors import Conflict
from deploy.domain.events import AccessChanged, Event, ServiceChanged
from deploy.domain.model import Service
from deploy.domain.rights import EVERYTHING
from deploy.service_layer.clock import Clock
from deploy.service_layer.unit_of_work import UnitOfWork


async def sync_services(command: commands.SyncServices, uow: UnitOfWork, *, now: Clock) -> list[Event]:
    """Add, change, and remove services to match the folders. Do not change services whose folder is broken."""
    known = {service.name: service for service in await uow.services.all_for_update()}
    folders = {folder.name: folder for folder in command.folders}
    events: list[Event] = []
    for name, folder in folders.items():
        service = known.get(name)
        if service is None:
            service = Service(name=name, data=folder.data, readme=folder.readme, updated=now())
            await uow.services.add(service)
            events.append(ServiceChanged(service.id, name, "added"))
        elif service.deleted is not None or (service.data, service.readme) != (folder.data, folder.readme):
            change = "added" if service.deleted is not None else "changed"
            service.data, service.readme, service.updated, service.deleted = folder.data, folder.readme, now(), None
            await uow.services.store(service)
            events.append(ServiceChanged(service.id, name, change))
    for name, service in known.items():
        if name not in folders and name not in command.broken and service.deleted is None:
            events += await _remove(service, uow, now=now)
    await _wake(uow, events)
    if events:
        await uow.queue.wake()  # the concurrency of a service could have increased
        events.append(AccessChanged(None))  # grants apply to tags and to new services
    return events


async def delete_service(command: commands.DeleteService, uow: UnitOfWork, *, now: Clock) -> list[Event]:
    """Delete a service from the list. If its folder still exists, the next sync adds the service again."""
    service = await uow.services.get(command.service_id, for_update=True, visible=EVERYTHING)
    if await uow.deployments.active(service.id, visible=EVERYTHING, limit=1):
        raise Conflict(f"{service.name} is being deployed. Wait for the deployment to finish, or cancel it.")
    events = await _remove(service, uow, now=now)
    await _wake(uow, events)
    return [*events, AccessChanged(None)]


async def _remove(service: Service, uow: UnitOfWork, *, now: Clock) -> list[Event]:
    """Remove a service, its grants, and its tokens: another service could get its name later."""
    service.deleted = service.updated = now()
    await uow.services.store(service)
    await uow.tokens.revoke_of_service(service.id, now())
    await uow.grants.remove_of_service(service.id)
    return [ServiceChanged(service.id, service.name, "removed")]


async def _wake(uow: UnitOfWork, events: list[Event]) -> None:
    for event in events:
        if isinstance(event, ServiceChanged):
            await uow.events.wake(f"service {event.service_id}")
