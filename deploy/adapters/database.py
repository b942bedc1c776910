"""The connection pool, transactions on it, and the one connection per process that listens."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import asyncpg
from asyncpg.exceptions import ClientConfigurationError

CHANNEL = "fastdeploy"
QUEUE_CHANNEL = "procrastinate_any_queue_v1"
# Seconds: until whoever waits for a connection gives up, and until one is ended by force that does not come to rest.
POOL_PATIENCE, END_PATIENCE = 30.0, 2.0


class Unreachable(ConnectionError):
    """No connection can be made to the database. (By itself an OSError could be about anything, a file for instance.)"""


_OUTAGES = (
    Unreachable,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # The server has said that it closes the connection, but has not done so yet.
    asyncpg.InternalClientError,
)
# What work that goes on for ever survives: the database is away (`is_away` tells), it refuses something, or the system
# is in trouble. (Before Python 3.11 a timeout is no OSError.)
DATABASE_ERRORS = (asyncpg.PostgresError, OSError, asyncio.TimeoutError, *_OUTAGES)


class Database:
    """The pool of a process. Nothing is connected before it is needed; a connection that died meanwhile is replaced.

    Connections stay once they are made, and whoever finds none free waits for one, since a new one costs more than ten
    transactions. `patience`: how many seconds a new connection may take.
    """

    def __init__(self, url: str, *, pool_size: int = 20, patience: float = 5.0) -> None:
        self.url = url
        self._size = pool_size
        self._patience = patience
        self._pool: asyncpg.Pool | None = None
        self._server_pids: set[int] = set()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection, on which each statement commits by itself.

        Raises:
            Unreachable: there is none to be had.
        """
        pool = self._pool or await self._opened()
        connection = await _acquired(pool)
        try:
            yield connection
        finally:
            # Where it has died, there is nothing to give back, and the first error says more. An interrupted one the
            # pool gives to nobody before it has come to rest, and rolls back what it was in.
            with suppress(*DATABASE_ERRORS):
                await pool.release(connection, timeout=END_PATIENCE)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[asyncpg.Connection]:
        """Lend a connection in a transaction, which commits at the end, or rolls back on any error."""
        async with self.connection() as connection, transaction_on(connection):
            yield connection

    def owns(self, server_pid: int) -> bool:
        """Whether that process of the server is the other end of one of these connections."""
        return server_pid in self._server_pids

    async def close(self) -> None:
        """End all connections, in two seconds those that are still in use, too."""
        pool, self._pool = self._pool, None
        if pool is not None:
            with suppress(*DATABASE_ERRORS):
                await asyncio.wait_for(pool.close(), END_PATIENCE)

    async def _opened(self) -> asyncpg.Pool:
        # Belongs to the event loop in which it is made. Awaiting it makes no connection, and does not wait.
        self._pool = asyncpg.create_pool(
            dsn_of(self.url),
            min_size=0,
            max_size=self._size,
            max_queries=1 << 62,
            max_inactive_connection_lifetime=0,
            connect=_connected,
            timeout=self._patience,
            init=self._begin,
            # Nothing of ours is left on a connection but a transaction, which is rolled back in any case.
            reset=_leave_as_it_is,
            server_settings={"application_name": "fastdeploy"},
        )
        return await self._pool

    async def _begin(self, connection: asyncpg.Connection) -> None:
        # JSON goes in as text, and comes out as what it says.
        await connection.set_type_codec("json", schema="pg_catalog", encoder=str, decoder=_read_json)
        # Every plan serves for every value; each connection would find that out by planning each statement five times.
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        server_pid = connection.get_server_pid()
        self._server_pids.add(server_pid)
        connection.add_termination_listener(lambda _connection: self._server_pids.discard(server_pid))


def _read_json(text: str) -> Any:
    # What most columns hold; the reader takes longer to start than to read it.
    return {} if text == "{}" else [] if text == "[]" else json.loads(text)


async def _acquired(pool: asyncpg.Pool) -> asyncpg.Connection:
    try:
        return await pool.acquire(timeout=POOL_PATIENCE)
    except asyncio.TimeoutError as error:
        raise Unreachable("no connection is free") from error


async def _connected(dsn: str, **options: Any) -> asyncpg.Connection:
    """Connect; where that fails, raise Unreachable rather than what it fails by."""
    try:
        return await asyncpg.connect(dsn, **options)
    except asyncio.TimeoutError as error:  # before Python 3.11 it is no OSError
        raise Unreachable("it does not answer in time") from error
    except OSError as error:
        raise Unreachable(str(error)) from error


async def _leave_as_it_is(_connection: asyncpg.Connection) -> None:
    return


@asynccontextmanager
async def transaction_on(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """A transaction on a lent connection; a savepoint where that is in one already.

    Asyncpg's own context manager lets the error of a rollback on a dead connection take the place of an interruption,
    which then is none: what was to end would go on. And on one that has fallen silent it waits for ever.
    """
    begun = connection.transaction()
    await begun.__aenter__()
    try:
        yield
    except BaseException as error:
        with suppress(*DATABASE_ERRORS):
            await asyncio.wait_for(begun.__aexit__(type(error), error, error.__traceback__), END_PATIENCE)
        raise
    await begun.__aexit__(None, None, None)


@asynccontextmanager
async def atomically_on(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """What is done in here is done as a whole, or not at all. In a transaction, that is all the same."""
    if connection.is_in_transaction():
        yield
        return
    async with transaction_on(connection):
        yield


async def connect(url: str, name: str, patience: float = 5.0) -> asyncpg.Connection:
    """Open a connection of its own, which the server calls `name`; whoever asks for it closes it.

    Raises:
        Unreachable: it cannot be opened within `patience` seconds.
    """
    return await _connected(dsn_of(url), timeout=patience, server_settings={"application_name": name})


@asynccontextmanager
async def listening_connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection of its own for LISTEN; it belongs to no pool, since it is never given back."""
    connection = await connect(url, "fastdeploy listener")
    try:
        yield connection
    finally:
        await connection.close(timeout=END_PATIENCE) if not connection.is_closed() else None


# As SQLAlchemy reads it: whatever stands before the @ is the password, though a slash or a # be in it.
_URL = re.compile(r"[^:/]+://(?:(?P<user>[^:/@]*)(?::(?P<password>[^@]*))?@)?(?P<rest>[^?]*)(?:\?(?P<options>.*))?")


def dsn_of(url: str) -> str:
    """Return a DATABASE_URL (`postgresql+asyncpg://…`) as asyncpg reads it. Options are named as libpq names them; `ssl`
    is asyncpg's own name for `sslmode`.

    Raises:
        ValueError: it is none.
    """
    found = _URL.fullmatch(url)
    if found is None:
        raise ValueError("it is not like postgresql+asyncpg://user:password@host:port/database")
    user, password = (quote(unquote(found[name] or ""), safe="") for name in ("user", "password"))
    signed_in = f"{user}:{password}@" if password else f"{user}@" if user else ""
    options: dict[str, str] = {}
    for name, value in parse_qsl(found["options"] or ""):
        own = "sslmode" if name == "ssl" else name
        options[own] = f"{options[own]},{value}" if own in options else value  # several hosts
    dsn = f"postgresql://{signed_in}{found['rest']}{'?' if options else ''}{urlencode(options)}"
    _ = urlsplit(dsn).port if "," not in found["rest"] else None  # complains of what is no number
    return dsn


def without_password(url: str) -> str:
    """Return a DATABASE_URL as it may be shown."""
    found = _URL.fullmatch(url)
    if found is None or found["password"] is None:
        return url
    return f"{url[: found.start('password')]}***{url[found.end('password') :]}"


def is_away(error: BaseException) -> bool:
    """Whether the error means that the database cannot be reached, rather than that it refused something."""
    state = sql_state(error)
    # 08: connection exceptions; 57P: the server shuts down or starts; 53300: too many connections.
    if state[:2] == "08" or state[:3] == "57P" or state == "53300":
        return True
    # What is wrong with an address does not change by waiting.
    return isinstance(error, _OUTAGES) and not isinstance(error, ClientConfigurationError)


def sql_state(error: BaseException) -> str:
    """Return the five characters by which PostgreSQL tells what is wrong; empty where it was not PostgreSQL."""
    return str(getattr(error, "sqlstate", None) or "")
