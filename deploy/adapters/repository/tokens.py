"""Store the records of service and config tokens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.adapters.orm import services, tokens, users
from deploy.adapters.repository.mapped import columns_in_field_order, current
from deploy.adapters.repository.statement import in_view
from deploy.domain.errors import NotFound
from deploy.domain.fields import names_of
from deploy.domain.model import Token, TokenKind, User
from deploy.domain.rights import NOTHING, Visible

_WIDTH = len(names_of(Token))
_WITH_USER = tokens.outerjoin(users, users.c.id == tokens.c.user_id)
_GET = current(select(Token).where(tokens.c.id == bindparam("id")))
_FIND_VALID = (
    select(*columns_in_field_order(Token), *columns_in_field_order(User))
    .select_from(_WITH_USER)
    .where(
        tokens.c.id == bindparam("id"),
        tokens.c.revoked.is_(None),
        tokens.c.expires > bindparam("now"),
        or_(tokens.c.user_id.is_(None), users.c.is_active),
    )
)
_OF_ONE = tokens.c.id == bindparam("token_id")
_TOUCH = update(tokens).where(_OF_ONE).values(last_used=bindparam("now"))
_REVOKE = update(tokens).where(_OF_ONE).values(revoked=func.coalesce(tokens.c.revoked, bindparam("now")))
_OF_SERVICE = (
    update(tokens)
    .where(tokens.c.service_id == bindparam("of_service"), tokens.c.revoked.is_(None))
    .values(revoked=bindparam("now"))
)
_CONFIG_OF_USER = (
    update(tokens)
    .where(tokens.c.user_id == bindparam("of_user"), tokens.c.kind == TokenKind.CONFIG, tokens.c.revoked.is_(None))
    .values(revoked=bindparam("now"))
)
_LIST = current(
    select(Token, services.c.name, users.c.name)
    .select_from(_WITH_USER.outerjoin(services, services.c.id == tokens.c.service_id))
    .order_by(tokens.c.created.desc())
)


class Tokens:
    """The records of service and config tokens."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, token: Token) -> None:
        """Store the record of a token."""
        self._session.add(token)
        await self._session.flush()

    async def get(self, token_id: str) -> Token:
        """Return the record of a token.

        Raises:
            NotFound: The token does not exist.
        """
        token = await self._session.scalar(_GET, {"id": token_id})
        if token is None:
            raise NotFound("Token not found")
        return token

    async def find_valid(self, token_id: str, now: datetime) -> tuple[Token, User | None] | None:
        """Return a valid token and its user, or None if it is expired or revoked, or its user is disabled.

        Changes to these objects are not stored.
        """
        row = (await self._session.execute(_FIND_VALID, {"id": token_id, "now": now})).first()
        if row is None:
            return None
        token = Token(*row[:_WIDTH])
        return token, User(*row[_WIDTH:]) if token.user_id is not None else None

    async def touch(self, token_id: str, now: datetime) -> None:
        """Record when a token was last used."""
        await self._session.execute(_TOUCH, {"token_id": token_id, "now": now})

    async def revoke_of_service(self, service_id: int, now: datetime) -> None:
        """Revoke all tokens of a service."""
        await self._session.execute(_OF_SERVICE, {"of_service": service_id, "now": now})

    async def revoke_config_tokens(self, user_id: int, now: datetime) -> None:
        """Revoke all config tokens that a user has created."""
        await self._session.execute(_CONFIG_OF_USER, {"of_user": user_id, "now": now})

    async def revoke(self, token_id: str, now: datetime) -> None:
        """Revoke a token unless it is already revoked."""
        await self._session.execute(_REVOKE, {"token_id": token_id, "now": now})

    async def list(
        self,
        *,
        visible: Visible,
        user_id: int | None = None,
        managed: Visible = NOTHING,
        service_id: int | None = None,
    ) -> Sequence[tuple[Token, str | None, str | None]]:
        """Return (token, service name or None, user name or None), newest first, optionally of one service.

        If `user_id` is given, return only the tokens of that user and those of the services in `managed`.
        """
        statement = _LIST.where(or_(tokens.c.service_id.is_(None), in_view(tokens.c.service_id, visible)))
        if user_id is not None:
            of_managed = and_(tokens.c.service_id.is_not(None), in_view(tokens.c.service_id, managed))
            statement = statement.where(or_(tokens.c.user_id == user_id, of_managed))
        if service_id is not None:
            statement = statement.where(tokens.c.service_id == service_id)
        return [(token, service, user) for token, service, user in await self._session.execute(statement)]
