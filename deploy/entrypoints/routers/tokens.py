"""Service and config tokens: create, list, revoke."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends

from deploy.adapters.tokens import new_token_id
from deploy.domain.commands import RegisterToken, RevokeToken
from deploy.domain.model import TokenKind
from deploy.domain.policy import Action, Actor
from deploy.entrypoints.app_state import AppState
from deploy.entrypoints.dependencies import AppStateDep, no_store, require
from deploy.entrypoints.schemas.common import Detail
from deploy.entrypoints.schemas.tokens import ConfigToken, ConfigTokenIn, ServiceToken, ServiceTokenIn, TokenOut

router = APIRouter(tags=["tokens"], responses={401: {"model": Detail}})


@router.post("/service-token", responses={404: {"model": Detail}}, dependencies=[Depends(no_store)])
async def make_service_token(
    body: ServiceTokenIn, actor: Annotated[Actor, require(Action.MAKE_SERVICE_TOKEN)], state: AppStateDep
) -> ServiceToken:
    """Create a token that can start and read deployments of one service. It is shown only once."""
    token = await make_token(
        state,
        TokenKind.SERVICE,
        days=body.expiration_in_days,
        origin=body.origin,
        user_id=actor.user_id,
        service=body.service,
    )
    return ServiceToken(service_token=token, token_type="bearer")  # noqa: S106


@router.post("/config-token", responses={403: {"model": Detail}}, dependencies=[Depends(no_store)])
async def make_config_token(
    body: ConfigTokenIn, actor: Annotated[Actor, require(Action.MAKE_CONFIG_TOKEN)], state: AppStateDep
) -> ConfigToken:
    """Create a token that can read the deployed services. It is shown only once."""
    token = await make_token(
        state, TokenKind.CONFIG, days=body.expiration_in_days, origin=body.origin, user_id=actor.user_id
    )
    return ConfigToken(config_token=token, token_type="bearer")  # noqa: S106


@router.get("/tokens/")
async def list_tokens(
    actor: Annotated[Actor, require(Action.READ_TOKENS)], state: AppStateDep, service_id: int | None = None
) -> list[TokenOut]:
    """List your tokens; administrators see the tokens of all users."""
    return await token_rows(state, user_id=None if actor.is_admin else actor.user_id, service_id=service_id)


@router.delete("/tokens/{token_id}", status_code=204, responses={403: {"model": Detail}, 404: {"model": Detail}})
async def revoke_token(
    token_id: str, actor: Annotated[Actor, require(Action.REVOKE_TOKEN)], state: AppStateDep
) -> None:
    """Revoke a token."""
    await state.bus.handle(RevokeToken(token_id=token_id, user_id=None if actor.is_admin else actor.user_id))


async def make_token(
    state: AppState, kind: TokenKind, *, days: int, origin: str, user_id: int | None, service: str | None = None
) -> str:
    """Record a token, then sign it; return the token."""
    token_id, now, lifetime = new_token_id(), state.now(), timedelta(days=days)
    await state.bus.handle(
        RegisterToken(
            token_id=token_id,
            kind=kind,
            origin=origin,
            expires=now + lifetime,
            user_id=user_id,
            service_name=service,
        )
    )
    return state.signer.sign(kind.value, service or origin, now=now, lifetime=lifetime, token_id=token_id)


async def token_rows(state: AppState, *, user_id: int | None = None, service_id: int | None = None) -> list[TokenOut]:
    """Return token records, optionally of one user or service."""
    async with state.open_unit_of_work() as uow:
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
