"""Store the audit log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import asyncpg

from deploy.adapters.repository.statement import Statement
from deploy.domain.audit import AuditEntry

_ADD = Statement(
    "INSERT INTO audit (actor_type, actor, user_id, action, object_type, object_id, details) "
    "VALUES (:actor_type, :actor, :user_id, :action, :object_type, :object_id, :details)"
)
_NEWEST = Statement(
    "SELECT actor_type, actor, user_id, action, object_type, object_id, details FROM audit ORDER BY id DESC LIMIT :limit"
)


class Audit:
    """The audit log. Each entry is added in the transaction of the action it describes and never changes."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def add(self, entry: AuditEntry) -> None:
        """Store an entry."""
        await _ADD.value(self._driver, **{**asdict(entry), "details": json.dumps(entry.details)})

    async def newest(self, limit: int) -> Sequence[AuditEntry]:
        """Return the newest entries, newest first. Only administrators can see them."""
        return [AuditEntry(**row) for row in await _NEWEST.rows(self._driver, limit=limit)]
