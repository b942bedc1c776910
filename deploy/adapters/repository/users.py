"""Store user accounts."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
from sqlalchemy import bindparam, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.adapters.database import driver_error
from deploy.adapters.orm import users
from deploy.adapters.repository.mapped import current
from deploy.domain.errors import Conflict, NotFound
from deploy.domain.model import User

_GET = current(select(User).where(users.c.id == bindparam("id")))
_LOCK = _GET.with_for_update(key_share=True)
_FIND = current(select(User).where(users.c.name == bindparam("name")))
_LIST = current(select(User).order_by(users.c.name))
_COUNT = select(func.count()).select_from(users)
# Blocks adding and changing users, but not reading and signing in.
_LOCK_ALL = text("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")
_LOCK_ADMINISTRATORS = (
    select(users.c.id).where(users.c.is_admin, users.c.is_active).order_by(users.c.id).with_for_update()
)


class Users:
    """User accounts."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, user: User) -> None:
        """Store a new user and set their ID.

        Raises:
            Conflict: The name is taken.
        """
        self._session.add(user)
        try:
            await self._session.flush()
        except IntegrityError as error:
            if not isinstance(driver_error(error), asyncpg.UniqueViolationError):
                raise
            raise Conflict(f"A user named {user.name} already exists.") from error

    async def store(self, user: User) -> None:
        """Store the changes to a user."""
        self._session.add(user)
        await self._session.flush()

    async def get(self, user_id: int, *, for_update: bool = False) -> User:
        """Return a user. `for_update` locks the row until the transaction ends.

        Raises:
            NotFound: The user does not exist.
        """
        user = await self._session.scalar(_LOCK if for_update else _GET, {"id": user_id})
        if user is None:
            raise NotFound("User not found")
        return user

    async def find(self, name: str) -> User | None:
        """Return the user with this name, or None."""
        return await self._session.scalar(_FIND, {"name": name})

    async def list(self) -> Sequence[User]:
        """Return all users, ordered by name."""
        return (await self._session.scalars(_LIST)).all()

    async def count(self) -> int:
        """Return the number of users."""
        return await self._session.scalar(_COUNT) or 0

    async def lock(self) -> None:
        """Lock all users against changes until the transaction ends."""
        await self._session.execute(_LOCK_ALL)

    async def administrators_for_update(self) -> Sequence[int]:
        """Return the IDs of the active administrators, and lock them against changes."""
        return (await self._session.scalars(_LOCK_ADMINISTRATORS)).all()
