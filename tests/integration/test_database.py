"""What counts as a database that is away, and what as one that refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine

from deploy.adapters.database import (
    DATABASE_ERRORS,
    Unreachable,
    create_engine,
    driver_connection,
    is_away,
    listening_connection,
    sql_state,
    statements,
    transactions,
)
from deploy.service_layer import follower
from deploy.service_layer.follower import persistently
from tests.databases import Databases


async def failure(engine: AsyncEngine, statement: str, **values: object) -> BaseException:
    """Return the error that a statement ends in."""
    try:
        async with engine.begin() as connection:
            await connection.execute(text(statement), values)
    except DATABASE_ERRORS as error:
        return error
    raise AssertionError("no error")


class TestRefusals:
    @pytest.mark.parametrize(
        ("statement", "values"),
        [
            ("SELECT nonsense", {}),
            ("SELECT FROM", {}),
            ("SELECT 1 / 0", {}),
            ("INSERT INTO services (name) VALUES ('no data')", {}),
            ("INSERT INTO services (name, data) VALUES (:name, '{}')", {"name": "a\x00b"}),
            ("INSERT INTO services (name, data) VALUES (:name, '{}')", {"name": "\ud800"}),
            ("INSERT INTO services (name, data) VALUES ('a', :data)", {"data": '{"a": NaN}'}),
            ("SELECT FROM services WHERE id = :id", {"id": 2**63}),
            ("SELECT FROM services WHERE id = :id", {"id": "one"}),
            ("SELECT FROM services WHERE updated < :now", {"now": "yesterday"}),
            ("DO $$BEGIN RAISE 'no'; END$$", {}),
        ],
    )
    async def test_they_are_no_outage(
        self, shared_engine: AsyncEngine, statement: str, values: dict[str, object]
    ) -> None:
        """Whoever waits for them to go by waits for ever."""
        assert not is_away(await failure(shared_engine, statement, **values))

    async def test_they_do_not_tell_what_was_to_be_stored(self, database_url: str) -> None:
        engine = create_engine(database_url)
        try:
            error = await failure(engine, "SELECT 1 / CAST(:zero AS integer), :said", zero=0, said="s3cret-value")
        finally:
            await engine.dispose()
        assert "division by zero" in str(error)
        assert "s3cret-value" not in f"{error}{error!r}"

    async def test_they_are_not_tried_again(self, shared_engine: AsyncEngine) -> None:
        attempts: list[int] = []

        async def attempt() -> None:
            attempts.append(1)
            async with shared_engine.connect() as connection:
                await connection.execute(text("SELECT 1 / 0"))

        with pytest.raises(Exception, match="division by zero"):
            await persistently(attempt)
        assert len(attempts) == 1


class TestOutages:
    @pytest_asyncio.fixture(loop_scope="session")
    async def small(self, database_url: str) -> AsyncIterator[AsyncEngine]:
        """A pool of two connections."""
        engine = create_engine(database_url, pool_size=2)
        yield engine
        await engine.dispose()

    async def test_a_connection_that_was_cut(
        self, small: AsyncEngine, databases: Databases, database_url: str
    ) -> None:
        async with small.connect() as connection:
            await connection.execute(text("SELECT 1"))
            await databases.cut_connections(database_url)
            with pytest.raises(DATABASE_ERRORS) as raised:
                await connection.execute(text("SELECT 1"))
        assert is_away(raised.value)

    async def test_the_pool_recovers(self, small: AsyncEngine, databases: Databases, database_url: str) -> None:
        async with small.connect() as connection:
            await connection.execute(text("SELECT 1"))
        await databases.cut_connections(database_url)

        async def attempt() -> int:
            async with small.connect() as connection:
                return int(await connection.scalar(text("SELECT 7")) or 0)

        assert await persistently(attempt) == 7

    async def test_nobody_listens_there(self, tmp_path: Path) -> None:
        engine = create_engine(f"postgresql+asyncpg://nobody@/nothing?host={tmp_path}&port=5432")
        assert is_away(await failure(engine, "SELECT 1"))
        refused = create_engine("postgresql+asyncpg://nobody@127.0.0.1:1/nothing")
        assert is_away(await failure(refused, "SELECT 1"))
        await engine.dispose()
        await refused.dispose()

    async def test_somebody_listens_there_and_says_nothing(self) -> None:
        """A server that hangs: connecting ends in a timeout, which has another class before Python 3.11."""

        async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with await asyncio.start_server(be_silent, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            url = f"postgresql+asyncpg://nobody@127.0.0.1:{port}/nothing"
            engine = create_engine(url, patience=0.05)
            assert is_away(await failure(engine, "SELECT 1"))
            await engine.dispose()

    async def test_no_connection_is_free(self) -> None:
        assert is_away(PoolTimeout())

    async def test_a_connection_whose_end_is_on_its_way(self) -> None:
        """The driver has read why the server closes it, and not yet that it is closed."""
        error = asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress")
        assert isinstance(error, DATABASE_ERRORS)
        assert is_away(error)

    @pytest.mark.parametrize("error", [FileNotFoundError("a file"), PermissionError("a folder"), TimeoutError()])
    async def test_trouble_with_a_file_is_none(self, error: OSError) -> None:
        assert not is_away(error)

    async def test_it_is_tried_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(follower, "FIRST_PAUSE", 0.0)
        errors: list[Exception] = [Unreachable(), PoolTimeout()]

        async def attempt() -> str:
            if errors:
                raise errors.pop()
            return "there"

        assert await persistently(attempt) == "there"


class TestTimes:
    async def test_they_come_back_as_they_were(self, shared_engine: AsyncEngine) -> None:
        moment = datetime(2026, 3, 1, 12, 0, 0, 123_456, timezone.utc)
        async with shared_engine.connect() as connection:
            found = await connection.scalar(text("SELECT CAST(:moment AS timestamptz)"), {"moment": moment})
        assert found == moment


async def put_in_transaction(engine: AsyncEngine, n: int) -> None:
    async with transactions(engine)() as borrowed:
        await borrowed.driver.execute("INSERT INTO kept VALUES ($1)", n)


async def put_atomically(engine: AsyncEngine, n: int) -> None:
    async with statements(engine)() as borrowed, borrowed.atomically():
        await borrowed.driver.execute("INSERT INTO kept VALUES ($1)", n)


async def put_alone(engine: AsyncEngine, n: int) -> None:
    async with statements(engine)() as borrowed:
        await borrowed.driver.execute("INSERT INTO kept VALUES ($1)", n)


Put: TypeAlias = Callable[[AsyncEngine, int], Coroutine[Any, Any, None]]


class TestBorrowed:
    """Whoever is interrupted, at whatever moment, spoils nothing for the next one on the same connection."""

    @pytest_asyncio.fixture(loop_scope="session")
    async def only(self, database_url: str) -> AsyncIterator[AsyncEngine]:
        """A pool of one connection, and a table."""
        engine = create_engine(database_url, pool_size=1)
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE kept (n int)"))
        yield engine
        await engine.dispose()

    @pytest.mark.parametrize("victim", [put_in_transaction, put_atomically])
    @pytest.mark.parametrize("next_one", [put_in_transaction, put_atomically, put_alone])
    async def test_an_interruption_at_any_moment(self, only: AsyncEngine, victim: Put, next_one: Put) -> None:
        rounds = range(60)
        for n in rounds:
            interrupted = asyncio.create_task(victim(only, -1))
            for _ in range(n % 20):
                await asyncio.sleep(0)  # one turn of the loop
            interrupted.cancel()
            await asyncio.wait([interrupted])
            await next_one(only, n)
        async with only.connect() as connection:
            found = await connection.scalars(text("SELECT n FROM kept WHERE n >= 0 ORDER BY n"))
            assert list(found) == list(rounds)


class TestDriverConnection:
    """A connection of the pool without SQLAlchemy, whose errors are SQLAlchemy's no more."""

    @pytest_asyncio.fixture(loop_scope="session")
    async def only(self, database_url: str) -> AsyncIterator[AsyncEngine]:
        """A pool of two connections."""
        engine = create_engine(database_url, pool_size=2)
        yield engine
        await engine.dispose()

    async def test_one_that_was_cut_in_the_pool_is_replaced(
        self, only: AsyncEngine, databases: Databases, database_url: str
    ) -> None:
        async with driver_connection(only) as connection:
            await connection.execute("SELECT 1")
        await databases.cut_connections(database_url)

        async def attempt() -> int:
            async with driver_connection(only) as connection:
                return int(await connection.fetchval("SELECT 7"))

        assert await persistently(attempt) == 7

    async def test_one_that_is_cut_in_use_is_an_outage(
        self, only: AsyncEngine, databases: Databases, database_url: str
    ) -> None:
        async with driver_connection(only) as connection:
            await databases.cut_connections(database_url)
            with pytest.raises(DATABASE_ERRORS) as raised:
                await connection.execute("SELECT 1")
        assert is_away(raised.value)

    async def test_a_statement_that_was_given_up_spoils_nothing(self, only: AsyncEngine) -> None:
        async def read(query: str) -> object:
            async with driver_connection(only) as connection:
                return await connection.fetchval(query)

        asking = asyncio.create_task(read("SELECT pg_sleep(600)"))
        async with only.connect() as other:
            asleep = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
            while not await other.scalar(asleep):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.005)
        asking.cancel()
        await asyncio.wait([asking])
        assert [await read(f"SELECT {n}") for n in range(5)] == [0, 1, 2, 3, 4]

    async def test_a_burst_makes_no_more_connections_than_stay(self, only: AsyncEngine) -> None:
        async def read(n: int) -> tuple[int, int]:
            async with driver_connection(only) as connection:
                return int(await connection.fetchval(f"SELECT {n}")), int(connection.get_server_pid())

        first = await asyncio.gather(*(read(n) for n in range(20)))
        second = await asyncio.gather(*(read(n) for n in range(20)))
        assert [n for n, _ in first + second] == [*range(20)] * 2
        assert len({pid for _, pid in first + second}) == 2

    async def test_nobody_listens_there(self) -> None:
        engine = create_engine("postgresql+asyncpg://nobody@127.0.0.1:1/nothing")
        with pytest.raises(Unreachable):
            async with driver_connection(engine):
                pass

    async def test_a_server_that_refuses_to_connect_says_why(self, database_url: str) -> None:
        """As it does while it starts up, or has too many connections."""
        engine = create_engine(database_url.replace(str(make_url(database_url).database), "no_such_database"))
        with pytest.raises(DATABASE_ERRORS, match="no_such_database") as raised:
            async with driver_connection(engine):
                pass
        assert sql_state(raised.value) == "3D000"


class TestListeningConnection:
    async def test_it_is_one_of_its_own(self, database_url: str) -> None:
        async with listening_connection(database_url) as connection:
            name = await connection.fetchval("SHOW application_name")
            assert name == "fastdeploy listener"
        assert connection.is_closed()

    async def test_nobody_listens_there(self) -> None:
        with pytest.raises(Unreachable):
            async with listening_connection("postgresql+asyncpg://nobody@127.0.0.1:1/nothing"):
                pass

    async def test_it_reaches_the_same_database(self, database_url: str) -> None:
        async with listening_connection(database_url) as connection:
            assert await connection.fetchval("SELECT current_database()") == make_url(database_url).database
