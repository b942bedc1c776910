"""The connection pool, and the one connection per process that listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
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


def create_engine(url: str, *, pool_size: int = 10, patience: float = 5.0) -> AsyncEngine:
    """Return the pool of a process. A connection that died meanwhile is replaced before it is used.

    `patience`: how many seconds a new connection may take.
    """
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
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


def create_sessions(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    """Return the factory of sessions; what was loaded stays readable after the commit."""
    return async_sessionmaker(engine, expire_on_commit=False, autoflush=False)


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
