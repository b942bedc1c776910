"""Run SQL statements with named parameters on asyncpg, and limit statements of both kinds to the visible services."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import ARRAY, BigInteger, Column, ColumnElement, Select, any_, literal, true
from typing_extensions import Unpack

from deploy.adapters.database import DriverConnection, ReadTimeout, flush
from deploy.domain.rights import Visible

AnySelect = TypeVar("AnySelect", bound="Select[Unpack[tuple[Any, ...]]]")
# A name after a single colon; two colons are a cast.
_NAME = re.compile(r"(?<![:\w]):([a-z_]+)")


class Statement:
    """SQL with named parameters (`:service_id`), which asyncpg does not support.

    JSON is passed as text and returned parsed. Pending changes of the unit of work's session are written first, because
    the statement might read them or refer to them.
    """

    def __init__(self, text: str) -> None:
        self.names = tuple(dict.fromkeys(_NAME.findall(text)))
        self.sql = _NAME.sub(lambda found: f"${self.names.index(found[1]) + 1}", text)

    async def rows(self, driver: DriverConnection, **values: Any) -> Sequence[asyncpg.Record]:
        """Execute and return all rows."""
        await flush(driver)
        with _limited(driver) as timeout:
            rows: Sequence[asyncpg.Record] = await driver.fetch(
                self.sql, *(values[name] for name in self.names), timeout=timeout
            )
        return rows

    async def row(self, driver: DriverConnection, **values: Any) -> asyncpg.Record | None:
        """Execute and return the first row, or None."""
        await flush(driver)
        with _limited(driver) as timeout:
            return await driver.fetchrow(self.sql, *(values[name] for name in self.names), timeout=timeout)

    async def value(self, driver: DriverConnection, **values: Any) -> Any:
        """Execute and return the first column of the first row, or None if there is no row."""
        await flush(driver)
        with _limited(driver) as timeout:
            return await driver.fetchval(self.sql, *(values[name] for name in self.names), timeout=timeout)

    async def many(self, driver: DriverConnection, values: Sequence[Mapping[str, Any]]) -> None:
        """Execute once for each set of values, in one round trip. Ignore the results."""
        await flush(driver)
        await driver.executemany(self.sql, [[given[name] for name in self.names] for given in values])

    async def column(self, driver: DriverConnection, **values: Any) -> list[Any]:
        """Execute and return the first column of all rows."""
        return [row[0] for row in await self.rows(driver, **values)]


@contextmanager
def _limited(driver: DriverConnection) -> Iterator[float | None]:
    """Yield the connection's limit for a statement. asyncpg cancels a statement that exceeds it.

    Raises:
        ReadTimeout: The statement was canceled.
    """
    try:
        yield driver.read_timeout
    except asyncio.TimeoutError as error:
        if driver.read_timeout is None:
            raise
        raise ReadTimeout(f"The statement took longer than {driver.read_timeout:g} seconds.") from error


_VISIBLE = "{column} = ANY(CAST(:visible AS bigint[]))"
_SHOWN = "({column} <> ALL(CAST(:limited AS bigint[])) OR concat({column}, '/', {environment}) = ANY(CAST(:lanes AS text[])))"
# The columns for statements about one deployment that do not read its row.
SERVICE_OF_DEPLOYMENT = "(SELECT d.service_id FROM deployments AS d WHERE d.id = :deployment_id)"
ENVIRONMENT_OF_DEPLOYMENT = "(SELECT d.environment FROM deployments AS d WHERE d.id = :deployment_id)"
SHOWN_LANE = _SHOWN.format(column="d.service_id", environment="d.environment")


class VisibleStatement:
    """A statement limited to the services that a caller can view. `{visible}` in the SQL stands for that condition.

    `{lane}` stands for the condition that the caller can view the environment of the deployment `d`. `{visible}` includes
    it if the statement names the environment.

    There are three versions of the SQL, because a condition such as `:ids IS NULL OR ...` would make generic plans slow.
    The last one is for callers who can only view some environments of a service.
    """

    def __init__(self, text: str, column: str = "", *, environment: str = "", some: str | None = None) -> None:
        """`column` is the column that contains the service ID, and `environment` the one with the environment, if any.

        If the condition would exclude many rows one by one, `some` is the text for callers that cannot view everything.
        """
        limited = text if some is None else some
        visible = _VISIBLE.format(column=column)
        shown = _SHOWN.format(column=column, environment=environment) if environment else "true"
        self._all = _with(text, visible="true", lane="true")
        self._some = _with(limited, visible=visible, lane="true")
        self._lanes = _with(limited, visible=f"({visible} AND {shown})", lane=SHOWN_LANE)

    async def rows(self, driver: DriverConnection, visible: Visible, **values: Any) -> Sequence[asyncpg.Record]:
        """Execute and return all rows."""
        return await self._of(visible).rows(driver, **visible_values(visible), **values)

    async def row(self, driver: DriverConnection, visible: Visible, **values: Any) -> asyncpg.Record | None:
        """Execute and return the first row, or None."""
        return await self._of(visible).row(driver, **visible_values(visible), **values)

    async def value(self, driver: DriverConnection, visible: Visible, **values: Any) -> Any:
        """Execute and return the first column of the first row, or None if there is no row."""
        return await self._of(visible).value(driver, **visible_values(visible), **values)

    def variants(self) -> tuple[Statement, Statement, Statement]:
        """Return the statements for callers that can view everything, some services, and some environments."""
        return self._all, self._some, self._lanes

    def _of(self, visible: Visible) -> Statement:
        if visible.services is None:
            return self._all
        return self._lanes if visible.limited else self._some


def _with(text: str, *, visible: str, lane: str) -> Statement:
    return Statement(text.replace("{visible}", visible).replace("{lane}", lane))


def visible_values(visible: Visible) -> dict[str, Any]:
    """Return the parameters of the conditions of a VisibleStatement."""
    return {
        "visible": _ids(visible),
        "limited": sorted(visible.limited),
        "lanes": sorted(f"{service_id}/{environment}" for service_id, environment in visible.lanes),
    }


def _ids(visible: Visible) -> list[int]:
    return sorted(visible.services or ())


def in_view(column: Column[Any], visible: Visible) -> ColumnElement[bool]:
    """Return the condition that `column`, which contains a service ID, is one of the visible services.

    The counterpart of VisibleStatement for SQLAlchemy, which leaves out conditions that are always true.
    """
    if visible.services is None:
        return true()
    return column == any_(literal(_ids(visible), ARRAY(BigInteger)))


def limited_to(visible: Visible, column: Column[Any], statement: AnySelect) -> AnySelect:
    """Return the statement with the condition of `in_view`.

    If everything is visible, this is the statement itself, which SQLAlchemy has already compiled.
    """
    return statement if visible.services is None else statement.where(in_view(column, visible))
