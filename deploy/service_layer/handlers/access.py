"""Handlers for groups and grants."""

from __future__ import annotations

from typing import Any

from deploy.domain import commands
from deploy.domain.errors import Conflict, InvalidInput
from deploy.domain.events import AccessChanged, Event, GrantChanged, GroupCreated
from deploy.domain.model import Grant, Group
from deploy.domain.rights import EVERYTHING
from deploy.domain.rules import appearance, check_grant, check_group_name
from deploy.service_layer.clock import Clock
from deploy.service_layer.unit_of_work import UnitOfWork


async def change_access(command: commands.ChangeAccess, uow: UnitOfWork, *, now: Clock) -> list[Event]:
    """Add and remove grants and members of groups."""
    await uow.grants.lock()  # otherwise, two changes could add the same grant
    events: list[Event] = []
    for grant_id in dict.fromkeys(command.remove):
        grant = await uow.grants.get(grant_id)
        await uow.grants.remove(grant)
        events.append(GrantChanged("removed", _fields(grant)))
    known = {_fields_of(grant) for grant in await uow.grants.list()} if command.add else set()
    for new in dict.fromkeys(command.add):
        await _check(new, uow)
        if tuple(new) not in known:
            grant = Grant(**new._asdict(), created=now(), created_by=command.by)
            await uow.grants.add(grant)
            events.append(GrantChanged("added", _fields(grant)))
    for group_id in {member.group_id for member in (*command.join, *command.leave)}:
        if (await uow.groups.get(group_id, for_update=True)).is_everyone:
            raise InvalidInput("All users are members of the group everyone. Its members cannot be changed.")
    await uow.groups.join(command.join)
    await uow.groups.leave(command.leave)
    return [*events, AccessChanged(None)]


async def _check(new: commands.NewGrant, uow: UnitOfWork) -> None:
    """Check a new grant, and that its user, group, and service exist."""
    check_grant(new)
    if new.user_id is not None:
        await uow.users.get(new.user_id)
    if new.group_id is not None:
        await uow.groups.get(new.group_id)
    if new.service_id is not None:
        await uow.services.get(new.service_id, visible=EVERYTHING)


def _fields_of(grant: Grant) -> tuple[Any, ...]:
    return tuple(getattr(grant, name) for name in commands.NewGrant._fields)


def _fields(grant: Grant) -> dict[str, Any]:
    """Return the fields of a grant that are set, for the audit log."""
    fields = zip(("permission", *commands.NewGrant._fields[1:]), _fields_of(grant), strict=True)
    return {name: value for name, value in fields if value is not None}


async def create_group(command: commands.CreateGroup, uow: UnitOfWork, *, now: Clock) -> list[Event]:
    """Add a group without members."""
    await _check_name(command.name, uow)
    group = Group(name=command.name, created=now())
    await uow.groups.store(group)
    return [GroupCreated(group.id)]


async def rename_group(command: commands.RenameGroup, uow: UnitOfWork) -> list[Event]:
    """Change the name of a group."""
    group = await _changeable(command.group_id, uow)
    await _check_name(command.name, uow, other_than=group.id)
    group.name = command.name
    await uow.groups.store(group)
    return []


async def delete_group(command: commands.DeleteGroup, uow: UnitOfWork) -> list[Event]:
    """Delete a group, with its grants."""
    group = await _changeable(command.group_id, uow)
    removed = [grant for grant in await uow.grants.list() if grant.group_id == group.id]
    for grant in removed:
        await uow.grants.remove(grant)
    await uow.groups.remove(group)
    return [*(GrantChanged("removed", _fields(grant)) for grant in removed), AccessChanged(None)]


async def _changeable(group_id: int, uow: UnitOfWork) -> Group:
    group = await uow.groups.get(group_id, for_update=True)
    if group.is_everyone:
        raise Conflict("The group everyone cannot be renamed or deleted. You can remove its grants.")
    return group


async def _check_name(name: str, uow: UnitOfWork, *, other_than: int | None = None) -> None:
    """Check the name of a group, and that no other group has one that looks like it."""
    check_group_name(name)
    for group in await uow.groups.list():
        if group.id != other_than and appearance(group.name) == appearance(name):
            raise Conflict(f"A group named {group.name} already exists.")
