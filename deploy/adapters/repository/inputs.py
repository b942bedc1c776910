"""Read the values from a user's previous deployment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from deploy.adapters.repository.newest import newest_first
from deploy.adapters.repository.statement import VisibleStatement
from deploy.domain.model import Lane
from deploy.domain.rights import Visible

_OF_USER = newest_first(
    {"service_id": ":service_id", "environment": ":environment", "user_id": "CAST(:user_id AS bigint)"}
)
_LAST = VisibleStatement(
    f"SELECT last.context FROM (SELECT d.service_id, d.environment, d.context FROM deployments AS d {_OF_USER} LIMIT 1) AS last "
    "WHERE {visible}",
    "last.service_id",
    environment="last.environment",
)
# Looks up the services by name, and considers the last 100 deployments of each.
_LATELY = f"SELECT d.context FROM deployments AS d {newest_first({'service_id': 's.id'})} LIMIT 100"
_NAMES = VisibleStatement(
    "SELECT s.name AS service, array_agg(DISTINCT given.name ORDER BY given.name) AS names FROM services AS s "
    f"CROSS JOIN LATERAL ({_LATELY}) AS lately "
    "CROSS JOIN LATERAL json_object_keys(CASE WHEN json_typeof(lately.context -> 'env') = 'object' "
    "THEN lately.context -> 'env' ELSE '{}' END) AS given (name) WHERE s.name = ANY(:names) AND {visible} GROUP BY s.name",
    "s.id",
)


class PreviousValues:
    """Reads the values of earlier deployments."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def last(self, lane: Lane, user_id: int, *, visible: Visible) -> dict[str, Any] | None:
        """Return the values from a user's last deployment of a lane.

        Secrets are not included because they are not kept.
        """
        row = await _LAST.row(self._driver, visible, **lane._asdict(), user_id=user_id)
        return None if row is None else row["context"].get("env", {})

    async def names(self, services: Sequence[str], *, visible: Visible) -> dict[str, list[str]]:
        """Return the names of the values in the last deployments of these services, for services that have any."""
        rows = await _NAMES.rows(self._driver, visible, names=list(services))
        return {row["service"]: list(row["names"]) for row in rows}
