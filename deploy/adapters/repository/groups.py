"""Store groups and their members."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import asyncpg
from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.adapters.database import driver_error
from deploy.adapters.orm import group_members, groups, users
from deploy.adapters.repository.mapped import current
from deploy.domain.errors import Conflict, NotFound
from deploy.domain.model import Group

_GET = current(select(Group).where(groups.c.id == bindparam("id")))
_LOCK = _GET.with_for_update()
_LIST = current(select(Group).order_by(groups.c.is_everyone.desc(), groups.c.name))
_MEMBERS = select(group_members.c.group_id, group_members.c.user_id)
_JOIN = insert(group_members).on_conflict_do_nothing()
_LEAVE = delete(group_members).where(
    group_members.c.group_id == bindparam("of_group"), group_members.c.user_id == bindparam("of_user")
)
_USER_EXISTS = select(users.c.id).where(users.c.id == bindparam("id"))


class Groups:
    """Groups and their members."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def store(self, group: Group) -> None:
        """Store a new or changed group, and set its ID.

        Raises:
            Conflict: The name is taken.
        """
        self._session.add(group)
        try:
            await self._session.flush()
        except IntegrityError as error:
            if not isinstance(driver_error(error), asyncpg.UniqueViolationError):
                raise
            raise Conflict(f"A group named {group.name} already exists.") from error

    async def get(self, group_id: int, *, for_update: bool = False) -> Group:
        """Return a group. `for_update` locks the row until the transaction ends.

        Raises:
            NotFound: The group does not exist.
        """
        group = await self._session.scalar(_LOCK if for_update else _GET, {"id": group_id})
        if group is None:
            raise NotFound("Group not found")
        return group

    async def list(self) -> Sequence[Group]:
        """Return all groups by name, `everyone` first."""
        return (await self._session.scalars(_LIST)).all()

    async def members(self) -> dict[int, set[int]]:
        """Return the IDs of the members of each group that has members, by group ID."""
        found: dict[int, set[int]] = {}
        for group_id, user_id in await self._session.execute(_MEMBERS):
            found.setdefault(group_id, set()).add(user_id)
        return found

    async def join(self, members: Iterable[tuple[int, int]]) -> None:
        """Add members, as pairs of a group ID and a user ID. Ignore those that are members already.

        Raises:
            NotFound: The user does not exist.
        """
        for group_id, user_id in members:
            if await self._session.scalar(_USER_EXISTS, {"id": user_id}) is None:
                raise NotFound("User not found")
            await self._session.execute(_JOIN, {"group_id": group_id, "user_id": user_id})

    async def leave(self, members: Iterable[tuple[int, int]]) -> None:
        """Remove members, as pairs of a group ID and a user ID. Ignore those that are not members."""
        for group_id, user_id in members:
            await self._session.execute(_LEAVE, {"of_group": group_id, "of_user": user_id})

    async def remove(self, group: Group) -> None:
        """Delete a group, with its members and grants."""
        await self._session.delete(group)
        await self._session.flush()
