"""Handlers for users."""

from __future__ import annotations

from deploy.domain import commands
from deploy.domain.errors import Conflict
from deploy.domain.events import AccessChanged, Event, UserCreated
from deploy.domain.model import User
from deploy.domain.rules import appearance, check_username
from deploy.service_layer.clock import Clock
from deploy.service_layer.unit_of_work import UnitOfWork


async def create_user(command: commands.CreateUser, uow: UnitOfWork, *, now: Clock) -> list[Event]:
    """Add a user. The first user becomes an administrator."""
    check_username(command.name)
    # Servers and commands that start at the same time must agree on which user is the first.
    await uow.users.lock()
    is_first = await uow.users.count() == 0
    if command.only_first and not is_first:
        raise Conflict("A user already exists.")
    if (taken := await _similar(command.name, uow)) is not None:
        raise Conflict(
            f"A user named {taken} already exists."
            if taken == command.name
            else f"The name {command.name} looks like that of the user {taken}. Choose another one."
        )
    user = User(
        name=command.name,
        password_hash=command.password_hash,
        is_admin=command.is_admin or is_first,
        has_generated_password=command.has_generated_password,
        created=now(),
    )
    await uow.users.add(user)
    return [UserCreated(user.id)]


async def _similar(name: str, uow: UnitOfWork) -> str | None:
    """Return an existing name that is equal to this one, or looks like it, or None."""
    look = appearance(name)
    names = [user.name for user in await uow.users.list() if appearance(user.name) == look]
    return name if name in names else next(iter(names), None)


async def change_user(command: commands.ChangeUser, uow: UnitOfWork, *, now: Clock) -> list[Event]:
    """Change a user's password, role, or active state. This ends their sessions.

    A user who is no longer an administrator also loses the config tokens, which only administrators can create.
    """
    loses_admin = command.is_admin is False or command.is_active is False
    administrators = await uow.users.administrators_for_update() if loses_admin else []
    user = await uow.users.get(command.user_id, for_update=True)
    if administrators == [user.id]:
        raise Conflict(f"{user.name} is the only administrator. Make another user an administrator first.")
    if command.password_hash is not None:
        user.password_hash = command.password_hash
        user.has_generated_password = False
    if command.is_admin is not None:
        user.is_admin = command.is_admin
    if command.is_admin is False:
        await uow.tokens.revoke_config_tokens(user.id, now())
    if command.is_active is not None:
        user.is_active = command.is_active
    user.epoch += 1
    await uow.users.store(user)
    return [AccessChanged(user.id)]


async def change_own_password(command: commands.ChangeOwnPassword, uow: UnitOfWork, *, now: Clock) -> list[Event]:
    """Change the password of a user who knows the current one. This ends their sessions."""
    change = commands.ChangeUser(user_id=command.user_id, password_hash=command.password_hash)
    return await change_user(change, uow, now=now)


async def announce_access(event: AccessChanged, uow: UnitOfWork) -> list[Event]:
    """Notify every process to invalidate the cached access of a user, or of all users."""
    await uow.events.wake("access" if event.user_id is None else f"access {event.user_id}")
    return []
