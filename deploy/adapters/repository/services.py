"""Services, and what they left running."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import asyncpg
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.adapters import orm
from deploy.adapters.database import Borrowed
from deploy.adapters.statement import Statement
from deploy.domain.errors import NotFound
from deploy.domain.model import DeployedService, Service

# Rows that are not there yet cannot be locked. The number is ours alone ("services" as bytes).
_LOCK = text("SELECT pg_advisory_xact_lock(x'7365727669636573'::bigint)")

# Not against the foreign keys of deployments that go on meanwhile.
_TO_START = Statement(
    "SELECT id, name, data, readme, updated FROM services WHERE id = :id AND deleted IS NULL FOR NO KEY UPDATE"
)
_SOME = Statement("SELECT id, name, data, readme, updated, deleted FROM services WHERE id = ANY(:ids)")
_PUT_DEPLOYED = Statement(
    "INSERT INTO deployed_services (service_id, deployment_id, config) "
    "VALUES (:service_id, :deployment_id, :config) ON CONFLICT (service_id) "
    "DO UPDATE SET deployment_id = excluded.deployment_id, config = excluded.config"
)
_LIST_DEPLOYED = Statement(
    "SELECT d.deployment_id, d.service_id, d.config, d.id FROM deployed_services AS d "
    "JOIN services AS s ON s.id = d.service_id WHERE s.deleted IS NULL ORDER BY d.id"
)


class Services:
    """What can be deployed. A removed service stays as a row, for the sake of its history."""

    def __init__(self, borrowed: Borrowed) -> None:
        self._borrowed = borrowed

    @property
    def _session(self) -> AsyncSession:
        return self._borrowed.session

    async def add(self, service: Service) -> None:
        """Store a new service and give it its id."""
        self._session.add(service)
        await self._session.flush()

    async def get(self, service_id: int, *, for_update: bool = False) -> Service:
        """Return a service that is on the list; `for_update` keeps it to ourselves until the transaction ends.

        Raises:
            NotFound: there is none with that id, or it was removed.
        """
        query = select(Service).where(orm.services.c.id == service_id)
        if for_update:
            query = query.with_for_update(key_share=True).execution_options(populate_existing=True)
        service: Service | None = await self._session.scalar(query)
        if service is None or service.deleted is not None:
            raise NotFound("Service not found")
        return service

    async def to_start(self, service_id: int) -> Service:
        """Return a service, kept to ourselves until the transaction ends.

        Raises:
            NotFound: there is none with that id, or it was removed.
        """
        row = await _TO_START.row(self._borrowed.driver, id=service_id)
        if row is None:
            raise NotFound("Service not found")
        return _service(row)

    async def find(self, name: str) -> Service | None:
        """Return the service of that name, if it is on the list."""
        query = select(Service).where(orm.services.c.name == name, orm.services.c.deleted.is_(None))
        found: Service | None = await self._session.scalar(query)
        return found

    async def list(self) -> Sequence[Service]:
        """Return the services on the list, by name."""
        query = select(Service).where(orm.services.c.deleted.is_(None)).order_by(orm.services.c.name)
        return (await self._session.scalars(query)).all()

    async def all(self) -> Sequence[Service]:
        """Return all services, removed ones too."""
        return (await self._session.scalars(select(Service).order_by(orm.services.c.id))).all()

    async def all_for_update(self) -> Sequence[Service]:
        """Return all services, removed ones too, locked against another sync, which may be about to add the same."""
        await self._session.execute(_LOCK)
        return (await self._session.scalars(select(Service).order_by(orm.services.c.id).with_for_update())).all()

    async def some(self, ids: Sequence[int]) -> Sequence[Service]:
        """Return the services with these ids, removed ones too."""
        return [_service(row) for row in await _SOME.rows(self._borrowed.driver, ids=list(ids))]


def _service(row: asyncpg.Record) -> Service:
    known = ("id", "name", "readme", "updated")
    deleted = row.get("deleted")
    return Service(**{name: row[name] for name in known}, data=row["data"], deleted=deleted)


class DeployedServices:
    """What the last successful deployment of each service left running."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def put(self, service_id: int, deployment_id: int, config: dict[str, Any]) -> None:
        """Replace what is known of a service."""
        await _PUT_DEPLOYED.value(
            self._driver, service_id=service_id, deployment_id=deployment_id, config=json.dumps(config)
        )

    async def list(self) -> Sequence[DeployedService]:
        """Return them all, but those of removed services."""
        rows = await _LIST_DEPLOYED.rows(self._driver)
        return [DeployedService(**row) for row in rows]
