"""Build long lists for clients as JSON in PostgreSQL, so that the server passes them on without parsing them.

A page of 100 deployments takes a tenth of the CPU time needed to build objects.
"""

from __future__ import annotations

from typing import Any

from deploy.adapters.database import Database
from deploy.adapters.repository.deployments import Filter
from deploy.adapters.states import sql_list
from deploy.domain.fields import moments, sent
from deploy.domain.model import ACTIVE, Deployment
from deploy.domain.policy import Visible

_MOMENTS = moments(Deployment)


def _column(name: str) -> str:
    if name in _MOMENTS:
        return f"""to_char(d.{name} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS {name}"""
    return f'd."{name}"'


_COLUMNS = ", ".join(map(_column, sent(Deployment)))
_OPEN = f"d.state IN ({sql_list(ACTIVE)})"
_DEPLOYMENTS = "SELECT '[' || coalesce(string_agg(row_to_json(page)::text, ','), '') || ']' FROM ({page}) AS page"
_SERVICES = f"""
    WITH open AS (
        SELECT service_id, json_agg(row_to_json(d) ORDER BY d.id) AS deployments
        FROM (SELECT {_COLUMNS} FROM deployments AS d WHERE {_OPEN}) AS d GROUP BY service_id
    ), listed AS (
        SELECT s.id, s.name, s.data, row_to_json(newest) AS last_deployment,
            coalesce(open.deployments, '[]'::json) AS active_deployments
        FROM services AS s
        LEFT JOIN open ON open.service_id = s.id
        LEFT JOIN LATERAL (
            SELECT {_COLUMNS} FROM deployments AS d WHERE d.service_id = s.id ORDER BY d.id DESC LIMIT 1
        ) AS newest ON true
        WHERE s.deleted IS NULL AND {{visible}} ORDER BY s.name
    )
    SELECT '[' || coalesce(string_agg(row_to_json(listed)::text, ','), '') || ']' FROM listed
"""


class Listings:
    """Reads lists outside of transactions, each with a single statement on a pooled connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def services(self, *, visible: Visible) -> str:
        """Return a JSON array of all services by name, each with its last deployment and its queued and running ones."""
        if visible.services is None:
            return await self._read(_SERVICES.format(visible="true"))
        return await self._read(_SERVICES.format(visible="s.id = ANY($1)"), sorted(visible.services))

    async def deployments(
        self, *, visible: Visible, limit: int, before: int | None = None, only: Filter | None = None
    ) -> str:
        """Return a JSON array of up to `limit` deployments, newest first.

        If `before` is given, return only older ones.
        """
        conditions, values = only.fragments() if only is not None else ([], [])
        if visible.services is not None:
            values.append(sorted(visible.services))
            conditions.append(f"d.service_id = ANY(${len(values)})")
        if before is not None:
            values.append(before)
            conditions.append(f"d.id < ${len(values)}")
        values.append(limit)
        where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
        page = f"SELECT {_COLUMNS} FROM deployments AS d {where}ORDER BY d.id DESC LIMIT ${len(values)}"
        return await self._read(_DEPLOYMENTS.format(page=page), *values)

    async def _read(self, query: str, *values: Any) -> str:
        async with self._database.connection() as connection:
            text: str = await connection.fetchval(query, *values)
            return text
