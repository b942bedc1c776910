"""Read and delete deployments, one row each. The history is read by cursor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from deploy.adapters.repository.newest import newest_first
from deploy.adapters.repository.rows import columns_of, deployment_from
from deploy.adapters.repository.statement import Statement, VisibleStatement
from deploy.adapters.states import sql_list
from deploy.domain.errors import NotFound
from deploy.domain.model import ACTIVE, FINAL, Deployment, DeploymentState
from deploy.domain.rights import Visible
from deploy.domain.service_config import ServiceConfig

_COLUMNS = columns_of(Deployment, "d")
_ALL = f"SELECT {_COLUMNS} FROM deployments AS d"
_IN_QUEUE, _IN_RUNNING = (f"'{state.value}'" for state in (DeploymentState.QUEUED, DeploymentState.RUNNING))
_ACTIVE_STATES = [state.value for state in sorted(ACTIVE)]
MANY = 1_000_000  # no limit

_GET = VisibleStatement(_ALL + " WHERE d.id = :id AND {visible}", "d.service_id", environment="d.environment")
_LOCK = VisibleStatement(
    _ALL + " WHERE d.id = :id AND {visible} FOR UPDATE", "d.service_id", environment="d.environment"
)
_TO_RUN = Statement(
    f"SELECT {_COLUMNS}, s.data AS config FROM deployments AS d JOIN services AS s ON s.id = d.service_id "
    "WHERE d.id = ANY(:ids) ORDER BY d.id FOR UPDATE OF d"
)
_WITH_KEY = Statement(f'{_ALL} WHERE d.service_id = :service_id AND d."user" = :user AND d.idempotency_key = :key')
_QUEUED_OF_SERVICE = newest_first({"service_id": ":service_id", "state": _IN_QUEUE})
_QUEUED_OF_USER = newest_first({"user": ":user", "state": _IN_QUEUE})
_COUNT_QUEUED = Statement(
    f"SELECT (SELECT count(*) FROM (SELECT d.id FROM deployments AS d {_QUEUED_OF_SERVICE} LIMIT :limit) AS ours) "
    f"AS of_service, (SELECT count(*) FROM (SELECT d.id FROM deployments AS d {_QUEUED_OF_USER} LIMIT :limit) AS theirs) "
    "AS of_user"
)
# One index lookup per service.
_LATEST = VisibleStatement(
    "SELECT latest.* FROM unnest(CAST(:service_ids AS bigint[])) AS wanted (id) CROSS JOIN LATERAL "
    f"({_ALL} {newest_first({'service_id': 'wanted.id'}, also='AND {lane}')} LIMIT 1) AS latest WHERE {{visible}}",
    "wanted.id",
)


def _in_state(state: str, limits: str) -> tuple[str, str]:
    """Return a SELECT of the deployments in a state, oldest first, and one for the visible services."""
    keys = {"state": state}
    after = "CAST(:after AS bigint) + 1"
    in_service = newest_first({"service_id": "visible.id", **keys}, first=after, also="AND {lane}", oldest=True)
    of_service = f"{_ALL} {in_service}"
    every = f"{_ALL} {newest_first(keys, first=after, oldest=True)} {limits}"
    services = "unnest(CAST(:visible AS bigint[])) AS visible (id)"
    return (
        every,
        f"SELECT one.* FROM {services} CROSS JOIN LATERAL ({of_service} {limits}) AS one ORDER BY one.id {limits}",
    )


_RUNNING_ALL, _RUNNING_SOME = _in_state(_IN_RUNNING, "LIMIT :limit")
_RUNNING = VisibleStatement(_RUNNING_ALL, some=_RUNNING_SOME)
_WAITING_ALL, _WAITING_SOME = _in_state(_IN_QUEUE, "LIMIT :limit")
_WAITING = VisibleStatement(_WAITING_ALL, some=_WAITING_SOME)
_COUNT = VisibleStatement(
    f"SELECT count(*) FROM (SELECT d.id FROM deployments AS d {newest_first({'state': 'CAST(:state AS text)'})}) AS found",
    some="SELECT count(*) FROM unnest(CAST(:visible AS bigint[])) AS visible (id) CROSS JOIN LATERAL (SELECT d.id "
    "FROM deployments AS d "
    f"{newest_first({'service_id': 'visible.id', 'state': 'CAST(:state AS text)'}, also='AND {lane}')}) AS found",
)
_OF_WORKER = Statement(
    f"{_ALL} {newest_first({'state': _IN_RUNNING}, also='AND d.worker_id = :worker_id', oldest=True)}"
)
_OF_SERVICE_IN = newest_first({"service_id": ":service_id", "state": "active.state"}, also="AND {lane}", oldest=True)
_ACTIVE = VisibleStatement(
    f"SELECT one.* FROM unnest(CAST(:states AS text[])) AS active (state) CROSS JOIN LATERAL ({_ALL} {_OF_SERVICE_IN} "
    "LIMIT :limit) AS one WHERE {visible} ORDER BY one.id LIMIT :limit",
    "CAST(:service_id AS bigint)",
)
_COUNT_ACTIVE = VisibleStatement(
    "SELECT count(*) FROM unnest(CAST(:states AS text[])) AS active (state) CROSS JOIN LATERAL (SELECT d.id "
    f"FROM deployments AS d {_OF_SERVICE_IN}) AS one WHERE {{visible}}",
    "CAST(:service_id AS bigint)",
)
_CLAIMED = "SELECT CAST(args ->> 'deployment_id' AS bigint) AS id FROM procrastinate_jobs WHERE status = 'doing'"
_LOST = Statement(
    "SELECT d.id, coalesce(w.host, 'an unknown host') FROM ("
    f"(SELECT d.id FROM deployments AS d {newest_first({'state': _IN_RUNNING})}) UNION ({_CLAIMED})) AS unfinished "
    "CROSS JOIN LATERAL (SELECT * FROM deployments AS one WHERE one.id = unfinished.id LIMIT 1) AS d "
    "LEFT JOIN workers AS w ON w.id = d.worker_id "
    "WHERE d.run_ended IS NULL AND coalesce(w.last_seen, d.started) < now() - make_interval(secs => :silence)"
)
_REPORTED_BUT_ALIVE = VisibleStatement(
    f"SELECT {_COLUMNS} FROM ({_CLAIMED}) AS claimed "
    "CROSS JOIN LATERAL (SELECT * FROM deployments AS one WHERE one.id = claimed.id LIMIT 1) AS d "
    f"WHERE d.state IN ({sql_list(FINAL)}) AND d.started IS NOT NULL AND d.run_ended IS NULL "
    "AND {visible} ORDER BY d.id",
    "d.service_id",
    environment="d.environment",
)
_WITHOUT_JOB = Statement(
    "SELECT max(d.id), count(*), array_agg(d.id ORDER BY d.id) FILTER (WHERE d.held IS NULL AND NOT d.has_job) FROM ("
    "SELECT d.id, d.held, (SELECT true FROM procrastinate_jobs AS job WHERE job.id = d.job_id) IS NOT NULL AS has_job "
    "FROM deployments AS d "
    f"{newest_first({'state': _IN_QUEUE}, first='CAST(:after AS bigint) + 1', oldest=True)} LIMIT :limit) AS d"
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

    async def without_job(self, after: int = 0, *, limit: int = 1000) -> tuple[Sequence[int], int]:
        """Check up to `limit` queued deployments with IDs above `after`.

        Return the IDs of those that are not held and do not have a job in the queue, and the next `after`, which is 0
        after the last deployment.
        """
        row = await _WITHOUT_JOB.row(self._driver, after=after, limit=limit)
        assert row is not None
        return row[2] or [], row[0] if row[1] == limit else 0

    async def lost(self, grace_seconds: float) -> Sequence[tuple[int, str]]:
        """Return (ID, host) of unfinished deployments whose worker has not been seen for `grace_seconds`.

        This includes deployments that already reported a result, because they occupy their slot until the run ends.
        """
        return [(row[0], row[1]) for row in await _LOST.rows(self._driver, silence=grace_seconds)]

    async def with_key(self, service_id: int, user: str, idempotency_key: str) -> Deployment | None:
        """Return the deployment that this user requested with this idempotency key, or None."""
        row = await _WITH_KEY.row(self._driver, service_id=service_id, user=user, key=idempotency_key)
        return deployment_from(row) if row is not None else None

    async def count_queued(self, service_id: int, user: str, *, limit: int) -> tuple[int, int]:
        """Return the number of queued deployments of a service, and of a user, each counted up to `limit`."""
        row = await _COUNT_QUEUED.row(self._driver, service_id=service_id, user=user, limit=limit)
        return (row[0], row[1]) if row is not None else (0, 0)

    async def latest_by_service(self, service_ids: Sequence[int], *, visible: Visible) -> dict[int, Deployment]:
        """Return the newest deployment of each service, by service ID."""
        rows = await _LATEST.rows(self._driver, visible, service_ids=list(service_ids))
        return {row["service_id"]: deployment_from(row) for row in rows}

    async def running(self, *, visible: Visible, limit: int = MANY) -> Sequence[Deployment]:
        """Return running deployments, oldest first."""
        rows = await _RUNNING.rows(self._driver, visible, after=0, limit=limit)
        return [deployment_from(row) for row in rows]

    async def waiting(self, *, visible: Visible, after: int = 0, limit: int = MANY) -> Sequence[Deployment]:
        """Return up to `limit` queued deployments with IDs above `after`, oldest first."""
        rows = await _WAITING.rows(self._driver, visible, after=after, limit=limit)
        return [deployment_from(row) for row in rows]

    async def count(self, state: DeploymentState, *, visible: Visible) -> int:
        """Return the number of deployments in a state. Only use it for states that few deployments are in."""
        found: int = await _COUNT.value(self._driver, visible, state=state.value)
        return found

    async def running_on(self, worker_id: str) -> Sequence[Deployment]:
        """Return the running deployments of a worker, oldest first."""
        return [deployment_from(row) for row in await _OF_WORKER.rows(self._driver, worker_id=worker_id)]

    async def active(self, service_id: int, *, visible: Visible, limit: int = MANY) -> Sequence[Deployment]:
        """Return up to `limit` queued and running deployments of a service, oldest first."""
        rows = await _ACTIVE.rows(self._driver, visible, service_id=service_id, states=_ACTIVE_STATES, limit=limit)
        return [deployment_from(row) for row in rows]

    async def count_active(self, service_id: int, *, visible: Visible) -> int:
        """Return the number of queued and running deployments of a service."""
        found: int = await _COUNT_ACTIVE.value(self._driver, visible, service_id=service_id, states=_ACTIVE_STATES)
        return found

    async def reported_but_alive(self, *, visible: Visible) -> Sequence[Deployment]:
        """Return deployments that reported a result but whose process is still running, oldest first."""
        return [deployment_from(row) for row in await _REPORTED_BUT_ALIVE.rows(self._driver, visible)]
