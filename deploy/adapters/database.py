"""The connection pool, its transactions, and the one connection per process that listens for notifications."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import asyncpg
from asyncpg.exceptions import ClientConfigurationError

log = logging.getLogger(__name__)

CHANNEL = "fastdeploy"
QUEUE_CHANNEL = "procrastinate_any_queue_v1"
# Seconds to wait for a pooled connection, and for a connection to close before it is terminated.
POOL_TIMEOUT, END_TIMEOUT = 30.0, 2.0


class Unreachable(ConnectionError):
    """The database cannot be reached. (A plain OSError can have other causes, such as a file.)"""


_OUTAGES = (
    Unreachable,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # The server has announced that it will close the connection but has not done so yet.
    asyncpg.InternalClientError,
)
# Errors that background tasks survive: the database is unreachable (see `is_away`) or rejects a statement, or the
# system has a problem. (Before Python 3.11, a timeout is not an OSError.)
DATABASE_ERRORS = (asyncpg.PostgresError, OSError, asyncio.TimeoutError, *_OUTAGES)


class Database:
    """The connection pool of a process. It connects on demand and replaces dead connections.

    The pool keeps connections open, and callers wait for a free one, because opening a connection takes longer than
    ten transactions. `timeout` is the limit for opening a connection, in seconds. With `log_sql`, every statement is
    logged with its duration.
    """

    def __init__(self, url: str, *, pool_size: int = 20, timeout: float = 5.0, log_sql: bool = False) -> None:
        self.url = url
        self._size = pool_size
        self._timeout = timeout
        self._log_sql = log_sql
        self._pool: asyncpg.Pool | None = None
        self._server_pids: set[int] = set()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """Yield a connection in autocommit mode.

        Raises:
            Unreachable: No connection is available.
        """
        pool = self._pool or await self._opened()
        connection = await _acquired(pool)
        try:
            yield connection
        finally:
            # If the connection died, there is nothing to release, and the first error is more informative. Before
            # reusing an interrupted connection, the pool waits until it is idle and rolls back its transaction.
            with suppress(*DATABASE_ERRORS):
                await pool.release(connection, timeout=END_TIMEOUT)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[asyncpg.Connection]:
        """Yield a connection in a transaction. Commit at the end, or roll back on any error."""
        async with self.connection() as connection, transaction_on(connection):
            yield connection

    def owns(self, server_pid: int) -> bool:
        """Return True if the PostgreSQL process serves one of these connections."""
        return server_pid in self._server_pids

    async def close(self) -> None:
        """Close all connections. Terminate those that are still in use after two seconds."""
        pool, self._pool = self._pool, None
        if pool is not None:
            with suppress(*DATABASE_ERRORS):
                await asyncio.wait_for(pool.close(), END_TIMEOUT)

    async def _opened(self) -> asyncpg.Pool:
        # The pool belongs to the current event loop. Awaiting it does not open a connection and does not block.
        self._pool = asyncpg.create_pool(
            dsn_of(self.url),
            min_size=0,
            max_size=self._size,
            max_queries=1 << 62,
            max_inactive_connection_lifetime=0,
            connect=_connected,
            timeout=self._timeout,
            init=self._begin,
            # The only state that can remain on a connection is a transaction, which is rolled back anyway.
            reset=_leave_as_it_is,
            server_settings={"application_name": "fastdeploy"},
        )
        return await self._pool

    async def _begin(self, connection: asyncpg.Connection) -> None:
        # JSON is passed as text and returned parsed.
        await connection.set_type_codec("json", schema="pg_catalog", encoder=str, decoder=_read_json)
        # Generic plans work for all values. Otherwise each connection would plan each statement five times first.
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        if self._log_sql:
            connection.add_query_logger(_log_statement)
        server_pid = connection.get_server_pid()
        self._server_pids.add(server_pid)
        connection.add_termination_listener(lambda _connection: self._server_pids.discard(server_pid))


def _log_statement(query: asyncpg.connection.LoggedQuery) -> None:
    # Do not log the values: they include password hashes, secrets, and output.
    outcome = f" failed: {type(query.exception).__name__}" if query.exception is not None else ""
    log.info("SQL %.1f ms%s: %s", query.elapsed * 1000, outcome, " ".join(query.query.split()))


def _read_json(text: str) -> Any:
    # Shortcut for the most common values.
    return {} if text == "{}" else [] if text == "[]" else json.loads(text)


async def _acquired(pool: asyncpg.Pool) -> asyncpg.Connection:
    try:
        return await pool.acquire(timeout=POOL_TIMEOUT)
    except asyncio.TimeoutError as error:
        raise Unreachable("all connections of the pool are in use") from error


async def _connected(dsn: str, **options: Any) -> asyncpg.Connection:
    """Connect, and raise Unreachable if that fails."""
    try:
        return await asyncpg.connect(dsn, **options)
    except asyncio.TimeoutError as error:  # before Python 3.11, it is not an OSError
        raise Unreachable("the database did not respond in time") from error
    except OSError as error:
        raise Unreachable(str(error)) from error


async def _leave_as_it_is(_connection: asyncpg.Connection) -> None:
    return


@asynccontextmanager
async def transaction_on(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Run a transaction on a connection, or a savepoint if a transaction is already active.

    On a dead connection, asyncpg's own context manager replaces a cancellation with the error of the rollback, so the
    canceled task would continue. It also waits forever on an unresponsive connection.
    """
    begun = connection.transaction()
    await begun.__aenter__()
    try:
        yield
    except BaseException as error:
        with suppress(*DATABASE_ERRORS):
            await asyncio.wait_for(begun.__aexit__(type(error), error, error.__traceback__), END_TIMEOUT)
        raise
    await begun.__aexit__(None, None, None)


@asynccontextmanager
async def atomically_on(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Make the block atomic: start a transaction unless one is active."""
    if connection.is_in_transaction():
        yield
        return
    async with transaction_on(connection):
        yield


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


# Parse the URL like SQLAlchemy does: the password is everything up to the @, even a slash or #.
_URL = re.compile(r"[^:/]+://(?:(?P<user>[^:/@]*)(?::(?P<password>[^@]*))?@)?(?P<rest>[^?]*)(?:\?(?P<options>.*))?")


def dsn_of(url: str) -> str:
    """Return a DATABASE_URL (`postgresql+asyncpg://…`) in asyncpg's format.

    Options have their libpq names; `ssl` is asyncpg's own name for `sslmode`.

    Raises:
        ValueError: The URL is invalid.
    """
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError("it must look like postgresql+asyncpg://user:password@host:port/database")
    user, password = (quote(unquote(found[name] or ""), safe="") for name in ("user", "password"))
    signed_in = f"{user}:{password}@" if password else f"{user}@" if user else ""
    options: dict[str, str] = {}
    for name, value in parse_qsl(found["options"] or ""):
        own = "sslmode" if name == "ssl" else name
        options[own] = f"{options[own]},{value}" if own in options else value  # several hosts
    dsn = f"postgresql://{signed_in}{found['rest']}{'?' if options else ''}{urlencode(options)}"
    _ = urlsplit(dsn).port if "," not in found["rest"] else None  # raises ValueError if the port is not a number
    return dsn


def without_password(url: str) -> str:
    """Return a DATABASE_URL with the password masked."""
    found = _URL.fullmatch(url)
    if found is None or found["password"] is None:
        return url
    return f"{url[: found.start('password')]}***{url[found.end('password') :]}"


def is_away(error: BaseException) -> bool:
    """Return True if the error means that the database is unreachable rather than that it rejected something."""
    state = sql_state(error)
    # 08: connection exceptions; 57P: the server is shutting down or starting; 53300: too many connections.
    if state[:2] == "08" or state[:3] == "57P" or state == "53300":
        return True
    # Retrying does not fix an invalid address.
    return isinstance(error, _OUTAGES) and not isinstance(error, ClientConfigurationError)


def sql_state(error: BaseException) -> str:
    """Return the five-character SQLSTATE of a PostgreSQL error, or an empty string for other errors."""
    return str(getattr(error, "sqlstate", None) or "")
