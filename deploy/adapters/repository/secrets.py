"""Secret inputs of deployments that have not ended; sealed, always."""

from __future__ import annotations

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.adapters import orm


class Secrets:
    """At most one row for each deployment."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def put(self, deployment_id: int, sealed: bytes) -> None:
        """Keep them until the run ends."""
        await self._session.execute(insert(orm.secrets).values(deployment_id=deployment_id, sealed=sealed))

    async def get(self, deployment_id: int) -> bytes | None:
        """Return them, None when they are gone."""
        query = select(orm.secrets.c.sealed).where(orm.secrets.c.deployment_id == deployment_id)
        sealed: bytes | None = await self._session.scalar(query)
        return sealed

    async def remove(self, deployment_id: int) -> None:
        """Forget them. Twice does no harm."""
        await self._session.execute(delete(orm.secrets).where(orm.secrets.c.deployment_id == deployment_id))
