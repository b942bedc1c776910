"""Store services and deployed services."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import asyncpg

from deploy.adapters.repository.rows import columns_of, service_from
from deploy.adapters.repository.statement import Statement, VisibleStatement
from deploy.domain.errors import NotFound
from deploy.domain.model import DeployedService, Lane, Service
from deploy.domain.policy import Visible

# Rows that do not exist yet cannot be locked. The lock number is "services" as bytes.
_LOCK_ALL = Statement("SELECT pg_advisory_xact_lock(x'7365727669636573'::bigint)")
_ALL = f"SELECT {columns_of(Service, 's')} FROM services AS s"
_GET = VisibleStatement(_ALL + " WHERE s.id = :id AND s.deleted IS NULL AND {visible}", "s.id")
# Does not block the foreign keys of running deployments.
_GET_LOCKED = VisibleStatement(
    _ALL + " WHERE s.id = :id AND s.deleted IS NULL AND {visible} FOR NO KEY UPDATE", "s.id"
)
_FIND = VisibleStatement(_ALL + " WHERE s.name = :name AND s.deleted IS NULL AND {visible}", "s.id")
_LIST = VisibleStatement(_ALL + " WHERE s.deleted IS NULL AND {visible} ORDER BY s.name", "s.id")
_EVERY = Statement(f"{_ALL} ORDER BY s.id")
_EVERY_LOCKED = Statement(f"{_ALL} ORDER BY s.id FOR UPDATE")
_SOME = VisibleStatement(_ALL + " WHERE s.id = ANY(:ids) AND {visible}", "s.id")
_ADD = Statement(
    "INSERT INTO services (name, data, concurrency, readme, updated, deleted) "
    "VALUES (:name, :data, :concurrency, :readme, coalesce(:updated, now()), :deleted) RETURNING id"
)
_STORE = Statement(
    "UPDATE services SET data = :data, concurrency = :concurrency, readme = :readme, updated = :updated, "
    "deleted = :deleted WHERE id = :id"
)
_PUT_DEPLOYED = Statement(
    "INSERT INTO deployed_services (service_id, environment, deployment_id, config) "
    "VALUES (:service_id, :environment, :deployment_id, :config) ON CONFLICT (service_id, environment) "
    "DO UPDATE SET deployment_id = excluded.deployment_id, config = excluded.config"
)
_LIST_DEPLOYED = VisibleStatement(
    "SELECT d.deployment_id, d.service_id, d.environment, d.config, d.id FROM deployed_services AS d "
    "JOIN services AS s ON s.id = d.service_id WHERE s.deleted IS NULL AND {visible} ORDER BY d.id",
    "d.service_id",
)


class Services:
    """Services. The row of a removed service is kept for its history."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def add(self, service: Service) -> None:
        """Store a new service and set its ID."""
        service.id = await _ADD.value(self._driver, **_values(service))

    async def store(self, service: Service) -> None:
        """Store the changes to a service. Its name never changes."""
        await _STORE.value(self._driver, **_values(service))

    async def get(self, service_id: int, *, visible: Visible, for_update: bool = False) -> Service:
        """Return a service that has not been removed. `for_update` locks the row until the transaction ends.

        Raises:
            NotFound: The service does not exist, was removed, or is not visible.
        """
        row = await (_GET_LOCKED if for_update else _GET).row(self._driver, visible, id=service_id)
        if row is None:
            raise NotFound("Service not found")
        return service_from(row)

    async def find(self, name: str, *, visible: Visible) -> Service | None:
        """Return the service with this name, or None if it does not exist or was removed."""
        row = await _FIND.row(self._driver, visible, name=name)
        return service_from(row) if row is not None else None

    async def list(self, *, visible: Visible) -> Sequence[Service]:
        """Return the services that have not been removed, ordered by name."""
        return [service_from(row) for row in await _LIST.rows(self._driver, visible)]

    async def all_for_upkeep(self) -> Sequence[Service]:
        """Return all services, including removed ones, for system tasks."""
        return [service_from(row) for row in await _EVERY.rows(self._driver)]

    async def all_for_update(self) -> Sequence[Service]:
        """Return all services, including removed ones.

        Lock them against concurrent syncs, which could add the same ones.
        """
        await _LOCK_ALL.value(self._driver)
        return [service_from(row) for row in await _EVERY_LOCKED.rows(self._driver)]

    async def some(self, ids: Sequence[int], *, visible: Visible) -> Sequence[Service]:
        """Return the services with these IDs, including removed ones."""
        return [service_from(row) for row in await _SOME.rows(self._driver, visible, ids=list(ids))]


def _values(service: Service) -> dict[str, Any]:
    # The queue reads `concurrency` as a column: `data` can contain lone surrogates that PostgreSQL's JSON cannot read.
    return {**vars(service), "data": json.dumps(service.data), "concurrency": service.concurrency}


class DeployedServices:
    """Deployed services: what the last successful deployment of each lane left running."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def put(self, lane: Lane, deployment_id: int, config: dict[str, Any]) -> None:
        """Store or replace the deployed service of a lane."""
        await _PUT_DEPLOYED.value(
            self._driver, **lane._asdict(), deployment_id=deployment_id, config=json.dumps(config)
        )

    async def list(self, *, visible: Visible) -> Sequence[DeployedService]:
        """Return all deployed services, except those of removed services."""
        rows = await _LIST_DEPLOYED.rows(self._driver, visible)
        return [DeployedService(**row) for row in rows]
