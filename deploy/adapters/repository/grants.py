"""Store grants."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.adapters.orm import grants, group_members, groups, services
from deploy.adapters.repository.mapped import columns_in_field_order, current
from deploy.domain.errors import NotFound
from deploy.domain.model import Grant

_LOCK_ALL = text("LOCK TABLE grants IN SHARE ROW EXCLUSIVE MODE")
_LIST = current(select(Grant).order_by(grants.c.id))
_GET = current(select(Grant).where(grants.c.id == bindparam("id")))
_OF_USER = select(*columns_in_field_order(Grant)).where(
    or_(
        grants.c.user_id == bindparam("user"),
        grants.c.group_id.in_(select(group_members.c.group_id).where(group_members.c.user_id == bindparam("user"))),
        grants.c.group_id.in_(select(groups.c.id).where(groups.c.is_everyone)),
    )
)
_OF_SERVICE = delete(grants).where(grants.c.service_id == bindparam("of_service"))
_TAGS = select(services.c.id, services.c.tags).where(services.c.deleted.is_(None))


class Grants:
    """Grants of users and groups."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def lock(self) -> None:
        """Lock all grants against changes until the transaction ends. They can still be read."""
        await self._session.execute(_LOCK_ALL)

    async def add(self, grant: Grant) -> None:
        """Store a new grant and set its ID."""
        self._session.add(grant)
        await self._session.flush()

    async def remove(self, grant: Grant) -> None:
        """Delete a grant."""
        await self._session.delete(grant)
        await self._session.flush()

    async def remove_of_service(self, service_id: int) -> None:
        """Delete the grants on a service. Grants on its tags and on all services stay."""
        await self._session.execute(_OF_SERVICE, {"of_service": service_id})

    async def get(self, grant_id: int) -> Grant:
        """Return a grant.

        Raises:
            NotFound: The grant does not exist.
        """
        grant = await self._session.scalar(_GET, {"id": grant_id})
        if grant is None:
            raise NotFound("Grant not found")
        return grant

    async def list(self) -> Sequence[Grant]:
        """Return all grants, oldest first."""
        return (await self._session.scalars(_LIST)).all()

    async def of_user(self, user_id: int) -> Sequence[Grant]:
        """Return the grants of a user and of the user's groups. Changes to these objects are not stored."""
        return [Grant(*row) for row in await self._session.execute(_OF_USER, {"user": user_id})]

    async def tags(self) -> dict[int, frozenset[str]]:
        """Return the tags of every service, by its ID."""
        return {service_id: frozenset(tags) for service_id, tags in await self._session.execute(_TAGS)}
