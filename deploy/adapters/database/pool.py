"""The connection pool, and the one connection per process that listens for notifications."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from deploy.adapters.database.connection import DriverConnection
from deploy.adapters.database.errors import DATABASE_ERRORS, Unreachable, driver_error, is_outdated
from deploy.adapters.database.statement_log import log_driver_statements, log_session_statements
from deploy.adapters.database.transactions import END_TIMEOUT, transaction_on
from deploy.adapters.database.url import dsn_of

CHANNEL = "fastdeploy"
QUEUE_CHANNEL = "procrastinate_any_queue_v1"
# Generic plans work for all values. Otherwise each connection would plan each statement five times first. But they do not
# know that a LIMIT is small, so reading a table and sorting it could seem cheaper than reading a few rows in the order of
# an index. The other settings rule that out, for plans that have a choice (decision 0024). Before PostgreSQL 18, plans
# without a choice then seem so expensive that they would be compiled.
PLANNING = (
    "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; "
    "SET enable_sort = off; SET enable_incremental_sort = off; SET jit = off"
)
# Seconds to wait for a pooled connection.
POOL_TIMEOUT = 30.0


class Database:
    """The connection pool of a process. It connects on demand and replaces dead connections.

    SQLAlchemy's pool keeps connections open, and callers wait for a free one, because opening a connection takes
    longer than ten transactions. `timeout` is the limit for opening a connection and `read_timeout` the limit for
    a statement that reads something for a client, in seconds. With `log_sql`, every statement is logged with its duration.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 20,
        timeout: float = 5.0,
        read_timeout: float = 10.0,
        log_sql: bool = False,
    ) -> None:
        self.url = url
        self._size = pool_size
        self._timeout = timeout
        self._read_timeout = read_timeout
        self._log_sql = log_sql
        self._engine: AsyncEngine | None = None
        self._open: dict[int, DriverConnection] = {}
        self._in_use: set[DriverConnection] = set()
        self._all_returned = asyncio.Event()
        self._generation = 0

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[DriverConnection]:
        """Yield a connection in autocommit mode.

        Raises:
            Unreachable: No connection is available.
        """
        engine = self._engine or self._new_engine()
        driver = await self._check_out(engine)
        is_reusable = False
        try:
            yield driver
            is_reusable = True
        except Exception as error:
            is_reusable = True
            if is_outdated(error) and driver.generation == self._generation:
                self._generation += 1  # the plans of the other connections are outdated, too
            raise
        finally:
            # An interrupted task might have sent a BEGIN without reading the reply, so its connection is closed. If
            # the connection died, the first error is more informative than those of closing it.
            await self._check_in(driver, is_reusable=is_reusable and engine is self._engine)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[DriverConnection]:
        """Yield a connection in a transaction. Commit at the end, or roll back on any error."""
        async with self.connection() as connection, transaction_on(connection):
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[DriverConnection]:
        """Yield a connection in autocommit mode for reads of clients, which must not take longer than `read_timeout`."""
        async with self.connection() as connection:
            connection.read_timeout = self._read_timeout
            yield connection

    @asynccontextmanager
    async def reading_transaction(self) -> AsyncIterator[DriverConnection]:
        """Yield a connection in a transaction for reads of clients, which must not take longer than `read_timeout`."""
        async with self.reading() as connection, transaction_on(connection):
            yield connection

    def owns(self, server_pid: int) -> bool:
        """Return True if the PostgreSQL process serves one of these connections."""
        return server_pid in self._open

    async def close(self) -> None:
        """Close all connections. Terminate those that are still in use after two seconds."""
        engine, self._engine = self._engine, None
        if engine is None:
            return
        with suppress(*DATABASE_ERRORS):
            await asyncio.wait_for(self._close_idle(engine), END_TIMEOUT)
        for driver in tuple(self._open.values()):
            driver.terminate()
        self._open.clear()

    async def _close_idle(self, engine: AsyncEngine) -> None:
        await engine.dispose()
        while self._in_use:
            self._all_returned.clear()
            await self._all_returned.wait()

    async def _check_out(self, engine: AsyncEngine) -> DriverConnection:
        try:
            pooled = await engine.connect()
        except PoolTimeoutError as error:
            raise Unreachable("all connections of the pool are in use") from error
        except DBAPIError as error:
            raise driver_error(error) from error
        assert pooled.sync_connection is not None
        driver = pooled.sync_connection.connection.driver_connection
        assert isinstance(driver, DriverConnection)
        driver.pooled, driver.session, driver.allows_session, driver.read_timeout = pooled, None, False, None
        self._in_use.add(driver)
        if driver.is_closed() or driver.generation != self._generation:
            await self._check_in(driver, is_reusable=False)
            return await self._check_out(engine)
        return driver

    async def _check_in(self, driver: DriverConnection, *, is_reusable: bool) -> None:
        self._in_use.discard(driver)
        if not self._in_use:
            self._all_returned.set()
        try:
            if not is_reusable or driver.is_closed() or driver.is_in_transaction():
                with suppress(*DATABASE_ERRORS):
                    await driver.close(timeout=END_TIMEOUT)
                await driver.pooled.invalidate()
        finally:
            # Only puts it into the pool, so it does not need SQLAlchemy's bridge between synchronous code and I/O.
            assert driver.pooled.sync_connection is not None
            driver.pooled.sync_connection.close()

    def _new_engine(self) -> AsyncEngine:
        # The pool belongs to the current event loop. AUTOCOMMIT: SQLAlchemy's own BEGIN would come with its first
        # statement, so plain SQL before that statement would be outside of the transaction.
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            isolation_level="AUTOCOMMIT",
            pool_size=self._size,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT,
            pool_use_lifo=True,
            # The only state that can remain on a connection is a transaction, and such a connection is closed.
            pool_reset_on_return=None,
            # Errors are logged, and values include password hashes and secrets.
            hide_parameters=True,
            # SQLAlchemy installs it as the codec of asyncpg's connection, so plain SQL reads the same values.
            json_deserializer=read_json,
        )
        event.listen(self._engine.sync_engine, "connect", self._prepare)
        if self._log_sql:
            log_session_statements(self._engine)
        return self._engine

    async def _connect(self) -> asyncpg.Connection:
        return await _connected(
            dsn_of(self.url),
            timeout=self._timeout,
            connection_class=DriverConnection,
            server_settings={"application_name": "fastdeploy"},
        )

    def _prepare(self, adapted: AdaptedConnection, _record: object) -> None:
        # The listener runs after SQLAlchemy has installed its codecs.
        adapted.run_async(self._begin)

    async def _begin(self, connection: DriverConnection) -> None:
        await connection.execute(PLANNING)
        if self._log_sql:
            log_driver_statements(connection)
        connection.generation = self._generation
        server_pid = connection.get_server_pid()
        self._open[server_pid] = connection
        connection.add_termination_listener(lambda _connection: self._open.pop(server_pid, None))


def read_json(text: str) -> Any:
    """Parse JSON from the database, with a shortcut for the most common values."""
    return {} if text == "{}" else [] if text == "[]" else json.loads(text)


async def _connected(dsn: str, **options: Any) -> asyncpg.Connection:
    """Connect, and raise Unreachable if that fails."""
    try:
        return await asyncpg.connect(dsn, **options)
    except asyncio.TimeoutError as error:  # before Python 3.11, it is not an OSError
        raise Unreachable("the database did not respond in time") from error
    except OSError as error:
        raise Unreachable(str(error)) from error


async def connect(url: str, name: str, timeout: float = 5.0) -> asyncpg.Connection:
    """Open a separate connection with `name` as its application name. The caller must close it.

    Raises:
        Unreachable: The connection cannot be opened within `timeout` seconds.
    """
    return await _connected(dsn_of(url), timeout=timeout, server_settings={"application_name": name})


@asynccontextmanager
async def listening_connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a separate connection for LISTEN. It does not come from the pool because it is never released."""
    connection = await connect(url, "fastdeploy listener")
    try:
        yield connection
    finally:
        await connection.close(timeout=END_TIMEOUT) if not connection.is_closed() else None
