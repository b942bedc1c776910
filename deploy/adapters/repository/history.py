"""Read the results of earlier deployments and the snapshots taken when they started."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from deploy.adapters.repository.newest import newest_first
from deploy.adapters.repository.rows import columns_of, deployment_from
from deploy.adapters.repository.statement import Statement, VisibleStatement
from deploy.adapters.states import sql_list
from deploy.domain.changes import Snapshot
from deploy.domain.model import FINAL, Deployment, DeploymentState, Lane
from deploy.domain.rights import Visible

_SUCCESS = f"'{DeploymentState.SUCCESS.value}'"
_LANE = {"service_id": ":service_id", "environment": ":environment"}
_FINISHED = VisibleStatement(
    f"SELECT one.* FROM unnest(ARRAY[{sql_list(FINAL)}]) AS final (state) CROSS JOIN LATERAL ("
    "SELECT d.id, d.state, d.started, d.finished FROM deployments AS d "
    f"{newest_first({**_LANE, 'state': 'final.state'})} LIMIT :limit) AS one "
    "WHERE {visible} ORDER BY one.id DESC LIMIT :limit",
    "CAST(:service_id AS bigint)",
    environment="CAST(:environment AS text)",
)
_LAST_SUCCESS = VisibleStatement(
    f"SELECT {columns_of(Deployment, 'd')} FROM deployments AS d "
    f"{newest_first({**_LANE, 'state': _SUCCESS}, before=':before', also='AND {visible}')} LIMIT 1",
    "d.service_id",
    environment="d.environment",
)
_SNAPSHOTS = VisibleStatement(
    "SELECT s.deployment_id, s.config, s.files FROM snapshots AS s JOIN deployments AS d ON d.id = s.deployment_id "
    "WHERE s.deployment_id = ANY(:ids) AND {visible}",
    "d.service_id",
    environment="d.environment",
)
_KEEP_FILES = Statement("UPDATE snapshots SET files = :files WHERE deployment_id = :deployment_id")


@dataclass(frozen=True, slots=True)
class Finished:
    """The result of a finished deployment."""

    id: int
    state: DeploymentState
    started: datetime | None
    finished: datetime

    @property
    def seconds(self) -> float | None:
        """Return the duration of the run in seconds, or None if the run never started."""
        return max(0.0, (self.finished - self.started).total_seconds()) if self.started is not None else None


class History:
    """Reads the history of lanes."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def finished(self, lane: Lane, *, visible: Visible, limit: int) -> list[Finished]:
        """Return the results of a lane's last deployments, up to `limit`, oldest first."""
        rows = await _FINISHED.rows(self._driver, visible, **lane._asdict(), limit=limit)
        return [
            Finished(row["id"], DeploymentState(row["state"]), row["started"], row["finished"])
            for row in reversed(rows)
        ]

    async def last_success_before(self, deployment: Deployment, *, visible: Visible) -> Deployment | None:
        """Return the lane's last successful deployment before this one, or None."""
        row = await _LAST_SUCCESS.row(self._driver, visible, **deployment.lane._asdict(), before=deployment.id)
        return deployment_from(row) if row is not None else None

    async def snapshots(self, deployment_ids: Sequence[int], *, visible: Visible) -> dict[int, Snapshot]:
        """Return the snapshots of these deployments by ID. Skip deployments that do not have one."""
        rows = await _SNAPSHOTS.rows(self._driver, visible, ids=list(deployment_ids))
        return {row["deployment_id"]: Snapshot(config=row["config"], files=row["files"]) for row in rows}

    async def keep_files(self, deployment_id: int, files: dict[str, str] | None) -> None:
        """Store the file digests of a deployment's snapshot."""
        await _KEEP_FILES.value(self._driver, deployment_id=deployment_id, files=json.dumps(files))
