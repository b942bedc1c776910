"""The connection pool, transactions on it, and the one connection per process that listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from functools import cached_property
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.util import greenlet_spawn

CHANNEL = "fastdeploy"
QUEUE_CHANNEL = "procrastinate_any_queue_v1"


class Unreachable(ConnectionError):
    """No connection can be made to the database. (By itself an OSError could be about anything, a file for instance.)"""


_OUTAGES = (
    PoolTimeout,
    Unreachable,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # The server has said that it closes the connection, but has not done so yet.
    asyncpg.InternalClientError,
)
# What work that goes on for ever survives: the database is away (`is_away` tells), it refuses something, or the system
# is in trouble. (Before Python 3.11 a timeout is no OSError.)
DATABASE_ERRORS = (DBAPIError, asyncpg.PostgresError, OSError, asyncio.TimeoutError, *_OUTAGES)


def create_engine(url: str, *, pool_size: int = 20, patience: float = 5.0) -> AsyncEngine:
    """Return the pool of a process. A connection that died meanwhile is replaced before it is used.

    Connections are made as they are needed, and stay: whoever finds none free waits for one, since a new one costs
    more than ten transactions. `patience`: how many seconds a new connection may take.
    """
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_pre_ping=False,
        pool_use_lifo=True,
        hide_parameters=True,  # errors are logged: no output, no password's hash, nothing sealed belongs there
        connect_args={"timeout": patience, "server_settings": {"application_name": "fastdeploy"}},
    )
    event.listen(engine.sync_engine, "do_connect", _connect)
    return engine


def _connect(dialect: Any, _record: object, arguments: list[Any], options: dict[str, Any]) -> Any:
    with _told_apart():
        return dialect.connect(*arguments, **options)


@contextmanager
def _told_apart() -> Iterator[None]:
    """Raise Unreachable where connecting fails, rather than what it fails by."""
    try:
        yield
    except asyncio.TimeoutError as error:  # of asyncpg; before Python 3.11 it is no OSError
        raise Unreachable("it does not answer in time") from error
    except OSError as error:
        raise Unreachable(str(error)) from error


class Borrowed:
    """A connection of the pool, which can be talked to in two ways that see the same.

    `driver` is asyncpg's own connection: for what happens in every deployment, since SQLAlchemy costs several times
    what a statement itself does. `session` is SQLAlchemy's, for the rest; it is made when it is first asked for.
    """

    def __init__(self, connection: AsyncConnection, driver: asyncpg.Connection) -> None:
        self._connection = connection
        self.driver = driver

    @cached_property
    def session(self) -> AsyncSession:
        """What was loaded stays readable after the commit."""
        return AsyncSession(self._connection, expire_on_commit=False, autoflush=False)

    @asynccontextmanager
    async def atomically(self) -> AsyncIterator[None]:
        """What is done in here is done as a whole, or not at all. In a transaction, that is all the same."""
        if self.driver.is_in_transaction():
            yield
            return
        async with self.driver.transaction():
            yield

    async def complete(self) -> None:
        """Write what the session holds. The commit is the driver's."""
        if "session" in self.__dict__:
            await self.session.commit()

    async def close(self) -> None:
        """Let the session go."""
        if "session" in self.__dict__:
            await self.session.close()


def statements(engine: AsyncEngine) -> Callable[[], AbstractAsyncContextManager[Borrowed]]:
    """Return what lends a connection of the pool on which each statement is committed by itself."""
    unbegun = without_begin(engine)

    @asynccontextmanager
    async def lend() -> AsyncIterator[Borrowed]:
        async with lent_connection(unbegun) as connection:
            yield Borrowed(connection, await driver_of(connection))

    return lend


def transactions(engine: AsyncEngine) -> Callable[[], AbstractAsyncContextManager[Borrowed]]:
    """Return what begins a transaction on a connection of the pool, commits it at the end, or rolls it back on any error."""
    unbegun = without_begin(engine)

    @asynccontextmanager
    async def open_transaction() -> AsyncIterator[Borrowed]:
        async with lent_connection(unbegun) as connection, transaction_on(connection) as begun:
            yield begun

    return open_transaction


def without_begin(engine: AsyncEngine) -> AsyncEngine:
    """Return the same pool, whose connections begin no transaction by themselves.

    SQLAlchemy's own BEGIN comes with its own first statement only: what the driver does before that is outside of it.
    """
    return engine.execution_options(isolation_level="AUTOCOMMIT")


@asynccontextmanager
async def lent_connection(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Lend a connection of a pool.

    Only from whoever came to an end by himself does it go back there. One who was interrupted (a cancelled request) may
    have sent what nobody waits for the answer of, a BEGIN for instance: neither the driver nor we know its state then,
    and what the next one does on it could end with that transaction.
    """
    connection = await _living(engine)
    driver = await driver_of(connection)
    came_to_an_end = False
    try:
        yield connection
        came_to_an_end = True
    except Exception:
        came_to_an_end = True
        raise
    finally:
        if not came_to_an_end or driver.is_closed() or driver.is_in_transaction():
            await connection.invalidate()
        await connection.close()


@asynccontextmanager
async def transaction_on(connection: AsyncConnection) -> AsyncIterator[Borrowed]:
    """A transaction on a lent connection; a savepoint where that is in one already."""
    driver = await driver_of(connection)
    begun = driver.transaction()
    await begun.start()
    made = Borrowed(connection, driver)
    try:
        yield made
        await made.complete()
    except BaseException:
        with suppress(*DATABASE_ERRORS):  # the first error says more
            await made.close()
            await begun.rollback()
        raise
    await made.close()
    await begun.commit()


async def _living(engine: AsyncEngine) -> AsyncConnection:
    connection = await engine.connect()
    while (await driver_of(connection)).is_closed():
        # The server has closed it while it lay in the pool.
        await connection.invalidate()
        await connection.close()
        connection = await engine.connect()
    return connection


async def driver_of(connection: AsyncConnection) -> asyncpg.Connection:
    """Return asyncpg's own connection below SQLAlchemy's."""
    driver: asyncpg.Connection = (await connection.get_raw_connection()).driver_connection
    return driver


@asynccontextmanager
async def driver_connection(engine: AsyncEngine) -> AsyncIterator[asyncpg.Connection]:
    """Lend a connection of the pool as asyncpg's own, outside of any transaction: for single statements that come
    often, where what SQLAlchemy does for each costs more than the statement itself.
    """
    pooled = await _pooled(engine)
    while pooled.driver_connection is None or pooled.driver_connection.is_closed():
        # The server has closed it while it lay in the pool.
        await greenlet_spawn(pooled.invalidate)
        pooled = await _pooled(engine)
    connection: asyncpg.Connection = pooled.driver_connection
    try:
        yield connection
    finally:
        # An answer that nobody waits for any more (a cancelled request) leaves a connection that is no use.
        # (The pool closes what it has no place for, and waits for that as SQLAlchemy does: in a greenlet.)
        if connection.is_closed() or connection.is_in_transaction():
            await greenlet_spawn(pooled.invalidate)
        await greenlet_spawn(pooled.close)


async def _pooled(engine: AsyncEngine) -> PoolProxiedConnection:
    try:
        return await engine.raw_connection()
    except engine.dialect.loaded_dbapi.Error as error:
        # SQLAlchemy wraps errors of the driver everywhere but here, where they are not even the driver's own.
        raise error.__cause__ or error from None


@asynccontextmanager
async def listening_connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection of its own for LISTEN; it belongs to no pool, since it is never given back."""
    parsed = make_url(url)
    with _told_apart():
        connection = await asyncpg.connect(
            user=parsed.username,
            password=parsed.password,
            database=parsed.database,
            host=parsed.host or parsed.query.get("host"),
            port=int(str(parsed.port or parsed.query.get("port") or 5432)),
            timeout=5,
            server_settings={"application_name": "fastdeploy listener"},
        )
    try:
        yield connection
    finally:
        await connection.close(timeout=2) if not connection.is_closed() else None


def is_away(error: BaseException) -> bool:
    """Whether the error means that the database cannot be reached, rather than that it refused something."""
    state = sql_state(error)
    # 08: connection exceptions; 57P: the server shuts down or starts; 53300: too many connections.
    if state[:2] == "08" or state[:3] == "57P" or state == "53300":
        return True
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or not state
    return isinstance(error, _OUTAGES)


def sql_state(error: BaseException) -> str:
    """Return the five characters by which PostgreSQL tells what is wrong; empty where it was not PostgreSQL."""
    told = error.orig if isinstance(error, DBAPIError) else error
    return str(getattr(told, "sqlstate", None) or "")
