"""Handlers for the records of tokens."""

from __future__ import annotations

from datetime import datetime

from deploy.domain import commands
from deploy.domain.errors import NotFound
from deploy.domain.events import AccessChanged, Event
from deploy.domain.model import Token, TokenKind
from deploy.domain.rights import EVERYTHING
from deploy.domain.rules import MAX_CONFIG_TOKEN_DAYS, MAX_SERVICE_TOKEN_DAYS, check_lifetime, check_origin
from deploy.service_layer.clock import Clock
from deploy.service_layer.unit_of_work import UnitOfWork


async def register_service_token(
    command: commands.RegisterServiceToken, uow: UnitOfWork, *, now: Clock
) -> list[Event]:
    """Record a service token before it is issued."""
    service = await uow.services.find(command.service_name, visible=EVERYTHING)
    if service is None:
        raise NotFound("Service not found")
    await uow.tokens.add(_token(command, TokenKind.SERVICE, now(), MAX_SERVICE_TOKEN_DAYS, service_id=service.id))
    return []


async def register_config_token(command: commands.RegisterConfigToken, uow: UnitOfWork, *, now: Clock) -> list[Event]:
    """Record a config token before it is issued."""
    await uow.tokens.add(_token(command, TokenKind.CONFIG, now(), MAX_CONFIG_TOKEN_DAYS))
    return []


async def revoke_token(command: commands.RevokeToken, uow: UnitOfWork, *, now: Clock) -> list[Event]:
    """Revoke a token."""
    token = await uow.tokens.get(command.token_id)
    await uow.tokens.revoke(token.id, now())
    return [AccessChanged(None)]


def _token(
    command: commands.RegisterServiceToken | commands.RegisterConfigToken,
    kind: TokenKind,
    created: datetime,
    max_days: int,
    *,
    service_id: int | None = None,
) -> Token:
    check_origin(command.origin)
    check_lifetime(command.expires - created, max_days)
    return Token(
        id=command.token_id,
        kind=kind,
        origin=command.origin,
        created=created,
        expires=command.expires,
        user_id=command.user_id,
        service_id=service_id,
    )
