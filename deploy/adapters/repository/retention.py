"""Delete old deployments, at a cost that depends on how many are deleted rather than on how many there are."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from deploy.adapters.repository.newest import newest_first
from deploy.adapters.repository.statement import Statement
from deploy.adapters.states import sql_list
from deploy.domain.model import FINAL

_LAST_SUCCESS = newest_first(
    {"service_id": "d.service_id", "environment": "d.environment", "state": "'success'"}, table="success"
)
# The last success of a lane is kept because the next deployment is planned from it, and the deployments of the list of
# deployed services because that list refers to them.
_IS_REMOVABLE = (
    f"d.state IN ({sql_list(FINAL)}) AND (d.run_ended IS NOT NULL OR d.started IS NULL) "
    "AND d.id NOT IN (SELECT deployment_id FROM deployed_services WHERE service_id = :service_id) "
    f"AND d.id IS DISTINCT FROM (SELECT success.id FROM deployments AS success {_LAST_SUCCESS} LIMIT 1)"
)
_TOO_OLD = (
    "SELECT d.id FROM deployments AS d WHERE CAST(:days AS double precision) > 0 AND d.finished IS NOT NULL "
    "AND (d.service_id, d.finished) >= (CAST(:service_id AS bigint), '-infinity') AND (d.service_id, d.finished) "
    "< (CAST(:service_id AS bigint), now() - make_interval(secs => CAST(:days AS double precision) * 86400)) "
    f"AND {_IS_REMOVABLE} ORDER BY d.service_id, d.finished LIMIT CAST(:limit AS bigint)"
)
_NEWEST_TOO_MANY = (
    f"(SELECT kept.id FROM deployments AS kept {newest_first({'service_id': ':service_id'}, table='kept')} "
    "OFFSET CAST(:count AS bigint) LIMIT 1)"
)
_ONE_TOO_MANY = newest_first(
    {"service_id": ":service_id", "state": "final.state"},
    before=f"coalesce({_NEWEST_TOO_MANY} + 1, 0)",
    also=f"AND {_IS_REMOVABLE}",
    oldest=True,
)
_TOO_MANY = (
    f"SELECT one.id FROM unnest(ARRAY[{sql_list(FINAL)}]) AS final (state) CROSS JOIN LATERAL ("
    f"SELECT d.id FROM deployments AS d {_ONE_TOO_MANY} LIMIT CAST(:limit AS bigint)) AS one WHERE CAST(:count AS bigint) > 0"
)
_REMOVE_OLD = Statement(
    "DELETE FROM deployments WHERE id = ANY(ARRAY(SELECT id FROM ("
    f"({_TOO_OLD}) UNION ({_TOO_MANY})) AS old ORDER BY id LIMIT CAST(:limit AS bigint))) RETURNING id"
)


class Retention:
    """Deletes deployments that exceed the retention limits."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def remove_old(self, service_id: int, *, days: float, count: int, limit: int = 100) -> Sequence[int]:
        """Delete up to `limit` finished deployments of a service that are older than `days` or beyond the newest
        `count`.

        0 means no limit. Always keep the last successful deployment of each lane and those that the deployed services
        refer to. Return the IDs of the deleted deployments.
        """
        return await _REMOVE_OLD.column(self._driver, service_id=service_id, days=days, count=count, limit=limit)
