"""Issue service and config tokens. Each token is recorded before it is signed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from deploy.adapters.tokens import TokenSigner, new_token_id
from deploy.domain.commands import RegisterConfigToken, RegisterServiceToken
from deploy.domain.model import Permission, Token
from deploy.domain.policy import Actor, TokenType
from deploy.service_layer.clock import Clock
from deploy.service_layer.messagebus import MessageBus
from deploy.service_layer.unit_of_work import OpenUnitOfWork


class TokenIssuer:
    """Issues tokens that can be listed and revoked."""

    def __init__(self, open_unit_of_work: OpenUnitOfWork, bus: MessageBus, signer: TokenSigner, now: Clock) -> None:
        self._open_unit_of_work = open_unit_of_work
        self._bus = bus
        self._signer = signer
        self._now = now

    async def service_token(self, by: Actor, service: str, *, days: int, origin: str) -> str:
        """Return a new token of a service.

        Raises:
            NotFound: The service does not exist, or the actor is not allowed to know that it does.
        """
        token_id, now, lifetime = new_token_id(), self._now(), timedelta(days=days)
        command = RegisterServiceToken(
            token_id=token_id, service_name=service, origin=origin, expires=now + lifetime, user_id=by.user_id
        )
        await self._bus.handle(command, by=by)
        return self._signer.sign(TokenType.SERVICE.value, service, now=now, lifetime=lifetime, token_id=token_id)

    async def config_token(self, by: Actor, *, days: int, origin: str) -> str:
        """Return a new token that can read the deployed services."""
        token_id, now, lifetime = new_token_id(), self._now(), timedelta(days=days)
        command = RegisterConfigToken(token_id=token_id, origin=origin, expires=now + lifetime, user_id=by.user_id)
        await self._bus.handle(command, by=by)
        return self._signer.sign(TokenType.CONFIG.value, origin, now=now, lifetime=lifetime, token_id=token_id)

    def deployment_token(self, deployment_id: int, lifetime: timedelta) -> str:
        """Return a new token of a deployment. It is not recorded, because it ends with the deployment."""
        return self._signer.sign(TokenType.DEPLOYMENT.value, str(deployment_id), now=self._now(), lifetime=lifetime)

    async def list(
        self, by: Actor, *, service_id: int | None = None
    ) -> Sequence[tuple[Token, str | None, str | None]]:
        """Return the tokens that the actor is allowed to see, each with the names of its service and user.

        Administrators see all tokens. Others see their own, and those of the services that they manage.
        """
        user_id = None if by.is_admin or by.is_system else by.user_id
        managed = by.rights.with_permission(Permission.MANAGE)
        async with self._open_unit_of_work() as uow:
            return await uow.tokens.list(visible=by.visible, user_id=user_id, managed=managed, service_id=service_id)
