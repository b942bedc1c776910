"""Services, and what they left running."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.adapters import orm
from deploy.domain.errors import NotFound
from deploy.domain.model import DeployedService, Service

# Rows that are not there yet cannot be locked. The number is ours alone ("services" as bytes).
_LOCK = text("SELECT pg_advisory_xact_lock(x'7365727669636573'::bigint)")

_PUT_DEPLOYED = text(
    "INSERT INTO deployed_services (service_id, deployment_id, config) "
    "VALUES (:service_id, :deployment_id, CAST(:config AS json)) ON CONFLICT (service_id) "
    "DO UPDATE SET deployment_id = excluded.deployment_id, config = excluded.config"
)


class Services:
    """What can be deployed. A removed service stays as a row, for the sake of its history."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

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
            # Not against the foreign keys of deployments that go on meanwhile.
            query = query.with_for_update(key_share=True).execution_options(populate_existing=True)
        service: Service | None = await self._session.scalar(query)
        if service is None or service.deleted is not None:
            raise NotFound("Service not found")
        return service

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
        return (await self._session.scalars(select(Service).where(orm.services.c.id.in_(ids)))).all()


class DeployedServices:
    """What the last successful deployment of each service left running."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def put(self, service_id: int, deployment_id: int, config: dict[str, Any]) -> None:
        """Replace what is known of a service."""
        values = {"service_id": service_id, "deployment_id": deployment_id, "config": json.dumps(config)}
        await self._session.execute(_PUT_DEPLOYED, values)

    async def list(self) -> Sequence[DeployedService]:
        """Return them all, but those of removed services."""
        query = (
            select(DeployedService)
            .join(orm.services, orm.services.c.id == orm.deployed_services.c.service_id)
            .where(orm.services.c.deleted.is_(None))
            .order_by(orm.deployed_services.c.id)
        )
        return (await self._session.scalars(query)).all()
