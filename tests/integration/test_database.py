"""Distinguish errors that mean the database is unavailable from errors that mean it rejected a statement."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import text

from deploy.adapters.database import (
    DATABASE_ERRORS,
    Database,
    Unreachable,
    atomically_on,
    dsn_of,
    is_away,
    listening_connection,
    session_of,
    session_scope,
    sql_state,
    transactions,
    without_password,
)
from deploy.adapters.database import pool as pool_module
from deploy.service_layer.ingest import follow as follower
from deploy.service_layer.ingest.follow import persistently
from tests.databases import Databases

TIMEOUT = 20.0
NOBODY = "postgresql+asyncpg://nobody@127.0.0.1:1/nothing"


async def failure(database: Database, statement: str, *values: object) -> BaseException:
    """Return the error that a statement raises."""
    try:
        async with database.transaction() as connection:
            await connection.execute(statement, *values)
    except DATABASE_ERRORS as error:
        return error
    raise AssertionError("no error")


@pytest_asyncio.fixture(loop_scope="session")
async def small(database_url: str) -> AsyncIterator[Database]:
    """Yield a pool of two connections."""
    made = Database(database_url, pool_size=2)
    yield made
    await made.close()


class TestRejectedStatements:
    @pytest.mark.parametrize(
        ("statement", "values"),
        [
            ("SELECT nonsense", []),
            ("SELECT FROM", []),
            ("SELECT 1 / 0", []),
            ("INSERT INTO services (name) VALUES ('no data')", []),
            ("INSERT INTO services (name, data) VALUES ($1, '{}')", ["a\x00b"]),
            ("INSERT INTO services (name, data) VALUES ($1, '{}')", ["\ud800"]),
            ("INSERT INTO services (name, data) VALUES ('a', $1)", ['{"a": NaN}']),
            ("SELECT FROM services WHERE id = $1", [2**63]),
            ("SELECT FROM services WHERE id = $1", ["one"]),
            ("SELECT FROM services WHERE updated < $1", ["yesterday"]),
            ("SELECT FROM services WHERE id = $1", []),
            ("DO $$BEGIN RAISE 'no'; END$$", []),
        ],
    )
    async def test_a_rejected_statement_is_not_an_outage(
        self, shared_database: Database, statement: str, values: list[object]
    ) -> None:
        """Otherwise, code that waits for an outage to end would wait forever."""
        assert not is_away(await failure(shared_database, statement, *values))

    async def test_errors_do_not_contain_the_values(self, database: Database) -> None:
        error = await failure(database, "SELECT 1 / CAST($1 AS integer), CAST($2 AS text)", 0, "s3cret-value")
        assert "division by zero" in str(error)
        assert "s3cret-value" not in f"{error}{error!r}"

    async def test_a_rejected_statement_is_not_retried(self, shared_database: Database) -> None:
        attempts: list[int] = []

        async def attempt() -> None:
            attempts.append(1)
            async with shared_database.connection() as connection:
                await connection.execute("SELECT 1 / 0")

        with pytest.raises(Exception, match="division by zero"):
            await persistently(attempt)
        assert len(attempts) == 1

    async def test_a_rejected_connection_reports_why(self, database_url: str) -> None:
        """This happens when the server is starting up or has too many connections."""
        elsewhere = Database(urlsplit(database_url)._replace(path="/no_such_database").geturl())
        error = await failure(elsewhere, "SELECT 1")
        assert "no_such_database" in str(error)
        assert sql_state(error) == "3D000"
        await elsewhere.close()


class TestOutages:
    async def test_a_closed_connection_is_an_outage(
        self, small: Database, databases: Databases, database_url: str
    ) -> None:
        async with small.connection() as connection:
            await databases.cut_connections(database_url)
            with pytest.raises(DATABASE_ERRORS) as raised:
                await connection.execute("SELECT 1")
        assert is_away(raised.value)

    async def test_a_closed_connection_in_the_pool_is_replaced(
        self, small: Database, databases: Databases, database_url: str
    ) -> None:
        async with small.connection() as connection:
            await connection.execute("SELECT 1")
        await databases.cut_connections(database_url)

        async def attempt() -> int:
            async with small.connection() as connection:
                return int(await connection.fetchval("SELECT 7"))

        assert await asyncio.wait_for(persistently(attempt), TIMEOUT) == 7

    async def test_a_missing_server_is_an_outage(self, tmp_path: Path) -> None:
        for url in (f"postgresql+asyncpg://nobody@/nothing?host={tmp_path}&port=5432", NOBODY):
            database = Database(url)
            error = await failure(database, "SELECT 1")
            assert isinstance(error, Unreachable)
            assert is_away(error)
            await database.close()

    async def test_a_hanging_server_is_an_outage(self) -> None:
        """Connecting to a server that hangs ends in a timeout, which has a different class before Python 3.11."""

        async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with await asyncio.start_server(be_silent, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            url = f"postgresql+asyncpg://nobody@127.0.0.1:{port}/nothing"
            database = Database(url, timeout=0.05)
            assert is_away(await failure(database, "SELECT 1"))
            await database.close()

    async def test_an_exhausted_pool_is_an_outage(self, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pool_module, "POOL_TIMEOUT", 0.01)
        single = Database(database_url, pool_size=1)
        async with single.connection() as connection:
            error = await failure(single, "SELECT 1")
            assert await connection.fetchval("SELECT 7") == 7
        assert isinstance(error, Unreachable)
        assert is_away(error)
        await single.close()

    async def test_a_connection_that_is_being_closed_is_an_outage(self) -> None:
        """The driver has read the server's reason for closing it, but not yet that the connection is closed."""
        error = asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress")
        assert isinstance(error, DATABASE_ERRORS)
        assert is_away(error)

    @pytest.mark.parametrize("error", [FileNotFoundError("a file"), PermissionError("a folder"), TimeoutError()])
    async def test_a_file_error_is_not_an_outage(self, error: OSError) -> None:
        assert not is_away(error)

    async def test_outages_are_retried(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(follower, "FIRST_PAUSE", 0.0)
        errors: list[Exception] = [Unreachable(), asyncpg.InterfaceError("connection is closed")]

        async def attempt() -> str:
            if errors:
                raise errors.pop()
            return "there"

        assert await persistently(attempt) == "there"


class TestValues:
    async def test_times_are_read_unchanged(self, shared_database: Database) -> None:
        moment = datetime(2026, 3, 1, 12, 0, 0, 123_456, timezone.utc)
        async with shared_database.connection() as connection:
            assert await connection.fetchval("SELECT CAST($1 AS timestamptz)", moment) == moment

    async def test_json_is_written_as_text_and_read_parsed(self, shared_database: Database) -> None:
        async with shared_database.connection() as connection:
            assert await connection.fetchval("SELECT CAST($1 AS json)", '{"n": [1, "a\\u0000"]}') == {
                "n": [1, "a\x00"]
            }


async def put_in_transaction(database: Database, n: int) -> None:
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO kept VALUES ($1)", n)


async def put_atomically(database: Database, n: int) -> None:
    async with database.connection() as connection, atomically_on(connection):
        await connection.execute("INSERT INTO kept VALUES ($1)", n)


async def put_alone(database: Database, n: int) -> None:
    async with database.connection() as connection:
        await connection.execute("INSERT INTO kept VALUES ($1)", n)


async def put_with_session(database: Database, n: int) -> None:
    async with database.transaction() as connection, session_scope(connection):
        await session_of(connection).execute(text("INSERT INTO kept VALUES (:n)"), {"n": n})


class CuttableConnection:
    """A TCP connection to the server that can be cut: no data gets through, and neither side is notified."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query))
        self.cut = asyncio.Event()
        self._socket = f"{options['host']}/.s.PGSQL.{options['port']}"
        self._parts = parts
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Return the URL of the same database through this connection."""
        host, port = self._server.sockets[0].getsockname()
        signed_in, _, _ = self._parts.netloc.rpartition("@")
        return self._parts._replace(netloc=f"{signed_in}@{host}:{port}", query="ssl=disable").geturl()

    async def __aenter__(self) -> CuttableConnection:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._socket)
        for source, target in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._forward(source, target))
            self._tasks.add(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            while data := await reader.read(65536):
                if not self.cut.is_set():
                    writer.write(data)


Put: TypeAlias = Callable[[Database, int], Coroutine[Any, Any, None]]


class TestInterruptions:
    """A statement canceled at any moment does not affect the next user of the same connection."""

    @pytest_asyncio.fixture(loop_scope="session")
    async def single(self, database_url: str) -> AsyncIterator[Database]:
        """Yield a pool of one connection, and a table."""
        made = Database(database_url, pool_size=1)
        async with made.connection() as connection:
            await connection.execute("CREATE TABLE kept (n int)")
        yield made
        await made.close()

    @pytest.mark.parametrize(
        ("victim", "next_one"),
        [
            (put_in_transaction, put_atomically),
            (put_atomically, put_alone),
            (put_alone, put_in_transaction),
            (put_with_session, put_with_session),
            # In the first tier, each way is interrupted once and follows an interruption once.
            *(
                pytest.param(victim, next_one, marks=pytest.mark.slow)
                for victim, next_one in [
                    (put_in_transaction, put_in_transaction),
                    (put_in_transaction, put_alone),
                    (put_in_transaction, put_with_session),
                    (put_atomically, put_in_transaction),
                    (put_atomically, put_atomically),
                    (put_alone, put_atomically),
                    (put_alone, put_alone),
                    (put_with_session, put_alone),
                ]
            ),
        ],
    )
    async def test_cancellation_at_any_moment_does_not_affect_later_statements(
        self, single: Database, victim: Put, next_one: Put
    ) -> None:
        rounds = range(60)
        for n in rounds:
            interrupted = asyncio.create_task(victim(single, -1))
            for _ in range(n % 20):
                await asyncio.sleep(0)  # one iteration of the loop
            interrupted.cancel()
            await asyncio.wait([interrupted])
            await next_one(single, n)
        async with single.connection() as connection:
            found = await connection.fetch("SELECT n FROM kept WHERE n >= 0 ORDER BY n")
        assert [row[0] for row in found] == list(rounds)

    async def test_a_cancelled_statement_is_stopped_on_the_server(self, small: Database) -> None:
        async def read(query: str) -> object:
            async with small.connection() as connection:
                return await connection.fetchval(query)

        asking = asyncio.create_task(read("SELECT pg_sleep(600)"))
        asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"

        async def until(count: int) -> None:
            while await read(asleep) != count:  # noqa: ASYNC110 - the server does not notify anyone
                await asyncio.sleep(0.005)

        await asyncio.wait_for(until(1), TIMEOUT)
        asking.cancel()
        await asyncio.wait([asking])
        await asyncio.wait_for(until(0), TIMEOUT)
        assert [await read(f"SELECT {n}") for n in range(5)] == [0, 1, 2, 3, 4]

    async def test_cancellation_on_a_dead_connection_is_raised(
        self, small: Database, databases: Databases, database_url: str
    ) -> None:
        """Otherwise, a loop that retries database errors would never end."""
        cut, never = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            async with small.transaction() as connection:
                await connection.execute("SELECT 1")
                await databases.cut_connections(database_url)
                cut.set()
                await never.wait()

        working = asyncio.create_task(persistently(work))
        await cut.wait()
        working.cancel()
        await asyncio.wait([working], timeout=TIMEOUT)
        assert working.cancelled()

    async def test_cancellation_on_a_hanging_server_is_quick(
        self, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without a timeout, it would wait for a response forever."""
        monkeypatch.setattr(transactions, "END_TIMEOUT", 0.05)
        monkeypatch.setattr(pool_module, "END_TIMEOUT", 0.05)
        async with CuttableConnection(database_url) as connection_to_cut:
            pool = Database(connection_to_cut.url)
            never = asyncio.Event()

            async def work() -> None:
                async with pool.transaction() as connection:
                    await connection.execute("SELECT 1")
                    connection_to_cut.cut.set()
                    await connection.execute("SELECT 2")
                    await never.wait()

            working = asyncio.create_task(work())
            await connection_to_cut.cut.wait()
            working.cancel()
            await asyncio.wait([working], timeout=TIMEOUT)
            assert working.cancelled()
            await asyncio.wait_for(pool.close(), TIMEOUT)


class TestPool:
    async def test_the_pool_knows_its_own_connections(self, database: Database, small: Database) -> None:
        async with database.connection() as connection:
            pid = connection.get_server_pid()
            assert database.owns(pid)
            assert not small.owns(pid)
        assert database.owns(pid)
        await database.close()
        assert not database.owns(pid)

    async def test_a_burst_opens_only_connections_that_the_pool_keeps(self, small: Database) -> None:
        async def read(n: int) -> tuple[int, int]:
            async with small.connection() as connection:
                return int(await connection.fetchval(f"SELECT {n}")), int(connection.get_server_pid())

        first = await asyncio.gather(*(read(n) for n in range(20)))
        second = await asyncio.gather(*(read(n) for n in range(20)))
        assert [n for n, _ in first + second] == [*range(20)] * 2
        assert len({pid for _, pid in first + second}) == 2

    async def test_an_error_rolls_back(self, database: Database) -> None:
        async def fail() -> None:
            async with database.transaction() as connection:
                await connection.execute("CREATE TABLE gone ()")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT to_regclass('gone') IS NULL")

    async def test_the_pool_closes_even_with_a_connection_in_use(
        self, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pool_module, "END_TIMEOUT", 0.01)
        pool = Database(database_url)
        async with pool.connection() as connection:
            await pool.close()
            with pytest.raises(asyncpg.InterfaceError):
                await connection.execute("SELECT 1")


class TestDatabaseUrl:
    @pytest.mark.parametrize(
        ("url", "dsn", "shown"),
        [
            ("postgresql+asyncpg://ada@db/app", "postgresql://ada@db/app", "postgresql+asyncpg://ada@db/app"),
            (
                "postgresql+asyncpg://ada:s%2Fc@db:5433/app?ssl=require",
                "postgresql://ada:s%2Fc@db:5433/app?sslmode=require",
                "postgresql+asyncpg://ada:***@db:5433/app?ssl=require",
            ),
            (
                "postgresql+asyncpg://ada:pw@/app?host=/srv/a%20b&port=5432",
                "postgresql://ada:pw@/app?host=%2Fsrv%2Fa+b&port=5432",
                "postgresql+asyncpg://ada:***@/app?host=%2Fsrv%2Fa+b&port=5432",
            ),
            (
                "postgresql+asyncpg://ada:1/p#s?t[u&v@[::1]:5433/app",
                "postgresql://ada:1%2Fp%23s%3Ft%5Bu%26v@[::1]:5433/app",
                "postgresql+asyncpg://ada:***@[::1]:5433/app",
            ),
            (
                "postgresql+asyncpg:///app?host=one:5432&host=two:5433",
                "postgresql:///app?host=one%3A5432%2Ctwo%3A5433",
                "postgresql+asyncpg:///app?host=one%3A5432&host=two%3A5433",
            ),
            (
                "postgresql+asyncpg://ada:pw@one:5432,two:5433/app",
                "postgresql://ada:pw@/app?host=one%3A5432%2Ctwo%3A5433",
                "postgresql+asyncpg://ada:***@/app?host=one%3A5432&host=two%3A5433",
            ),
        ],
    )
    def test_the_url_is_converted_for_the_driver_and_for_display(self, url: str, dsn: str, shown: str) -> None:
        assert dsn_of(url) == dsn
        assert without_password(url) == shown

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("", "must look like"),
            ("app", "must look like"),
            ("postgresql+asyncpg://db:port/app", "port must be a number"),
            ("postgresql+asyncpg://db:99999/app", "between 0 and 65535"),
            ("postgresql+asyncpg://ada:hush/hush@db:-1/app", "between 0 and 65535"),
            ("postgresql+asyncpg://ada:hush/hush#@db:port/app", "port must be a number"),
        ],
    )
    def test_an_invalid_url_is_rejected_without_its_password(self, url: str, reason: str) -> None:
        with pytest.raises(ValueError, match=reason) as raised:
            dsn_of(url)
        assert "hush" not in f"{raised.value}{without_password(url)}"

    @pytest.mark.parametrize(
        "password",
        [
            "a/b",
            "a%40b",
            "ä&+",
            *(pytest.param(text, marks=pytest.mark.slow) for text in ("a#b", "a?b", "a[b", "a%25b", "a:b", "a b")),
        ],
    )
    async def test_any_password_works(self, database: Database, database_url: str, password: str) -> None:
        role = f"ada_{uuid.uuid4().hex}"
        async with database.connection() as connection:
            await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{unquote(password)}'")
        parts = urlsplit(database_url)
        theirs = Database(f"postgresql+asyncpg://{role}:{password}@{parts.path}?{parts.query}")
        async with theirs.connection() as connection:
            assert await connection.fetchval("SELECT current_user") == role
        await theirs.close()
        async with database.connection() as connection:
            await connection.execute(f"DROP ROLE {role}")


class TestListeningConnection:
    async def test_the_listening_connection_is_not_from_the_pool(self, database_url: str) -> None:
        async with listening_connection(database_url) as connection:
            name = await connection.fetchval("SHOW application_name")
            assert name == "fastdeploy listener"
        assert connection.is_closed()

    async def test_a_missing_server_is_an_error(self) -> None:
        with pytest.raises(Unreachable):
            async with listening_connection(NOBODY):
                pass

    async def test_the_listening_connection_uses_the_same_database(self, database_url: str) -> None:
        async with listening_connection(database_url) as connection:
            assert await connection.fetchval("SELECT current_database()") == urlsplit(database_url).path[1:]


async def test_log_sql_logs_statements_with_durations_and_without_values(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(database_url, log_sql=True)
    try:
        with caplog.at_level(logging.INFO, logger="deploy.adapters.database"):
            async with database.connection() as connection:
                await connection.fetchval("SELECT $1::text\n  AS given", "hush-hush")
                with pytest.raises(asyncpg.UndefinedTableError):
                    await connection.execute("SELECT * FROM missing")
                await asyncio.sleep(0)  # asyncpg logs in the next loop iteration
    finally:
        await database.close()
    found = [record.getMessage() for record in caplog.records]
    assert any(re.fullmatch(r"SQL \d+\.\d ms: SELECT \$1::text AS given", message) for message in found)
    assert any(
        re.fullmatch(r"SQL .* failed: UndefinedTableError: SELECT \* FROM missing", message) for message in found
    )
    assert "hush-hush" not in caplog.text
