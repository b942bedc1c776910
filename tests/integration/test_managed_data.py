"""Managed data and the stream of a run share one transaction, although different libraries write them."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import httpx2
import pytest
import pytest_asyncio
from pydantic import SecretStr
from sqlalchemy import text

from deploy.adapters.database import DATABASE_ERRORS, Database, is_away, is_outdated, session_of, session_scope
from deploy.config import Settings
from deploy.domain.commands import CreateUser, ServiceFolder, SyncServices
from deploy.domain.events import UserCreated
from deploy.domain.model import Service, Token, TokenKind, User
from deploy.domain.policy import WORKER
from deploy.domain.rights import EVERYTHING, NOTHING, Visible
from deploy.entrypoints.app_state import AppState, create_app_state
from deploy.entrypoints.fastapi_app import create_app
from deploy.service_layer.clock import utc_now
from deploy.service_layer.unit_of_work import OpenUnitOfWork, UnitOfWork, in_unit_of_work, unit_of_work
from tests.databases import Databases
from tests.site import Site, unfinished


async def add_rows(uow: UnitOfWork, name: str = "shop") -> Service:
    """Add a user, a service, and one of its tokens."""
    user = User(name=f"owner of {name}", password_hash="hash")
    service = Service(name=name, data={"steps": [{"name": "only"}]})
    await uow.users.add(user)
    await uow.services.add(service)
    token = Token(
        id=f"token of {name}",
        kind=TokenKind.SERVICE,
        origin="CI",
        created=utc_now(),
        expires=utc_now() + timedelta(days=1),
        user_id=user.id,
        service_id=service.id,
    )
    await uow.tokens.add(token)
    return service


@pytest_asyncio.fixture(loop_scope="session")
async def logged(database_url: str) -> AsyncIterator[Database]:
    """Yield a pool that logs its statements."""
    made = Database(database_url, log_sql=True)
    yield made
    await made.close()


class TestOneTransaction:
    async def test_both_kinds_of_statements_share_a_transaction(
        self, logged: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with unit_of_work(logged.transaction)() as uow:
            await uow.workers.list()  # asyncpg looks up types when a connection first uses them
        await asyncio.sleep(0)  # asyncpg logs in the next loop iteration
        with caplog.at_level(logging.INFO, logger="deploy.adapters.database"):
            async with unit_of_work(logged.transaction)() as uow:
                await uow.workers.beat(worker_id="w1", host="h", version="1", slots=1)
                service = await add_rows(uow)
                assert await uow.deployments.active(service.id, visible=EVERYTHING) == []
                await uow.audit.newest(1)
                driver = uow.workers._driver
                theirs = await session_of(driver).scalar(text("SELECT txid_current()"))
                assert theirs == await driver.fetchval("SELECT txid_current()")
            await asyncio.sleep(0)
        statements = [re.sub(r"^SQL [\d.]+ ms: ", "", record.getMessage()) for record in caplog.records]
        shapes = [
            "BEGIN;",
            "INSERT INTO workers (id",
            "INSERT INTO users (name",
            "INSERT INTO services (name",
            "INSERT INTO tokens (id",
            "SELECT one.*",
            "SELECT audit.actor_type",
            "SELECT txid_current()",
            "SELECT txid_current()",
            "COMMIT;",
        ]
        assert [shape for shape, found in zip(shapes, statements, strict=True) if not found.startswith(shape)] == []
        assert "$1::VARCHAR" in statements[2]  # SQLAlchemy's
        assert "::VARCHAR" not in statements[1]

    async def test_a_command_writes_all_its_rows_in_one_transaction(self, busy_site: Site, database: Database) -> None:
        """PostgreSQL stores the transaction that wrote a row in `xmin`."""
        service_id = await busy_site.service(steps=[{"name": "only"}])
        await busy_site.start(service_id)
        tables = ("deployments", "steps", "events", "audit")
        query = " UNION ".join(
            f"SELECT '{table}' AS name, max(xmin::text::bigint) AS txid FROM {table}"  # noqa: S608
            for table in tables
        )
        async with database.connection() as connection:
            rows = await connection.fetch(query)
        assert len({row["txid"] for row in rows}) == 1, rows

    @pytest.mark.parametrize("comes_first", ["plain SQL", "session"])
    async def test_an_error_rolls_back_both(self, database: Database, comes_first: str) -> None:
        async def fail() -> None:
            async with unit_of_work(database.transaction)() as uow:
                steps: list[Callable[[], Awaitable[Any]]] = [
                    lambda: uow.workers.beat(worker_id="w1", host="h", version="1", slots=1),
                    lambda: add_rows(uow),
                ]
                for step in steps if comes_first == "plain SQL" else reversed(steps):
                    await step()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        async with database.connection() as connection:
            for table in ("workers", "users", "services", "tokens"):
                assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608

    async def test_plain_sql_sees_pending_changes(self, open_uow: OpenUnitOfWork) -> None:
        async with open_uow() as uow:
            service = await add_rows(uow)
            deployment = await uow.deployments.get(await _deployment_of(service, uow), visible=EVERYTHING)
            await uow.batches.settle(deployment, deployed={})
            assert len(await uow.deployed_services.list(visible=EVERYTHING)) == 1
            service.deleted = utc_now()  # not stored explicitly
            assert await uow.deployed_services.list(visible=EVERYTHING) == []

    async def test_pending_changes_are_written_before_the_commit(self, committing_uow: OpenUnitOfWork) -> None:
        async with committing_uow() as uow:
            await add_rows(uow)
        async with committing_uow() as uow:
            user = await uow.users.find("owner of shop")
            assert user is not None
            user.epoch = 7
        async with committing_uow() as uow:
            assert (await uow.users.get(user.id)).epoch == 7

    async def test_locking_a_row_reads_it_again(self, committing_uow: OpenUnitOfWork) -> None:
        """Another transaction could have changed it since the session has loaded it."""
        async with committing_uow() as uow:
            await add_rows(uow)
        async with committing_uow() as uow:
            user = await uow.users.find("owner of shop")
            assert user is not None
            async with committing_uow() as other:
                (await other.users.get(user.id, for_update=True)).epoch += 1
            assert (await uow.users.get(user.id, for_update=True)).epoch == 1

    async def test_equal_json_values_of_different_types_are_stored(self, open_uow: OpenUnitOfWork) -> None:
        """1, 1.0, and True are equal in Python but not in JSON."""
        async with open_uow() as uow:
            service = await add_rows(uow)
            service.data = {"value": 1}
            await uow.services.store(service)
            service.data = {"value": True}
            await uow.services.store(service)
        async with open_uow() as uow:
            assert json.dumps((await uow.services.get(service.id, visible=EVERYTHING)).data) == '{"value": true}'

    async def test_a_unit_of_work_in_autocommit_mode_refuses_managed_data(self, database: Database) -> None:
        async with unit_of_work(database.connection)() as uow:
            await uow.workers.list()
            with pytest.raises(RuntimeError, match="transaction"):
                await uow.users.list()
            async with uow.atomically():
                with pytest.raises(RuntimeError, match="transaction"):
                    await uow.users.list()


async def _deployment_of(service: Service, uow: UnitOfWork) -> int:
    deployment_id: int = await uow.workers._driver.fetchval(
        """
        INSERT INTO deployments (service_id, service, origin, "user", context, state, created, seq, lines, spool_offset,
            step_count, run_count, has_failed_step)
        VALUES ($1, 'shop', 'CI', 'ada', '{}', 'success', now(), 0, 0, 0, 0, 0, false) RETURNING id
        """,
        service.id,
    )
    return deployment_id


class TestVisible:
    async def test_only_visible_services_are_read(self, open_uow: OpenUnitOfWork) -> None:
        async with open_uow() as uow:
            shop, blog = await add_rows(uow, "shop"), await add_rows(uow, "blog")
            some = Visible(frozenset({blog.id}))
            for visible, expected in ((EVERYTHING, ["blog", "shop"]), (some, ["blog"]), (NOTHING, [])):
                assert [service.name for service in await uow.services.list(visible=visible)] == expected
                found = await uow.services.some([shop.id, blog.id], visible=visible)
                assert sorted(service.name for service in found) == expected
                assert sorted(str(name) for _, name, _ in await uow.tokens.list(visible=visible)) == expected
            assert await uow.services.find("shop", visible=some) is None


class TestJson:
    @pytest.mark.parametrize("type_name", ["json", "jsonb"])
    @pytest.mark.parametrize(
        "value", [{}, [], None, {"a": [1, 1.5, True, None, "ä\n\"'\\"]}, 2**70, 1e-9, "text", {"": {"": []}}]
    )
    async def test_both_paths_read_the_same_json(
        self, shared_database: Database, type_name: str, value: object
    ) -> None:
        statement = f"SELECT CAST('{json.dumps(value).replace(chr(39), chr(39) * 2)}' AS {type_name})"
        async with shared_database.transaction() as driver, session_scope(driver):
            plain = await driver.fetchval(statement)
            mapped = (await session_of(driver).execute(text(statement.replace(":", r"\:")))).scalar()
        assert repr(plain) == repr(mapped)
        assert plain == value

    async def test_both_paths_write_the_same_json(self, open_uow: OpenUnitOfWork) -> None:
        data = {"zero": "\x00", "lone surrogate": "\ud800", "nested": [{"n": 2**70}]}
        async with open_uow() as uow:
            service = await add_rows(uow)
            service.data = data
            await uow.services.store(service)
            stored = await uow.workers._driver.fetchval("SELECT data::text FROM services WHERE id = $1", service.id)
            assert stored == json.dumps(data)
            await uow.workers._driver.execute("UPDATE services SET data = $1", stored)
            assert (await uow.services.get(service.id, visible=EVERYTHING)).data == data


class TestErrors:
    async def test_a_closed_connection_is_an_outage_for_sessions(
        self, database: Database, databases: Databases, database_url: str
    ) -> None:
        async def read() -> None:
            async with unit_of_work(database.transaction)() as uow:
                await uow.users.count()
                await databases.cut_connections(database_url)
                with pytest.raises(DATABASE_ERRORS) as wrapped:
                    await uow.users.count()
                assert is_away(wrapped.value)
                raise wrapped.value

        with pytest.raises(DATABASE_ERRORS) as raised:
            await read()
        assert is_away(raised.value)
        async with unit_of_work(database.transaction)() as uow:
            assert await uow.users.count() == 0

    async def test_callers_of_a_unit_of_work_get_errors_of_the_driver(self, open_uow: OpenUnitOfWork) -> None:
        async def add_twice(uow: UnitOfWork) -> None:
            await add_rows(uow, "shop")
            await uow.services.add(Service(name="shop", data={}))

        with pytest.raises(asyncpg.DataError):
            await in_unit_of_work(open_uow, lambda uow: uow.users.get(2**63))
        with pytest.raises(asyncpg.UniqueViolationError):
            await in_unit_of_work(open_uow, add_twice)

    async def test_errors_do_not_contain_the_values(self, open_uow: OpenUnitOfWork) -> None:
        statement = text("SELECT 1 / CAST(:zero AS integer), CAST(:secret AS text)")
        found: list[BaseException] = []

        async def divide(uow: UnitOfWork) -> None:
            try:
                await session_of(uow.workers._driver).execute(statement, {"zero": 0, "secret": "s3cret-value"})
            except DATABASE_ERRORS as error:
                found.append(error)
                raise

        with pytest.raises(asyncpg.DivisionByZeroError) as raised:
            await in_unit_of_work(open_uow, divide)
        for error in (*found, raised.value):
            assert "division by zero" in str(error)
            assert "s3cret-value" not in f"{error}{error!r}"

    async def test_statements_of_sessions_are_logged_without_values(
        self, logged: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def read(uow: UnitOfWork) -> None:
            session = session_of(uow.workers._driver)
            await session.execute(text("SELECT\n CAST(:given AS text) AS given"), {"given": "hush-hush"})
            await session.execute(text("SELECT CAST(:given AS integer)"), {"given": "a"})

        with caplog.at_level(logging.INFO, logger="deploy.adapters.database"), pytest.raises(asyncpg.DataError):
            await in_unit_of_work(unit_of_work(logged.transaction), read)
        messages = [record.getMessage() for record in caplog.records]
        assert any(re.fullmatch(r"SQL \d+\.\d ms: SELECT CAST\(\$1 AS text\) AS given", line) for line in messages)
        assert any(re.fullmatch(r"SQL .* failed: DataError: SELECT CAST\(\$1 AS integer\)", line) for line in messages)
        assert "hush-hush" not in caplog.text


Work: TypeAlias = Callable[[UnitOfWork], Awaitable[Any]]
# A change of the result of a prepared statement, and a read that such a change affects.
OUTDATING: dict[str, tuple[str, Work]] = {
    "session": ("ALTER TABLE users ALTER epoch TYPE {}", lambda uow: uow.users.list()),
    "plain SQL": (
        "ALTER TABLE deployments ALTER exit_code TYPE {}",
        unfinished,
    ),
}


class TestMigrationUnderLoad:
    @pytest.mark.parametrize(("change", "work"), OUTDATING.values(), ids=OUTDATING.keys())
    async def test_work_is_repeated_once_on_a_current_connection(
        self, database: Database, committing_uow: OpenUnitOfWork, change: str, work: Work
    ) -> None:
        async with committing_uow() as one, committing_uow() as another:  # two connections with plans
            await work(one)
            await work(another)
        async with database.connection() as connection:
            await connection.execute(change.format("bigint"))
        with pytest.raises(DATABASE_ERRORS) as raised:
            async with committing_uow() as uow:
                await work(uow)
        assert is_outdated(raised.value)
        assert not is_away(raised.value)
        # The other connection was replaced, too. Otherwise, a repetition could fail as well.
        async with committing_uow() as one, committing_uow() as another:
            await work(one)
            await work(another)
        async with database.connection() as connection:
            await connection.execute(change.format("integer"))
        await in_unit_of_work(committing_uow, work)

    async def test_requests_and_commands_succeed(self, live_site: LiveSite) -> None:
        """Adding a column must not change what our statements return; changing a type does."""
        load = asyncio.gather(*(live_site.use(n) for n in range(CLIENTS)))
        try:
            for change in (
                "ALTER TABLE users ADD COLUMN added text",
                "ALTER TABLE deployments ADD COLUMN added text",
                "ALTER TABLE users ALTER epoch TYPE bigint",
                "ALTER TABLE deployments ALTER exit_code TYPE bigint",
                "ALTER TABLE services ALTER concurrency TYPE bigint",
            ):
                await live_site.rounds_by_all(1)
                async with live_site.state.database.connection() as connection:
                    await connection.execute(change)
            await live_site.rounds_by_all(2)
        finally:
            live_site.is_done = True
            await load
        assert live_site.failures == []


CLIENTS = 3


class LiveSite:
    """An application that clients use all the time."""

    def __init__(self, state: AppState, service_id: int, user_id: int) -> None:
        self.state = state
        self.service_id = service_id
        self.user_id = user_id
        self.is_done = False
        self.failures: list[str] = []
        self._rounds: dict[int, int] = {}
        self._progress = asyncio.Condition()
        self._token = state.signer.sign(
            "user", str(user_id), now=utc_now(), lifetime=timedelta(hours=1), name="ada", epoch=0
        )

    async def use(self, n: int) -> None:
        """Send requests that read and write with both kinds of statements, until the test is done."""
        headers = {"Authorization": f"Bearer {self._token}"}
        transport = httpx2.ASGITransport(create_app(ready=self.state), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
            while not self.is_done:
                self.state.authenticator.invalidate()  # so that the database is read
                await self._send(client, "GET", "/users/me")
                await self._send(client, "GET", f"/services/{self.service_id}")
                body = {"service": "shop", "origin": "test"}
                await self._send(client, "POST", "/service-token", json=body)
                started = await self._send(client, "POST", f"/services/{self.service_id}/deployments", json={})
                path = f"/deployments/{started.json().get('id', 0)}"
                await self._send(client, "GET", path)
                await self._send(client, "POST", f"{path}/cancel")
                async with self._progress:
                    self._rounds[n] = self._rounds.get(n, 0) + 1
                    self._progress.notify_all()

    async def rounds_by_all(self, count: int) -> None:
        """Wait until every client has completed `count` more rounds."""
        wanted = {n: self._rounds.get(n, 0) + count for n in range(CLIENTS)}

        def is_reached() -> bool:
            return all(self._rounds.get(n, 0) >= number for n, number in wanted.items())

        async with self._progress:
            await self._progress.wait_for(is_reached)

    async def _send(self, client: httpx2.AsyncClient, method: str, path: str, **more: Any) -> httpx2.Response:
        response = await client.request(method, path, **more)
        if response.status_code >= 400:
            self.failures.append(f"{method} {path}: {response.status_code} {response.text}")
        return response


@pytest_asyncio.fixture(loop_scope="session")
async def live_site(database_url: str, tmp_path: Path) -> AsyncIterator[LiveSite]:
    settings = Settings(
        database_url=database_url,
        secret_key=SecretStr("0123456789abcdef" * 4),
        services_root=tmp_path,
        data_dir=tmp_path / "data",
    )
    state = create_app_state(settings, database_url)
    try:
        folders = (ServiceFolder(name="shop", data={"steps": [{"name": "only"}]}),)
        await state.bus.handle(SyncServices(folders=folders), by=WORKER)
        (event,) = await state.bus.handle(CreateUser(name="ada", password_hash="hash"), by=WORKER)
        assert isinstance(event, UserCreated)
        async with state.open_unit_of_work() as uow:
            (service,) = await uow.services.list(visible=EVERYTHING)
        yield LiveSite(state, service.id, event.user_id)
    finally:
        await state.database.close()
