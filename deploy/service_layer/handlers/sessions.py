"""Handlers for browser sessions."""

from __future__ import annotations

from deploy.domain import commands
from deploy.domain.errors import NotFound
from deploy.domain.events import AccessChanged, Event
from deploy.domain.model import BrowserSession
from deploy.service_layer.clock import Clock
from deploy.service_layer.unit_of_work import UnitOfWork


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


async def end_sessions(command: commands.EndSessions, uow: UnitOfWork, *, now: Clock) -> list[Event]:
    """Delete one browser session of a user, or all except one. User tokens bound to these sessions become invalid."""
    user_sessions = {browser.id for browser in await uow.sessions.of(command.user_id, now())}
    if command.session_id is not None and command.session_id not in user_sessions:
        raise NotFound("Session not found")
    gone = {command.session_id} if command.session_id is not None else user_sessions - {command.keep}
    await uow.sessions.end(sorted(gone))
    return [AccessChanged(command.user_id)] if gone else []
