"""Long queues, slow reads, and scarce connections: the responses stay small, and errors say what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from pydantic import SecretStr

from deploy.adapters.database import Database, ReadTimeout
from deploy.adapters.repository.statement import Statement
from deploy.config import Settings
from deploy.domain.policy import WORKER
from deploy.domain.rights import EVERYTHING
from deploy.entrypoints.app_state import AppState, create_app_state
from deploy.entrypoints.errors import TOO_SLOW
from deploy.entrypoints.fastapi_app import create_app
from deploy.entrypoints.serve.startup import warn_of_too_few_connections
from deploy.service_layer.clock import utc_now
from deploy.service_layer.retention import Retention
from tests.conftest import FixedClock
from tests.runs import ended
from tests.site import Site

WAITING = 230


@pytest_asyncio.fixture(loop_scope="session")
async def state(database_url: str, services_root: Path, tmp_path: Path) -> AsyncIterator[AppState]:
    settings = Settings(
        database_url=database_url,
        secret_key=SecretStr("0123456789abcdef" * 4),
        services_root=services_root,
        data_dir=tmp_path / "data",
        read_timeout_seconds=0.2,
    )
    made = create_app_state(settings, database_url)
    yield made
    await made.database.close()


@pytest_asyncio.fixture(loop_scope="session")
async def client(state: AppState) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client of an administrator."""
    user = await state.accounts.create(WORKER, "ada", "correct horse battery", is_admin=True)
    token = state.signer.sign("user", str(user.id), now=utc_now(), lifetime=timedelta(hours=1), name="ada", epoch=0)
    app = create_app(state.settings, ready=state)
    headers = {"Authorization": f"Bearer {token}"}
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test", headers=headers) as made:
        yield made


@pytest.fixture
def own_site(state: AppState) -> Site:
    """Return the site of the application."""
    return Site(state.bus, state.open_unit_of_work, FixedClock(utc_now()))


class TestLongQueue:
    @pytest_asyncio.fixture(loop_scope="session", autouse=True)
    async def queue(self, own_site: Site, state: AppState) -> list[int]:
        """Queue deployments, of which one is running, and return the IDs of the waiting ones."""
        service_id = await own_site.service("shop")
        await own_site.beat()
        first = await own_site.start(service_id)
        assert await own_site.claim() == first
        second = await own_site.start(service_id)
        # Copies, because starting each of them takes longer.
        statement = """
            WITH copies AS (
                INSERT INTO deployments (service_id, service, origin, "user", context, state, created, seq, lines,
                    spool_offset, step_count, run_count, has_failed_step)
                SELECT service_id, service, origin, "user", context, state, created, 0, 0, 0, 0, 0, false
                FROM deployments, generate_series(2, $2) WHERE id = $1 RETURNING id, service_id
            ), jobs AS (
                INSERT INTO procrastinate_jobs (queue_name, task_name, lock, args)
                SELECT 'deployments', 'deploy', 'service:' || service_id || ':', json_build_object('deployment_id', id)
                FROM copies ORDER BY id RETURNING id, args
            ) SELECT id, CAST(args ->> 'deployment_id' AS bigint) AS deployment_id FROM jobs
        """
        async with state.database.transaction() as connection:
            jobs = await connection.fetch(statement, second, WAITING)
            await connection.executemany(
                "UPDATE deployments SET job_id = $1 WHERE id = $2", [tuple(job) for job in jobs]
            )
            rows = await connection.fetch("SELECT id FROM deployments WHERE state = 'queued' ORDER BY id")
        assert len(rows) == WAITING
        return [row[0] for row in rows]

    async def test_the_queue_is_read_in_pages(self, client: httpx2.AsyncClient, queue: list[int]) -> None:
        found: list[int] = []
        sizes: list[int] = []
        after: int | None = 0
        while after is not None:
            page = (await client.get("/queue/", params={"after": after, "limit": 100})).json()
            assert (page["waiting_count"], page["running_count"]) == (WAITING, 1)
            assert [one["waiting"]["position"] for one in page["waiting"]] == list(
                range(len(found) + 1, len(found) + len(page["waiting"]) + 1)
            )
            found += [one["id"] for one in page["waiting"]]
            sizes.append(len(page["waiting"]))
            after = page["next_after"]
        assert found == queue
        assert sizes == [100, 100, 30]

    async def test_a_page_has_20_deployments_unless_asked_otherwise(
        self, client: httpx2.AsyncClient, queue: list[int]
    ) -> None:
        page = (await client.get("/queue/")).json()
        assert [one["id"] for one in page["waiting"]] == queue[:20]
        assert page["next_after"] == queue[19]
        assert (await client.get("/queue/", params={"limit": 101})).status_code == 422

    async def test_lists_of_services_do_not_grow_with_the_queue(
        self, client: httpx2.AsyncClient, queue: list[int]
    ) -> None:
        (service,) = (await client.get("/services/")).json()
        (running,) = (await client.get("/queue/")).json()["running"]
        assert [one["id"] for one in service["active_deployments"]] == [running["id"], *queue[:4]]
        assert service["active_count"] == 101
        assert service["last_deployment"]["id"] == queue[-1]
        one = (await client.get(f"/services/{service['id']}")).json()
        assert [found["id"] for found in one["active_deployments"]] == [running["id"], *queue[:19]]
        assert one["active_count"] == WAITING + 1

    async def test_all_pages_are_small(self, client: httpx2.AsyncClient) -> None:
        for path in ("/queue/", "/queue/?limit=100", "/services/", "/services/1", "/workers/"):
            assert len((await client.get(path)).content) <= 100_000, path


class TestReadTimeout:
    async def test_a_read_that_takes_too_long_is_refused(self, client: httpx2.AsyncClient, state: AppState) -> None:
        async with state.database.transaction() as connection:
            await connection.execute("LOCK TABLE deployments IN ACCESS EXCLUSIVE MODE")
            for path in ("/deployments/", "/services/", "/queue/", "/deployments/1"):
                response = await client.get(path)
                assert (response.status_code, response.json()) == (503, {"detail": TOO_SLOW}), path
                assert int(response.headers["Retry-After"]) > 0
        assert (await client.get("/deployments/")).json() == []

    async def test_a_canceled_read_frees_its_connection(self, database_url: str) -> None:
        database = Database(database_url, pool_size=1, read_timeout=0.05)
        sleep = Statement("SELECT pg_sleep(CAST(:seconds AS double precision))")
        for _ in range(3):
            with pytest.raises(ReadTimeout):
                async with database.reading() as connection:
                    await sleep.rows(connection, seconds=600)
        async with database.connection() as connection:
            await sleep.rows(connection, seconds=0.1)  # no limit for other statements
        await database.close()


class TestConnections:
    async def test_a_server_with_too_few_connections_says_how_many_it_needs(
        self, state: AppState, caplog: pytest.LogCaptureFixture
    ) -> None:
        await warn_of_too_few_connections(state, 1)
        assert not caplog.records
        await warn_of_too_few_connections(state, 1000)
        (record,) = caplog.records
        assert "This process needs up to 7000." in record.getMessage()
        assert "Set max_connections to at least 70" in record.getMessage()


class TestRetention:
    async def failed(self, site: Site, count: int) -> list[int]:
        """Run deployments that fail, and return their IDs."""
        ids = []
        for _ in range(count):
            ids.append(await site.running())
            await site.take_in(ids[-1], ended(1))
        return ids

    async def test_each_batch_has_its_own_transaction(
        self, own_site: Site, state: AppState, database: Database
    ) -> None:
        ids = await self.failed(own_site, 2)
        statement = """
            INSERT INTO deployments (service_id, service, origin, "user", context, state, created, started, finished,
                run_ended, seq, lines, spool_offset, step_count, run_count, has_failed_step)
            SELECT service_id, service, origin, "user", context, state, created, started, finished, run_ended, 0, 0, 0, 0, 0,
                false FROM deployments, generate_series(1, 250) WHERE id = $1
        """
        async with database.transaction() as connection:
            await connection.execute(statement, ids[0])
        counts = []
        async for batch in Retention(state.bus, state.open_unit_of_work, 0, 2).batches():
            async with database.connection() as connection:  # another connection only sees what has been committed
                counts.append((len(batch), await connection.fetchval("SELECT count(*) FROM deployments")))
        assert counts == [(100, 152), (100, 52), (50, 2)]

    async def test_deployments_that_deployed_services_refer_to_are_kept(
        self, own_site: Site, database: Database
    ) -> None:
        ids = await self.failed(own_site, 3)
        service_id = (await own_site.deployment(ids[0])).service_id
        async with own_site.open_uow() as uow:
            deployment = await uow.deployments.get(ids[0], visible=EVERYTHING)
            await uow.batches.settle(deployment, deployed={})
        assert await own_site.expire(count=1) == [ids[1]]
        async with own_site.open_uow() as uow:
            (deployed,) = await uow.deployed_services.list(visible=EVERYTHING)
        assert (deployed.service_id, deployed.deployment_id) == (service_id, ids[0])

    async def test_a_cancelled_run_that_has_not_ended_is_kept(self, own_site: Site, database: Database) -> None:
        running = await own_site.running()
        async with database.transaction() as connection:
            await connection.execute(
                "UPDATE deployments SET state = 'cancelled', finished = now() - interval '1 year' WHERE id = $1",
                running,
            )
        assert await own_site.expire(days=1) == []
