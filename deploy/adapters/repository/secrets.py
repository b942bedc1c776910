"""Store everything secret in unfinished deployments, always encrypted."""

from __future__ import annotations

import asyncpg

from deploy.adapters.repository.statement import Statement

# The lock makes sure that secrets are not stored for a run that ends at the same time: no one would delete them.
_INSERT = (
    "INSERT INTO secrets (deployment_id, sealed) SELECT d.id, CAST(:sealed AS bytea) FROM deployments AS d "
    "WHERE d.id = CAST(:deployment_id AS bigint) AND d.run_ended IS NULL {only} FOR SHARE "
    "ON CONFLICT (deployment_id) {otherwise} RETURNING deployment_id"
)
_PUT = Statement(_INSERT.format(only="", otherwise="DO UPDATE SET sealed = excluded.sealed"))
_PUT_FIRST = Statement(_INSERT.format(only="AND d.secret_inputs = '{}'", otherwise="DO NOTHING"))
_GET = Statement("SELECT sealed FROM secrets WHERE deployment_id = :deployment_id")
FORGET_SECRETS = "DELETE FROM secrets WHERE deployment_id = :deployment_id"
_REMOVE = Statement(FORGET_SECRETS)


class Secrets:
    """The secrets of runs, at most one row per deployment."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def put(self, deployment_id: int, sealed: bytes) -> bool:
        """Store the sealed secrets until the run ends, in place of earlier ones. Return False if it has ended."""
        return await _PUT.value(self._driver, deployment_id=deployment_id, sealed=sealed) is not None

    async def put_first(self, deployment_id: int, sealed: bytes) -> bool:
        """Store the sealed secrets until the run ends, unless there are others.

        Return False if others are stored or missing, or if the run has ended.
        """
        return await _PUT_FIRST.value(self._driver, deployment_id=deployment_id, sealed=sealed) is not None

    async def get(self, deployment_id: int) -> bytes | None:
        """Return the sealed secrets, or None if there are none or they were removed."""
        sealed: bytes | None = await _GET.value(self._driver, deployment_id=deployment_id)
        return sealed

    async def remove(self, deployment_id: int) -> None:
        """Delete the sealed secrets. Idempotent."""
        await _REMOVE.value(self._driver, deployment_id=deployment_id)
