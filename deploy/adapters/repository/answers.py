"""What somebody answered the last time."""

from __future__ import annotations

from typing import Any

import asyncpg

from deploy.adapters.statement import Statement

# Of the service's last thousand: whoever has not been here for so long starts anew.
_LAST = Statement(
    "SELECT context FROM (SELECT id, user_id, context FROM deployments WHERE service_id = :service_id "
    "ORDER BY id DESC LIMIT 1000) AS lately WHERE user_id = :user_id ORDER BY id DESC LIMIT 1"
)


class Answers:
    """Reads what deployments were started with."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def last(self, service_id: int, user_id: int) -> dict[str, Any] | None:
        """Return the plain answers of a user's last deployment of a service; secret ones were never kept."""
        context = await _LAST.value(self._driver, service_id=service_id, user_id=user_id)
        return None if context is None else context.get("env", {})
