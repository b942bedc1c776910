"""Store the secret values of unfinished deployments, always encrypted."""

from __future__ import annotations

import asyncpg

from deploy.adapters.repository.statement import Statement

_PUT = Statement("INSERT INTO secrets (deployment_id, sealed) VALUES (:deployment_id, :sealed)")
_GET = Statement("SELECT sealed FROM secrets WHERE deployment_id = :deployment_id")
_REMOVE = Statement("DELETE FROM secrets WHERE deployment_id = :deployment_id")


class Secrets:
    """Secret values, at most one row per deployment."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def put(self, deployment_id: int, sealed: bytes) -> None:
        """Store the sealed values until the run ends."""
        await _PUT.value(self._driver, deployment_id=deployment_id, sealed=sealed)

    async def get(self, deployment_id: int) -> bytes | None:
        """Return the sealed values, or None if they were removed."""
        sealed: bytes | None = await _GET.value(self._driver, deployment_id=deployment_id)
        return sealed

    async def remove(self, deployment_id: int) -> None:
        """Delete the sealed values. Idempotent."""
        await _REMOVE.value(self._driver, deployment_id=deployment_id)
