"""SQL whose parameters have names, for asyncpg."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

# A name after a colon, but not after a second one (a cast).
_NAME = re.compile(r"(?<![:\w]):([a-z_]+)")


class Statement:
    """SQL whose parameters have names (`:service_id`); asyncpg knows numbers only. JSON goes in as text, and comes out read."""

    def __init__(self, text: str) -> None:
        self.names = tuple(dict.fromkeys(_NAME.findall(text)))
        self.sql = _NAME.sub(lambda found: f"${self.names.index(found[1]) + 1}", text)

    async def rows(self, driver: asyncpg.Connection, **values: Any) -> Sequence[asyncpg.Record]:
        """Execute, and return all rows."""
        rows: Sequence[asyncpg.Record] = await driver.fetch(self.sql, *(values[name] for name in self.names))
        return rows

    async def row(self, driver: asyncpg.Connection, **values: Any) -> asyncpg.Record | None:
        """Execute, and return the first row, if there is one."""
        return await driver.fetchrow(self.sql, *(values[name] for name in self.names))

    async def value(self, driver: asyncpg.Connection, **values: Any) -> Any:
        """Execute, and return the first column of the first row, None where there is none."""
        return await driver.fetchval(self.sql, *(values[name] for name in self.names))

    async def many(self, driver: asyncpg.Connection, values: Sequence[Mapping[str, Any]]) -> None:
        """Execute once for each of the values, all in one round trip; what comes back is not looked at."""
        await driver.executemany(self.sql, [[given[name] for name in self.names] for given in values])

    async def column(self, driver: asyncpg.Connection, **values: Any) -> list[Any]:
        """Execute, and return the first column of all rows."""
        return [row[0] for row in await self.rows(driver, **values)]
