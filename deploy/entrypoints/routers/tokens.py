"""Service and config tokens: create, list, revoke."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Depends

from deploy.adapters.tokens import new_token_id
from deploy.domain.commands import RegisterConfigToken, RegisterServiceToken, RevokeToken
from deploy.domain.policy import Action, Actor, TokenType, Visible
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
    issue = _Issue.lasting(body.expiration_in_days, state)
    command = RegisterServiceToken(
        token_id=issue.token_id,
        service_name=body.service,
        origin=body.origin,
        expires=issue.expires,
        user_id=actor.user_id,
    )
    await state.bus.handle(command, by=actor)
    token = issue.signed(TokenType.SERVICE, body.service, state)
    return ServiceToken(service_token=token, token_type="bearer")  # noqa: S106


@router.post("/config-token", responses={403: {"model": Detail}}, dependencies=[Depends(no_store)])
async def make_config_token(
    body: ConfigTokenIn, actor: Annotated[Actor, require(Action.MAKE_CONFIG_TOKEN)], state: AppStateDep
) -> ConfigToken:
    """Create a token that can read the deployed services. It is shown only once."""
    token = await new_config_token(state, actor, days=body.expiration_in_days, origin=body.origin)
    return ConfigToken(config_token=token, token_type="bearer")  # noqa: S106


@router.get("/tokens/")
async def list_tokens(
    actor: Annotated[Actor, require(Action.READ_TOKENS)], state: AppStateDep, service_id: int | None = None
) -> list[TokenOut]:
    """List your tokens; administrators see the tokens of all users."""
    user_id = None if actor.is_admin else actor.user_id
    return await token_rows(state, visible=actor.visible, user_id=user_id, service_id=service_id)


@router.delete("/tokens/{token_id}", status_code=204, responses={403: {"model": Detail}, 404: {"model": Detail}})
async def revoke_token(
    token_id: str, actor: Annotated[Actor, require(Action.REVOKE_TOKEN)], state: AppStateDep
) -> None:
    """Revoke a token."""
    await state.bus.handle(RevokeToken(token_id=token_id), by=actor)


async def new_config_token(state: AppState, by: Actor, *, days: int, origin: str) -> str:
    """Record a config token, then sign it; return the token."""
    issue = _Issue.lasting(days, state)
    command = RegisterConfigToken(token_id=issue.token_id, origin=origin, expires=issue.expires, user_id=by.user_id)
    await state.bus.handle(command, by=by)
    return issue.signed(TokenType.CONFIG, origin, state)


class _Issue(NamedTuple):
    """A token to issue: it is recorded first, then signed."""

    token_id: str
    now: datetime
    lifetime: timedelta

    @classmethod
    def lasting(cls, days: int, state: AppState) -> _Issue:
        return cls(new_token_id(), state.now(), timedelta(days=days))

    @property
    def expires(self) -> datetime:
        return self.now + self.lifetime

    def signed(self, kind: TokenType, subject: str, state: AppState) -> str:
        return state.signer.sign(kind.value, subject, now=self.now, lifetime=self.lifetime, token_id=self.token_id)


async def token_rows(
    state: AppState, *, visible: Visible, user_id: int | None = None, service_id: int | None = None
) -> list[TokenOut]:
    """Return token records, optionally of one user or service."""
    async with state.open_unit_of_work() as uow:
        rows = await uow.tokens.list(visible=visible, user_id=user_id, service_id=service_id)
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
