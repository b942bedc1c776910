"""Secret inputs of deployments that have not ended; sealed, always."""

from __future__ import annotations

import asyncpg

from deploy.adapters.statement import Statement

_PUT = Statement("INSERT INTO secrets (deployment_id, sealed) VALUES (:deployment_id, :sealed)")
_GET = Statement("SELECT sealed FROM secrets WHERE deployment_id = :deployment_id")
_REMOVE = Statement("DELETE FROM secrets WHERE deployment_id = :deployment_id")


class Secrets:
    """At most one row for each deployment."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def put(self, deployment_id: int, sealed: bytes) -> None:
        """Keep them until the run ends."""
        await _PUT.value(self._driver, deployment_id=deployment_id, sealed=sealed)

    async def get(self, deployment_id: int) -> bytes | None:
        """Return them, None when they are gone."""
        sealed: bytes | None = await _GET.value(self._driver, deployment_id=deployment_id)
        return sealed

    async def remove(self, deployment_id: int) -> None:
        """Forget them. Twice does no harm."""
        await _REMOVE.value(self._driver, deployment_id=deployment_id)
