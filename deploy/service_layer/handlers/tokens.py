"""Handlers for the records of tokens."""

from __future__ import annotations

from deploy.domain import commands
from deploy.domain.errors import Forbidden, NotFound
from deploy.domain.events import AccessChanged, Event
from deploy.domain.model import Token
from deploy.service_layer.clock import Clock
from deploy.service_layer.unit_of_work import UnitOfWork


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
