"""Deployments: one row each; the history is read by cursor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, insert, literal_column, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.adapters import orm
from deploy.domain.errors import NotFound
from deploy.domain.model import Deployment, DeploymentState

_table = orm.deployments
# Written out, so that the planner recognises the partial index.
_IS_OPEN: ColumnElement[bool] = literal_column("deployments.state IN ('queued', 'running')")

# One look into the index per service, however long its history is.
_NEWEST = text(
    "SELECT (SELECT max(deployments.id) FROM deployments WHERE deployments.service_id = wanted.id) "
    "FROM unnest(CAST(:service_ids AS bigint[])) AS wanted (id)"
)

_UNENDED = text(
    "SELECT id FROM deployments WHERE state IN ('queued', 'running') AND state = 'running' "
    "UNION SELECT CAST(args ->> 'deployment_id' AS bigint) FROM procrastinate_jobs WHERE status = 'doing'"
)
_WITHOUT_JOB = text(
    "SELECT id FROM deployments WHERE state IN ('queued', 'running') AND state = 'queued' "
    "AND NOT EXISTS (SELECT FROM procrastinate_jobs AS job WHERE job.id = deployments.job_id) ORDER BY id"
)
_REMOVE_OLD = text(
    "DELETE FROM deployments WHERE id IN (SELECT id FROM deployments AS old WHERE old.service_id = :service_id "
    "AND old.state NOT IN ('queued', 'running') AND (old.run_ended IS NOT NULL OR old.state = 'cancelled') "
    "AND (CAST(:days AS double precision) > 0 "
    "AND old.finished < now() - make_interval(secs => CAST(:days AS double precision) * 86400) "
    "OR CAST(:count AS bigint) > 0 AND old.id <= (SELECT id FROM deployments WHERE service_id = :service_id "
    "ORDER BY id DESC OFFSET CAST(:count AS bigint) LIMIT 1)) "
    "AND old.id IS DISTINCT FROM "
    "(SELECT max(id) FROM deployments WHERE service_id = :service_id AND state = 'success') "
    "ORDER BY id LIMIT :limit) RETURNING id"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which deployments to list; None, and no states, do not restrict. `since` (inclusive) and `until` go by `created`."""

    service_id: int | None = None
    states: tuple[DeploymentState, ...] = ()
    user: str | None = None
    origin: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def fragments(self) -> tuple[list[str], list[Any]]:
        """Return the filter as SQL on a table `d` for asyncpg: conditions, and the values of $1, $2, …"""
        states = [state.value for state in self.states] or None
        wanted = (
            ("d.service_id = ${}", self.service_id),
            ("d.state = ANY(${})", states),
            ('d."user" = ${}', self.user),
            ("d.origin = ${}", self.origin),
            ("d.created >= ${}", self.since),
            ("d.created < ${}", self.until),
        )
        given = [(text, value) for text, value in wanted if value is not None]
        return [text.format(n) for n, (text, _) in enumerate(given, 1)], [value for _, value in given]


class Deployments:
    """The runs, past and present."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, deployment: Deployment, *, config: dict[str, Any]) -> None:
        """Store a new deployment, with the config of its service as it is now, and give it its id."""
        self._session.add(deployment)
        await self._session.flush()
        await self._session.execute(insert(orm.snapshots).values(deployment_id=deployment.id, config=config))

    async def get(self, deployment_id: int, *, for_update: bool = False) -> Deployment:
        """Return a deployment; `for_update` keeps it to ourselves until the transaction ends.

        Raises:
            NotFound: there is none with that id.
        """
        query = select(Deployment).where(_table.c.id == deployment_id)
        if for_update:
            query = query.with_for_update().execution_options(populate_existing=True)
        found: Deployment | None = await self._session.scalar(query)
        if found is None:
            raise NotFound("Deployment not found")
        return found

    async def find(self, deployment_id: int) -> Deployment | None:
        """Return a deployment, if there is one with that id."""
        return await self._session.get(Deployment, deployment_id)

    async def without_job(self) -> Sequence[int]:
        """Return the ids of deployments that wait without a job in the queue."""
        return (await self._session.scalars(_WITHOUT_JOB)).all()

    async def lost(self, grace_seconds: float) -> Sequence[tuple[int, str]]:
        """Return (id, host) of deployments whose run has not ended, and whose worker has not been seen for so long.

        Among them those that have said themselves that they are done: their service waits for their end.
        """
        silence = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, grace_seconds)
        query = (
            select(_table.c.id, func.coalesce(orm.workers.c.host, "an unknown host"))
            .outerjoin(orm.workers, orm.workers.c.id == _table.c.worker_id)
            .where(
                _table.c.id.in_(_UNENDED),
                _table.c.run_ended.is_(None),
                func.coalesce(orm.workers.c.last_seen, _table.c.started) < silence,
            )
        )
        return [(deployment_id, host) for deployment_id, host in await self._session.execute(query)]

    async def with_key(self, service_id: int, idempotency_key: str) -> Deployment | None:
        """Return the deployment that was asked for with that key before."""
        query = select(Deployment).where(
            _table.c.service_id == service_id, _table.c.idempotency_key == idempotency_key
        )
        found: Deployment | None = await self._session.scalar(query)
        return found

    async def latest_by_service(self, service_ids: Sequence[int]) -> dict[int, Deployment]:
        """Return the newest deployment of each of these services."""
        newest = (await self._session.scalars(_NEWEST, {"service_ids": list(service_ids)})).all()
        rows = await self._session.scalars(select(Deployment).where(_table.c.id.in_(newest)))
        return {deployment.service_id: deployment for deployment in rows}

    async def open(self, *, service_id: int | None = None, worker_id: str | None = None) -> Sequence[Deployment]:
        """Return what waits or runs, oldest first."""
        query = select(Deployment).where(_IS_OPEN).order_by(_table.c.id)
        if service_id is not None:
            query = query.where(_table.c.service_id == service_id)
        if worker_id is not None:
            query = query.where(_table.c.worker_id == worker_id)
        return (await self._session.scalars(query)).all()

    async def remove_old(self, service_id: int, *, days: float, count: int, limit: int = 100) -> Sequence[int]:
        """Delete up to `limit` ended deployments of a service, older than `days` or beyond the newest `count`.

        0 stands for no such limit. The last success stays. Returns the ids of those that went.
        """
        values = {"service_id": service_id, "days": days, "count": count, "limit": limit}
        return (await self._session.scalars(_REMOVE_OLD, values)).all()
