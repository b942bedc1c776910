"""What has become of earlier deployments, and what each was started with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.adapters import orm
from deploy.domain.changes import Snapshot
from deploy.domain.model import Deployment, DeploymentState

_table = orm.deployments
_IS_SUCCESS: ColumnElement[bool] = literal_column("deployments.state = 'success'")
_IS_FINAL: ColumnElement[bool] = literal_column("deployments.state NOT IN ('queued', 'running')")


@dataclass(frozen=True, slots=True)
class Finished:
    """How one deployment went."""

    id: int
    state: DeploymentState
    started: datetime | None
    finished: datetime

    @property
    def seconds(self) -> float | None:
        """How long it ran; None where it never started."""
        return max(0.0, (self.finished - self.started).total_seconds()) if self.started is not None else None


class History:
    """The past of services."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def finished(self, service_id: int, *, limit: int) -> list[Finished]:
        """Return how the last deployments of a service went, at most `limit`, oldest first."""
        query = (
            select(_table.c.id, _table.c.state, _table.c.started, _table.c.finished)
            .where(_table.c.service_id == service_id, _IS_FINAL)
            .order_by(_table.c.id.desc())
            .limit(limit)
        )
        rows = await self._session.execute(query)
        return [Finished(*row) for row in rows][::-1]

    async def last_success_before(self, deployment: Deployment) -> Deployment | None:
        """Return the newest success of the same service that was asked for before this one."""
        query = (
            select(Deployment)
            .where(_table.c.service_id == deployment.service_id, _IS_SUCCESS, _table.c.id < deployment.id)
            .order_by(_table.c.id.desc())
            .limit(1)
        )
        found: Deployment | None = await self._session.scalar(query)
        return found

    async def snapshots(self, deployment_ids: Sequence[int]) -> dict[int, Snapshot]:
        """Return what these deployments were started with, by id; nothing of those older than our knowledge."""
        query = select(orm.snapshots).where(orm.snapshots.c.deployment_id.in_(deployment_ids))
        rows = await self._session.execute(query)
        return {row.deployment_id: Snapshot(config=row.config, files=row.files) for row in rows}

    async def keep_files(self, deployment_id: int, files: dict[str, str] | None) -> None:
        """Store digests of the files that a deployment is started with."""
        values: dict[str, Any] = {"files": files}
        of = orm.snapshots.c.deployment_id == deployment_id
        await self._session.execute(update(orm.snapshots).where(of).values(values))
