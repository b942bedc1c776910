"""Commands wake the processes that wait for their changes. A lost wake-up fails at once instead of after a timeout."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from deploy.adapters.database import CHANNEL, QUEUE_CHANNEL
from deploy.adapters.database.url import dsn_of
from deploy.domain.commands import (
    CancelDeployment,
    ChangeUser,
    DeleteService,
    FailLostRun,
    FinishDeployment,
    RequeueDeployment,
)
from deploy.domain.policy import WORKER
from tests.runs import ended
from tests.site import Site

TIMEOUT = 60.0
END = "the end of the test"


class Heard:
    """The notifications of the database since the last look, in the order of the commits."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._received: asyncio.Queue[str] = asyncio.Queue()

    async def listen(self) -> None:
        """Start listening to both channels."""
        for channel in (CHANNEL, QUEUE_CHANNEL):
            await self._connection.add_listener(channel, lambda *received: self._received.put_nowait(received[-1]))

    async def texts(self) -> list[str]:
        """Return the payloads of all commits so far. PostgreSQL delivers them in order, so one sent now comes last."""
        await self._connection.execute("SELECT pg_notify($1, $2)", CHANNEL, END)
        found: list[str] = []
        while (text := await asyncio.wait_for(self._received.get(), TIMEOUT)) != END:
            found.append(text)
        return found

    async def wakes_workers(self) -> bool:
        """Return True if a commit since the last look has woken the workers."""
        return any(text.startswith("{") and json.loads(text)["type"] == "job_inserted" for text in await self.texts())


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[Heard]:
    """Yield what is heard on a connection of its own."""
    connection = await asyncpg.connect(dsn_of(url))
    try:
        heard = Heard(connection)
        await heard.listen()
        yield heard
    finally:
        await connection.close()


async def test_a_new_deployment_wakes_the_workers(busy_site: Site, database_url: str) -> None:
    service_id = await busy_site.service()
    async with listening(database_url) as heard:
        await busy_site.start(service_id)
        assert await heard.wakes_workers()


async def test_a_sync_wakes_clients_and_workers_if_something_changed(busy_site: Site, database_url: str) -> None:
    """A larger concurrency lets deployments run that are already waiting."""
    service_id = await busy_site.service()
    async with listening(database_url) as heard:
        await busy_site.service(concurrency=2)
        texts = await heard.texts()
        assert f"service {service_id}" in texts
        assert any("job_inserted" in text for text in texts)
        await busy_site.service(concurrency=2)
        assert await heard.texts() == []
        await busy_site.bus.handle(DeleteService(service_id=service_id), by=WORKER)
        assert f"service {service_id}" in await heard.texts()


async def test_each_cancel_of_a_live_process_notifies_its_worker(busy_site: Site, database_url: str) -> None:
    """The first notification may have been lost."""
    deployment_id = await busy_site.running()
    async with listening(database_url) as heard:
        for _ in range(3):
            await busy_site.bus.handle(CancelDeployment(deployment_id=deployment_id, by="bob"), by=WORKER)
            assert f"cancel {deployment_id}" in await heard.texts()
        await busy_site.bus.handle(FinishDeployment(deployment_id=deployment_id), by=WORKER)
        await heard.texts()
        await busy_site.bus.handle(CancelDeployment(deployment_id=deployment_id, by="bob"), by=WORKER)
        assert f"cancel {deployment_id}" in await heard.texts()


Ending = Callable[[Site, int], Coroutine[Any, Any, Any]]


@pytest.mark.parametrize(
    "end",
    [
        lambda site, deployment_id: site.take_in(deployment_id, ended(0)),
        lambda site, deployment_id: site.bus.handle(
            FailLostRun(deployment_id=deployment_id, reason="Lost."), by=WORKER
        ),
    ],
    ids=["ended", "lost"],
)
async def test_the_end_of_a_run_wakes_the_workers(busy_site: Site, database_url: str, end: Ending) -> None:
    deployment_id = await busy_site.running()
    async with listening(database_url) as heard:
        await end(busy_site, deployment_id)
        assert await heard.wakes_workers()


async def test_a_cancelled_waiting_deployment_wakes_the_workers(busy_site: Site, database_url: str) -> None:
    deployment_id = await busy_site.start(await busy_site.service())
    async with listening(database_url) as heard:
        await busy_site.bus.handle(CancelDeployment(deployment_id=deployment_id, by="bob"), by=WORKER)
        assert await heard.wakes_workers()


async def test_a_requeued_deployment_wakes_the_workers(busy_site: Site, database_url: str) -> None:
    deployment_id = await busy_site.start(await busy_site.service())
    job_id = (await busy_site.deployment(deployment_id)).job_id
    assert job_id is not None
    async with busy_site.open_uow() as uow:
        await uow.queue.withdraw(job_id)
    async with listening(database_url) as heard:
        await busy_site.bus.handle(RequeueDeployment(deployment_id=deployment_id), by=WORKER)
        assert await heard.wakes_workers()


async def test_a_changed_user_invalidates_cached_access(busy_site: Site, database_url: str) -> None:
    user_id = await busy_site.user()
    await busy_site.user("bob", is_admin=True)
    async with listening(database_url) as heard:
        await busy_site.bus.handle(ChangeUser(user_id=user_id, is_active=False), by=WORKER)
        assert f"access {user_id}" in await heard.texts()
