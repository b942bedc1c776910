"""Service and config tokens: create, list, revoke."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from deploy.domain.commands import RevokeToken
from deploy.domain.policy import Action, Actor
from deploy.entrypoints.dependencies import AppStateDep, no_store, require
from deploy.entrypoints.schemas.common import Detail
from deploy.entrypoints.schemas.tokens import ConfigToken, ConfigTokenIn, ServiceToken, ServiceTokenIn, TokenOut

router = APIRouter(tags=["tokens"], responses={401: {"model": Detail}})


@router.post("/service-token", responses={404: {"model": Detail}}, dependencies=[Depends(no_store)])
async def make_service_token(
    body: ServiceTokenIn, actor: Annotated[Actor, require(Action.MAKE_SERVICE_TOKEN)], state: AppStateDep
) -> ServiceToken:
    """Create a token that can start and read deployments of one service. It is shown only once."""
    token = await state.tokens.service_token(actor, body.service, days=body.expiration_in_days, origin=body.origin)
    return ServiceToken(service_token=token, token_type="bearer")  # noqa: S106


@router.post("/config-token", responses={403: {"model": Detail}}, dependencies=[Depends(no_store)])
async def make_config_token(
    body: ConfigTokenIn, actor: Annotated[Actor, require(Action.MAKE_CONFIG_TOKEN)], state: AppStateDep
) -> ConfigToken:
    """Create a token that can read the deployed services. It is shown only once."""
    token = await state.tokens.config_token(actor, days=body.expiration_in_days, origin=body.origin)
    return ConfigToken(config_token=token, token_type="bearer")  # noqa: S106


@router.get("/tokens/")
async def list_tokens(
    actor: Annotated[Actor, require(Action.READ_TOKENS)], state: AppStateDep, service_id: int | None = None
) -> list[TokenOut]:
    """List your tokens and those of the services that you manage; administrators see all tokens."""
    return [TokenOut.of(*row) for row in await state.tokens.list(actor, service_id=service_id)]


@router.delete("/tokens/{token_id}", status_code=204, responses={403: {"model": Detail}, 404: {"model": Detail}})
async def revoke_token(
    token_id: str, actor: Annotated[Actor, require(Action.REVOKE_TOKEN)], state: AppStateDep
) -> None:
    """Revoke a token."""
    await state.bus.handle(RevokeToken(token_id=token_id), by=actor)
