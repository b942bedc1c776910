"""What somebody answered the last time."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, text
from sqlalchemy.ext.asyncio import AsyncSession

# Of the service's last thousand: whoever has not been here for so long starts anew.
_LAST = text(
    "SELECT context FROM (SELECT id, user_id, context FROM deployments WHERE service_id = :service_id "
    "ORDER BY id DESC LIMIT 1000) AS lately WHERE user_id = :user_id ORDER BY id DESC LIMIT 1"
).columns(context=JSON)


class Answers:
    """Reads what deployments were started with."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def last(self, service_id: int, user_id: int) -> dict[str, Any] | None:
        """Return the plain answers of a user's last deployment of a service; secret ones were never kept."""
        context = await self._session.scalar(_LAST, {"service_id": service_id, "user_id": user_id})
        return None if context is None else context.get("env", {})
