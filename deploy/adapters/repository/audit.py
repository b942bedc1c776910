"""Store the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.adapters.orm import audit
from deploy.domain.audit import AuditEntry
from deploy.domain.fields import names_of

_ADD = insert(audit).inline()  # nothing reads the generated ID
_NEWEST = select(*(audit.c[name] for name in names_of(AuditEntry))).order_by(audit.c.id.desc())


class Audit:
    """The audit log. Each entry is added in the transaction of the action it describes and never changes.

    Entries are not mapped, because nothing changes them.
    """

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, entry: AuditEntry) -> None:
        """Store an entry."""
        await self._session.execute(_ADD, asdict(entry))

    async def newest(self, limit: int) -> Sequence[AuditEntry]:
        """Return the newest entries, newest first. Only administrators can see them."""
        rows = await self._session.execute(_NEWEST.limit(limit))
        return [AuditEntry(**row) for row in rows.mappings()]
