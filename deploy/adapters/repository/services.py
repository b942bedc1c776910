"""Store services and deployed services."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
from sqlalchemy import ARRAY, BigInteger, any_, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import flag_modified

from deploy.adapters.orm import services
from deploy.adapters.repository.mapped import current
from deploy.adapters.repository.statement import VisibleStatement, limited_to
from deploy.domain.errors import NotFound
from deploy.domain.model import DeployedService, Service
from deploy.domain.rights import Visible

# Rows that do not exist yet cannot be locked. The lock number is "services" as bytes.
_LOCK_ALL = select(func.pg_advisory_xact_lock(0x7365727669636573))
_EVERY = current(select(Service).order_by(services.c.id))
_EVERY_LOCKED = _EVERY.with_for_update()
_SOME = _EVERY.where(services.c.id == any_(bindparam("ids", type_=ARRAY(BigInteger))))
_PRESENT = current(select(Service).where(services.c.deleted.is_(None)))
_GET = _PRESENT.where(services.c.id == bindparam("id"))
_GET_LOCKED = _GET.with_for_update(key_share=True)  # does not block the foreign keys of running deployments
_FIND = _PRESENT.where(services.c.name == bindparam("name"))
_LIST = _PRESENT.order_by(services.c.name)
# Inserts or replaces the deployed service of a lane, unless `config` is NULL.
PUT_DEPLOYED = (
    "INSERT INTO deployed_services (service_id, environment, deployment_id, config) "
    "SELECT CAST(:service_id AS bigint), CAST(:environment AS text), CAST(:deployment_id AS bigint), deployed "
    "FROM (SELECT CAST(:config AS json)) AS new (deployed) WHERE deployed IS NOT NULL "
    "ON CONFLICT (service_id, environment) "
    "DO UPDATE SET deployment_id = excluded.deployment_id, config = excluded.config"
)
_LIST_DEPLOYED = VisibleStatement(
    "SELECT d.deployment_id, d.service_id, d.environment, d.config, d.id FROM deployed_services AS d "
    "JOIN services AS s ON s.id = d.service_id WHERE s.deleted IS NULL AND {visible} ORDER BY d.id",
    "d.service_id",
    environment="d.environment",
)


class Services:
    """Services. The row of a removed service is kept for its history."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self._locked: dict[int, Service] = {}

    async def add(self, service: Service) -> None:
        """Store a new service and set its ID."""
        self._session.add(service)
        await self._session.flush()

    async def store(self, service: Service) -> None:
        """Store the changes to a service."""
        self._session.add(service)
        # To Python, 1, 1.0, and True are equal, so SQLAlchemy would not notice such a change inside the JSON.
        flag_modified(service, "data")
        await self._session.flush()

    async def get(self, service_id: int, *, visible: Visible, for_update: bool = False) -> Service:
        """Return a service that has not been removed. `for_update` locks the row until the transaction ends.

        A service that this transaction has already locked cannot have changed, so it is not read again.

        Raises:
            NotFound: The service does not exist, was removed, or is not visible.
        """
        if (locked := self._locked.get(service_id)) is not None and service_id in visible:
            return locked
        statement = limited_to(visible, services.c.id, _GET_LOCKED if for_update else _GET)
        service = await self._session.scalar(statement, {"id": service_id})
        if service is None:
            raise NotFound("Service not found")
        if for_update:
            self._locked[service_id] = service
        return service

    async def find(self, name: str, *, visible: Visible) -> Service | None:
        """Return the service with this name, or None if it does not exist or was removed."""
        return await self._session.scalar(limited_to(visible, services.c.id, _FIND), {"name": name})

    async def list(self, *, visible: Visible) -> Sequence[Service]:
        """Return the services that have not been removed, ordered by name."""
        return (await self._session.scalars(limited_to(visible, services.c.id, _LIST))).all()

    async def all_for_upkeep(self) -> Sequence[Service]:
        """Return all services, including removed ones, for system tasks."""
        return (await self._session.scalars(_EVERY)).all()

    async def all_for_update(self) -> Sequence[Service]:
        """Return all services, including removed ones.

        Lock them against concurrent syncs, which could add the same ones.
        """
        await self._session.execute(_LOCK_ALL)
        return (await self._session.scalars(_EVERY_LOCKED)).all()

    async def some(self, ids: Sequence[int], *, visible: Visible) -> Sequence[Service]:
        """Return the services with these IDs, including removed ones."""
        statement = limited_to(visible, services.c.id, _SOME)
        return (await self._session.scalars(statement, {"ids": list(ids)})).all()


class DeployedServices:
    """Deployed services: what the last successful deployment of each lane left running. `Batches` writes them."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def list(self, *, visible: Visible) -> Sequence[DeployedService]:
        """Return all deployed services, except those of removed services."""
        rows = await _LIST_DEPLOYED.rows(self._driver, visible)
        return [DeployedService(**row) for row in rows]
