"""Create and list service and config tokens: for the API and the command line. Loads no web framework."""

from __future__ import annotations

from datetime import timedelta

from deploy.adapters.tokens import new_token_id
from deploy.domain.commands import RegisterToken
from deploy.domain.model import TokenKind
from deploy.entrypoints.schemas.access import TokenOut
from deploy.entrypoints.state import AppState


async def make_token(
    services: AppState, kind: TokenKind, *, days: int, origin: str, user_id: int | None, service: str | None = None
) -> str:
    """Record a token, then sign it; return the token."""
    token_id, now, lifetime = new_token_id(), services.now(), timedelta(days=days)
    await services.bus.handle(
        RegisterToken(
            token_id=token_id,
            kind=kind,
            origin=origin,
            expires=now + lifetime,
            user_id=user_id,
            service_name=service,
        )
    )
    return services.signer.sign(kind.value, service or origin, now=now, lifetime=lifetime, token_id=token_id)


async def token_rows(
    services: AppState, *, user_id: int | None = None, service_id: int | None = None
) -> list[TokenOut]:
    """Return token records, optionally of one user or service."""
    async with services.open_unit_of_work() as uow:
        rows = await uow.tokens.list(user_id=user_id, service_id=service_id)
    return [
        TokenOut(
            id=token.id,
            kind=token.kind,
            service=service,
            origin=token.origin,
            user=user,
            created=token.created,
            expires=token.expires,
            last_used=token.last_used,
            revoked=token.revoked,
        )
        for token, service, user in rows
    ]
