"""Store the records of service and config tokens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from deploy.adapters.repository.rows import columns_of, token_from, user_from
from deploy.adapters.repository.statement import Statement, VisibleStatement
from deploy.domain.errors import NotFound
from deploy.domain.model import Token, User
from deploy.domain.policy import Visible

_USER = columns_of(User, "u")
_TOKEN = columns_of(Token, "t")
_ADD_TOKEN = Statement(
    "INSERT INTO tokens (id, kind, origin, user_id, service_id, created, expires, last_used, revoked) "
    "VALUES (:id, :kind, :origin, :user_id, :service_id, :created, :expires, :last_used, :revoked)"
)
_GET_TOKEN = Statement(f"SELECT {_TOKEN} FROM tokens AS t WHERE t.id = :id")
_FIND_TOKEN = Statement(
    f"SELECT {_TOKEN}, {_USER} FROM tokens AS t LEFT JOIN users AS u ON u.id = t.user_id "
    "WHERE t.id = :id AND t.revoked IS NULL AND t.expires > :now AND (t.user_id IS NULL OR u.is_active)"
)
_TOUCH_TOKEN = Statement("UPDATE tokens SET last_used = :now WHERE id = :id")
_REVOKE_TOKEN = Statement("UPDATE tokens SET revoked = coalesce(revoked, :now) WHERE id = :id")
_LIST_TOKENS = VisibleStatement(
    f"SELECT {_TOKEN}, s.name, u.name FROM tokens AS t "
    "LEFT JOIN services AS s ON s.id = t.service_id LEFT JOIN users AS u ON u.id = t.user_id "
    "WHERE (CAST(:user_id AS bigint) IS NULL OR t.user_id = :user_id) "
    "AND (CAST(:service_id AS bigint) IS NULL OR t.service_id = :service_id) "
    "AND (t.service_id IS NULL OR {visible}) ORDER BY t.created DESC",
    "t.service_id",
)


class Tokens:
    """The records of service and config tokens."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def add(self, token: Token) -> None:
        """Store the record of a token."""
        await _ADD_TOKEN.value(self._driver, **{**vars(token), "kind": token.kind.value})

    async def get(self, token_id: str) -> Token:
        """Return the record of a token.

        Raises:
            NotFound: The token does not exist.
        """
        row = await _GET_TOKEN.row(self._driver, id=token_id)
        if row is None:
            raise NotFound("Token not found")
        return token_from(row)[0]

    async def find_valid(self, token_id: str, now: datetime) -> tuple[Token, User | None] | None:
        """Return a valid token and its user, or None if it is expired or revoked, or its user is disabled."""
        row = await _FIND_TOKEN.row(self._driver, id=token_id, now=now)
        if row is None:
            return None
        token, user = token_from(row)
        return token, user_from(user) if token.user_id is not None else None

    async def touch(self, token_id: str, now: datetime) -> None:
        """Record when a token was last used."""
        await _TOUCH_TOKEN.value(self._driver, id=token_id, now=now)

    async def revoke(self, token_id: str, now: datetime) -> None:
        """Revoke a token unless it is already revoked."""
        await _REVOKE_TOKEN.value(self._driver, id=token_id, now=now)

    async def list(
        self, *, visible: Visible, user_id: int | None = None, service_id: int | None = None
    ) -> Sequence[tuple[Token, str | None, str | None]]:
        """Return (token, service name or None, user name or None), newest first, optionally of one user or service."""
        rows = await _LIST_TOKENS.rows(self._driver, visible, user_id=user_id, service_id=service_id)
        return [(token, service, user) for token, (service, user) in map(token_from, rows)]
