"""Users, browser sessions, and records of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg

from deploy.adapters.repository.rows import columns_of, session_from, token_from, user_from
from deploy.adapters.statement import Statement
from deploy.domain.errors import Conflict, NotFound
from deploy.domain.model import BrowserSession, Token, User

TOUCH_EVERY = timedelta(minutes=1)

_USER = columns_of(User, "u")
_ADD_USER = Statement(
    "INSERT INTO users (name, password_hash, is_admin, is_active, epoch, has_generated_password, created) VALUES (:name, "
    ":password_hash, :is_admin, :is_active, :epoch, :has_generated_password, coalesce(:created, now())) RETURNING id"
)
_STORE_USER = Statement(
    "UPDATE users SET password_hash = :password_hash, is_admin = :is_admin, is_active = :is_active, epoch = :epoch, "
    "has_generated_password = :has_generated_password WHERE id = :id"
)
_GET_USER = Statement(f"SELECT {_USER} FROM users AS u WHERE u.id = :id")
_LOCK_USER = Statement(f"SELECT {_USER} FROM users AS u WHERE u.id = :id FOR NO KEY UPDATE")
_FIND_USER = Statement(f"SELECT {_USER} FROM users AS u WHERE u.name = :name")
_LIST_USERS = Statement(f"SELECT {_USER} FROM users AS u ORDER BY u.name")
_COUNT_USERS = Statement("SELECT count(*) FROM users")
# Blocks adding and changing users. Reading and signing in stay possible.
_LOCK_USERS = Statement("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")
_LOCK_ADMINISTRATORS = Statement("SELECT id FROM users WHERE is_admin AND is_active ORDER BY id FOR UPDATE")

_SESSION = columns_of(BrowserSession, "s")
_OF_USER = "FROM sessions AS s JOIN users AS u ON u.id = s.user_id AND u.epoch = s.user_epoch"
_ADD_SESSION = Statement(
    "INSERT INTO sessions (id, user_id, user_epoch, created, expires, last_used, user_agent) "
    "VALUES (:id, :user_id, :user_epoch, :created, :expires, :last_used, :user_agent)"
)
_FIND_SESSION = Statement(
    f"SELECT {_SESSION}, {_USER} {_OF_USER} WHERE s.id = :id AND s.expires > :now AND u.is_active"
)
_LIST_SESSIONS = Statement(
    f"SELECT {_SESSION} {_OF_USER} WHERE s.user_id = :user_id AND s.expires > :now ORDER BY s.created DESC, s.id"
)
_TOUCH_SESSION = Statement(
    "UPDATE sessions SET last_used = :now WHERE id = :id AND (last_used IS NULL OR last_used <= :due)"
)
_END_SESSIONS = Statement("DELETE FROM sessions WHERE id = ANY(:ids)")
_REMOVE_SESSION = Statement("DELETE FROM sessions WHERE id = :id OR expires < now() RETURNING id, user_id")

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
_LIST_TOKENS = Statement(
    f"SELECT {_TOKEN}, s.name, u.name FROM tokens AS t "
    "LEFT JOIN services AS s ON s.id = t.service_id LEFT JOIN users AS u ON u.id = t.user_id "
    "WHERE (CAST(:user_id AS bigint) IS NULL OR t.user_id = :user_id) "
    "AND (CAST(:service_id AS bigint) IS NULL OR t.service_id = :service_id) ORDER BY t.created DESC"
)


class Users:
    """Users, who may sign in."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def add(self, user: User) -> None:
        """Store a new user and set their ID.

        Raises:
            Conflict: The name is taken.
        """
        try:
            user.id = await _ADD_USER.value(self._driver, **vars(user))
        except asyncpg.UniqueViolationError as error:
            raise Conflict(f"A user named {user.name} already exists.") from error

    async def store(self, user: User) -> None:
        """Store the changes to a user, except the name, which never changes."""
        await _STORE_USER.value(self._driver, **vars(user))

    async def get(self, user_id: int, *, for_update: bool = False) -> User:
        """Return a user; `for_update` locks the row until the transaction ends.

        Raises:
            NotFound: There is no user with this ID.
        """
        row = await (_LOCK_USER if for_update else _GET_USER).row(self._driver, id=user_id)
        if row is None:
            raise NotFound("User not found")
        return user_from(row)

    async def find(self, name: str) -> User | None:
        """Return the user with this name, or None."""
        row = await _FIND_USER.row(self._driver, name=name)
        return user_from(row) if row is not None else None

    async def list(self) -> Sequence[User]:
        """Return all users, ordered by name."""
        return [user_from(row) for row in await _LIST_USERS.rows(self._driver)]

    async def count(self) -> int:
        """Return the number of users."""
        found: int = await _COUNT_USERS.value(self._driver)
        return found

    async def lock(self) -> None:
        """Lock all users against changes until the transaction ends."""
        await _LOCK_USERS.value(self._driver)

    async def administrators_for_update(self) -> Sequence[int]:
        """Return the IDs of the active administrators, locked against changes."""
        return await _LOCK_ADMINISTRATORS.column(self._driver)


class Sessions:
    """Sessions of signed-in browsers."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def add(self, browser: BrowserSession) -> None:
        """Store a session."""
        await _ADD_SESSION.value(self._driver, **vars(browser))

    async def find_valid(self, session_id: str, now: datetime) -> tuple[BrowserSession, User] | None:
        """Return a session and its user, or None if it expired, the user was disabled, or the password changed."""
        row = await _FIND_SESSION.row(self._driver, id=session_id, now=now)
        if row is None:
            return None
        browser, user = session_from(row)
        return browser, user_from(user)

    async def of(self, user_id: int, now: datetime) -> Sequence[BrowserSession]:
        """Return the valid sessions of a user, newest first."""
        return [session_from(row)[0] for row in await _LIST_SESSIONS.rows(self._driver, user_id=user_id, now=now)]

    async def touch(self, browser: BrowserSession, now: datetime) -> None:
        """Store when a session was last used, at most once a minute."""
        due = now - TOUCH_EVERY
        if browser.last_used is None or browser.last_used <= due:
            await _TOUCH_SESSION.value(self._driver, id=browser.id, now=now, due=due)

    async def end(self, session_ids: Sequence[str]) -> None:
        """Delete these sessions."""
        await _END_SESSIONS.value(self._driver, ids=list(session_ids))

    async def remove(self, session_id: str) -> int | None:
        """Delete a session and all expired ones; return the ID of the session's user, or None if it did not exist."""
        gone = await _REMOVE_SESSION.rows(self._driver, id=session_id)
        return {row["id"]: row["user_id"] for row in gone}.get(session_id)


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
            NotFound: There is no token with this ID.
        """
        row = await _GET_TOKEN.row(self._driver, id=token_id)
        if row is None:
            raise NotFound("Token not found")
        return token_from(row)[0]

    async def find_valid(self, token_id: str, now: datetime) -> tuple[Token, User | None] | None:
        """Return a valid token and its user, or None if it is expired, revoked, or belongs to a disabled user."""
        row = await _FIND_TOKEN.row(self._driver, id=token_id, now=now)
        if row is None:
            return None
        token, user = token_from(row)
        return token, user_from(user) if token.user_id is not None else None

    async def touch(self, token_id: str, now: datetime) -> None:
        """Store when a token was last used."""
        await _TOUCH_TOKEN.value(self._driver, id=token_id, now=now)

    async def revoke(self, token_id: str, now: datetime) -> None:
        """Revoke a token, unless it is revoked already."""
        await _REVOKE_TOKEN.value(self._driver, id=token_id, now=now)

    async def list(
        self, *, user_id: int | None = None, service_id: int | None = None
    ) -> Sequence[tuple[Token, str | None, str | None]]:
        """Return (token, service name or None, user name or None), newest first; of one user or service if given."""
        rows = await _LIST_TOKENS.rows(self._driver, user_id=user_id, service_id=service_id)
        return [(token, service, user) for token, (service, user) in map(token_from, rows)]
