"""The workers that have been seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.adapters import orm


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that runs deployments. `id` is the same after a restart: it belongs to the data folder."""

    id: str
    host: str
    version: str
    slots: int
    started: datetime
    last_seen: datetime


class Workers:
    """Their heartbeats."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def beat(self, *, worker_id: str, host: str, version: str, slots: int) -> None:
        """Note that a worker lives."""
        statement = insert(orm.workers).values(
            id=worker_id, host=host, version=version, slots=slots, started=func.now(), last_seen=func.now()
        )
        seen = {"host": host, "version": version, "slots": slots, "last_seen": func.now()}
        await self._session.execute(statement.on_conflict_do_update(index_elements=["id"], set_=seen))

    async def list(self) -> Sequence[Worker]:
        """Return the workers, the last seen first."""
        rows = await self._session.execute(select(orm.workers).order_by(orm.workers.c.last_seen.desc()))
        return [Worker(**row) for row in rows.mappings()]
