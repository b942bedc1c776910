"""The audit: who did what."""

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
    """Entries are added in the transaction of what they describe, and never changed."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def add(self, entry: AuditEntry) -> None:
        """Store an entry."""
        await _ADD.value(self._driver, **{**asdict(entry), "details": json.dumps(entry.details)})

    async def newest(self, limit: int) -> Sequence[AuditEntry]:
        """Return the newest entries, newest first. Only administrators may see them."""
        return [AuditEntry(**row) for row in await _NEWEST.rows(self._driver, limit=limit)]
