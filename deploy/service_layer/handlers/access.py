"""Handlers for users, sessions and tokens."""

from __future__ import annotations

import re

from deploy.domain import commands
from deploy.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from deploy.domain.events import AccessChanged, Event, UserCreated
from deploy.domain.model import BrowserSession, Token, User
from deploy.service_layer.clock import Clock
from deploy.service_layer.unit_of_work import UnitOfWork

_NAME = re.compile(r"[\w.@+-]{1,64}")


async def create_user(command: commands.CreateUser, uow: UnitOfWork, *, now: Clock) -> list[Event]:
    """Add a user; the first one becomes an administrator."""
    if not _NAME.fullmatch(command.name):
        raise InvalidInput("A username must have 1 to 64 characters: letters, digits, or any of . _ @ + -")
    # Servers and commands that start at the same time must agree on which user is the first.
    await uow.users.lock()
    is_first = await uow.users.count() == 0
    if command.only_first and not is_first:
        raise Conflict("A user already exists.")
    if await uow.users.find(command.name) is not None:
        raise Conflict(f"A user named {command.name} already exists.")
    user = User(
        name=command.name,
        password_hash=command.password_hash,
        is_admin=command.is_admin or is_first,
        has_generated_password=command.has_generated_password,
        created=now(),
    )
    await uow.users.add(user)
    return [UserCreated(user.id)]


async def change_user(command: commands.ChangeUser, uow: UnitOfWork) -> list[Event]:
    """Change a user's password, role or active state; ends their sessions."""
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
    if command.is_active is not None:
        user.is_active = command.is_active
    user.epoch += 1
    await uow.users.store(user)
    return [AccessChanged(user.id)]


async def open_session(command: commands.OpenSession, uow: UnitOfWork, *, now: Clock) -> list[Event]:
    """Store a browser session."""
    user = await uow.users.get(command.user_id)
    await uow.sessions.add(
        BrowserSession(
            id=command.session_id,
            user_id=user.id,
            user_epoch=user.epoch,
            created=now(),
            expires=command.expires,
            user_agent=command.user_agent[:200],
        )
    )
    return []


async def close_session(command: commands.CloseSession, uow: UnitOfWork) -> list[Event]:
    """Delete a browser session. User tokens that name it become invalid."""
    user_id = await uow.sessions.remove(command.session_id)
    return [AccessChanged(user_id)] if user_id is not None else []


async def end_sessions(command: commands.EndSessions, uow: UnitOfWork, *, now: Clock) -> list[Event]:
    """Delete one browser session of a user, or all except one. User tokens that name them become invalid."""
    own = {browser.id for browser in await uow.sessions.of(command.user_id, now())}
    if command.session_id is not None and command.session_id not in own:
        raise NotFound("Session not found")
    gone = {command.session_id} if command.session_id is not None else own - {command.keep}
    await uow.sessions.end(sorted(gone))
    return [AccessChanged(command.user_id)] if gone else []


async def register_token(command: commands.RegisterToken, uow: UnitOfWork, *, now: Clock) -> list[Event]:
    """Record a token before it is issued."""
    service_id = None
    if command.service_name is not None:
        service = await uow.services.find(command.service_name)
        if service is None:
            raise NotFound("Service not found")
        service_id = service.id
    await uow.tokens.add(
        Token(
            id=command.token_id,
            kind=command.kind,
            origin=command.origin,
            created=now(),
            expires=command.expires,
            user_id=command.user_id,
            service_id=service_id,
        )
    )
    return []


async def revoke_token(command: commands.RevokeToken, uow: UnitOfWork, *, now: Clock) -> list[Event]:
    """Revoke a token."""
    token = await uow.tokens.get(command.token_id)
    if command.user_id is not None and token.user_id != command.user_id:
        raise Forbidden("Only the creator of a token or an administrator can revoke it.")
    await uow.tokens.revoke(token.id, now())
    return [AccessChanged(None)]


async def announce_access(event: AccessChanged, uow: UnitOfWork) -> list[Event]:
    """Notify every process to invalidate the cached access of a user, or of all users."""
    await uow.events.wake("access" if event.user_id is None else f"access {event.user_id}")
    return []
