"""Store user accounts."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from deploy.adapters.repository.rows import columns_of, user_from
from deploy.adapters.repository.statement import Statement
from deploy.domain.errors import Conflict, NotFound
from deploy.domain.model import User

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
# Blocks adding and changing users, but not reading and signing in.
_LOCK_USERS = Statement("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")
_LOCK_ADMINISTRATORS = Statement("SELECT id FROM users WHERE is_admin AND is_active ORDER BY id FOR UPDATE")


class Users:
    """User accounts."""

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
        """Store the changes to a user. Their name never changes."""
        await _STORE_USER.value(self._driver, **vars(user))

    async def get(self, user_id: int, *, for_update: bool = False) -> User:
        """Return a user. `for_update` locks the row until the transaction ends.

        Raises:
            NotFound: The user does not exist.
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
        """Return the IDs of the active administrators, and lock them against changes."""
        return await _LOCK_ADMINISTRATORS.column(self._driver)
