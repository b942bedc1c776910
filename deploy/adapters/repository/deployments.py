"""Read and delete deployments, one row each. The history is read by cursor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from deploy.adapters.repository.rows import columns_of, deployment_from
from deploy.adapters.repository.statement import Statement, VisibleStatement
from deploy.adapters.states import sql_list
from deploy.domain.errors import NotFound
from deploy.domain.model import ACTIVE, FINAL, Deployment, DeploymentState
from deploy.domain.policy import Visible
from deploy.domain.service_config import ServiceConfig

_COLUMNS = columns_of(Deployment, "d")
_ALL = f"SELECT {_COLUMNS} FROM deployments AS d"
# Spelled out so that the planner recognizes the partial index.
_IS_OPEN = f"d.state IN ({sql_list(ACTIVE)})"

_GET = VisibleStatement(_ALL + " WHERE d.id = :id AND {visible}", "d.service_id")
_LOCK = VisibleStatement(_ALL + " WHERE d.id = :id AND {visible} FOR UPDATE", "d.service_id")
_TO_RUN = Statement(
    f"SELECT {_COLUMNS}, s.data AS config FROM deployments AS d JOIN services AS s ON s.id = d.service_id "
    "WHERE d.id = ANY(:ids) ORDER BY d.id FOR UPDATE OF d"
)
_WITH_KEY = Statement(f'{_ALL} WHERE d.service_id = :service_id AND d."user" = :user AND d.idempotency_key = :key')
_WAITING = Statement(
    "SELECT count(*) FILTER (WHERE service_id = :service_id) AS of_service, "
    "count(*) FILTER (WHERE \"user\" = :user) AS of_user FROM deployments WHERE state = 'queued'"
)
_OPEN = VisibleStatement(
    f"{_ALL} WHERE {_IS_OPEN} AND (CAST(:service_id AS bigint) IS NULL OR d.service_id = :service_id) "
    "AND (CAST(:worker_id AS text) IS NULL OR d.worker_id = :worker_id) AND {visible} ORDER BY d.id",
    "d.service_id",
)
# One index lookup per service, regardless of how long its history is.
_LATEST = VisibleStatement(
    f"{_ALL} WHERE d.id IN (SELECT (SELECT max(deployments.id) FROM deployments "
    "WHERE deployments.service_id = wanted.id) FROM unnest(CAST(:service_ids AS bigint[])) AS wanted (id)) "
    "AND {visible}",
    "d.service_id",
)
_LOST = Statement(
    "SELECT d.id, coalesce(w.host, 'an unknown host') FROM deployments AS d LEFT JOIN workers AS w ON w.id = d.worker_id "
    f"WHERE d.id IN (SELECT d.id FROM deployments AS d WHERE {_IS_OPEN} AND d.state = 'running' "
    "UNION SELECT CAST(args ->> 'deployment_id' AS bigint) FROM procrastinate_jobs WHERE status = 'doing') "
    "AND d.run_ended IS NULL AND coalesce(w.last_seen, d.started) < now() - make_interval(secs => :silence)"
)
_REPORTED_BUT_ALIVE = VisibleStatement(
    f"{_ALL} WHERE d.id IN (SELECT CAST(args ->> 'deployment_id' AS bigint) FROM procrastinate_jobs WHERE status = 'doing') "
    f"AND d.state IN ({sql_list(FINAL)}) AND d.started IS NOT NULL AND d.run_ended IS NULL "
    "AND {visible} ORDER BY d.id",
    "d.service_id",
)
_WITHOUT_JOB = Statement(
    f"SELECT d.id FROM deployments AS d WHERE {_IS_OPEN} AND d.state = 'queued' "
    "AND d.held IS NULL AND NOT EXISTS (SELECT FROM procrastinate_jobs AS job WHERE job.id = d.job_id) ORDER BY d.id"
)
_REMOVE_OLD = Statement(
    "DELETE FROM deployments WHERE id IN (SELECT id FROM deployments AS old WHERE old.service_id = :service_id "
    f"AND old.state IN ({sql_list(FINAL)}) AND (old.run_ended IS NOT NULL OR old.state = 'cancelled') "
    "AND (CAST(:days AS double precision) > 0 "
    "AND old.finished < now() - make_interval(secs => CAST(:days AS double precision) * 86400) "
    "OR CAST(:count AS bigint) > 0 AND old.id <= (SELECT id FROM deployments WHERE service_id = :service_id "
    "ORDER BY id DESC OFFSET CAST(:count AS bigint) LIMIT 1)) "
    "AND old.id IS DISTINCT FROM (SELECT max(id) FROM deployments "
    "WHERE service_id = :service_id AND environment = old.environment AND state = 'success') "
    "ORDER BY id LIMIT CAST(:limit AS bigint)) RETURNING id"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A filter for deployments.

    None and an empty `states` match everything. `since` (inclusive) and `until` apply to `created`.
    """

    service_id: int | None = None
    states: tuple[DeploymentState, ...] = ()
    user: str | None = None
    origin: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def fragments(self) -> tuple[list[str], list[Any]]:
        """Return the filter as SQL on a table `d` for asyncpg: the conditions, and the values of $1, $2, …"""
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
    """Past and present deployments."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def get(self, deployment_id: int, *, visible: Visible, for_update: bool = False) -> Deployment:
        """Return a deployment. `for_update` locks the row until the transaction ends.

        Raises:
            NotFound: The deployment does not exist or is not visible.
        """
        row = await (_LOCK if for_update else _GET).row(self._driver, visible, id=deployment_id)
        if row is None:
            raise NotFound("Deployment not found")
        return deployment_from(row)

    async def find(self, deployment_id: int, *, visible: Visible) -> Deployment | None:
        """Return a deployment, or None if it does not exist."""
        row = await _GET.row(self._driver, visible, id=deployment_id)
        return deployment_from(row) if row is not None else None

    async def to_run(self, ids: Sequence[int]) -> dict[int, tuple[Deployment, ServiceConfig]]:
        """Return the deployments that exist, by ID, each with the config of its service. Lock their rows."""
        rows = await _TO_RUN.rows(self._driver, ids=list(ids))
        return {row["id"]: (deployment_from(row), ServiceConfig.from_json(row["config"])) for row in rows}

    async def without_job(self) -> Sequence[int]:
        """Return the IDs of queued deployments that are not held and do not have a job in the queue."""
        return await _WITHOUT_JOB.column(self._driver)

    async def lost(self, grace_seconds: float) -> Sequence[tuple[int, str]]:
        """Return (ID, host) of unfinished deployments whose worker has not been seen for `grace_seconds`.

        This includes deployments that already reported a result, because they occupy their slot until the run ends.
        """
        return [(row[0], row[1]) for row in await _LOST.rows(self._driver, silence=grace_seconds)]

    async def with_key(self, service_id: int, user: str, idempotency_key: str) -> Deployment | None:
        """Return the deployment that this user requested with this idempotency key, or None."""
        row = await _WITH_KEY.row(self._driver, service_id=service_id, user=user, key=idempotency_key)
        return deployment_from(row) if row is not None else None

    async def waiting(self, service_id: int, user: str) -> tuple[int, int]:
        """Return the number of queued deployments of a service, and of a user."""
        row = await _WAITING.row(self._driver, service_id=service_id, user=user)
        return (row[0], row[1]) if row is not None else (0, 0)

    async def latest_by_service(self, service_ids: Sequence[int], *, visible: Visible) -> dict[int, Deployment]:
        """Return the newest deployment of each service, by service ID."""
        rows = await _LATEST.rows(self._driver, visible, service_ids=list(service_ids))
        return {row["service_id"]: deployment_from(row) for row in rows}

    async def open(
        self, *, visible: Visible, service_id: int | None = None, worker_id: str | None = None
    ) -> Sequence[Deployment]:
        """Return queued and running deployments, oldest first."""
        rows = await _OPEN.rows(self._driver, visible, service_id=service_id, worker_id=worker_id)
        return [deployment_from(row) for row in rows]

    async def reported_but_alive(self, *, visible: Visible) -> Sequence[Deployment]:
        """Return deployments that reported a result but whose process is still running, oldest first."""
        return [deployment_from(row) for row in await _REPORTED_BUT_ALIVE.rows(self._driver, visible)]

    async def remove_old(self, service_id: int, *, days: float, count: int, limit: int = 100) -> Sequence[int]:
        """Delete up to `limit` finished deployments of a service that are older than `days` or beyond the newest
        `count`.

        0 means no limit. Always keep the last successful deployment of each lane. Return the IDs of the deleted deployments.
        """
        return await _REMOVE_OLD.column(self._driver, service_id=service_id, days=days, count=count, limit=limit)
