"""Worker tasks: server processes ask workers through the database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.adapters.database import Database
from deploy.adapters.filesystem import ServiceFolders
from deploy.adapters.inputs.choices import Choices
from deploy.adapters.notifications import Listener
from deploy.adapters.service_folders.processes import Checkers
from deploy.domain.rights import EVERYTHING
from deploy.domain.service_config import ServiceConfig
from deploy.service_layer.choices import asks_workers, choice_handlers
from deploy.service_layer.unit_of_work import OpenUnitOfWork, unit_of_work
from deploy.service_layer.worker_tasks import MAX_CONCURRENT, TaskClient, TaskFailed, TaskHandler, TaskRunner
from tests.conftest import choice_programs
from tests.site import Site

TIMEOUT = 30.0


async def double(arguments: dict[str, Any]) -> Any:
    return {"doubled": arguments["number"] * 2}


async def fail(_: dict[str, Any]) -> Any:
    raise TaskFailed("The inventory is broken")


async def crash(_: dict[str, Any]) -> Any:
    raise ValueError("a secret detail")


async def hang(_: dict[str, Any]) -> Any:
    await asyncio.Event().wait()


@pytest.fixture
def autocommit(database: Database) -> OpenUnitOfWork:
    return unit_of_work(database.connection)


@asynccontextmanager
async def background(*work: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(part) for part in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def worker(
    url: str, autocommit: OpenUnitOfWork, handlers: Mapping[str, TaskHandler], worker_id: str = "w1"
) -> AsyncIterator[None]:
    """Run the tasks of a worker in its own listener, as in a process of its own."""
    listener = Listener(url)
    runner = TaskRunner(worker_id, handlers, autocommit, listener)
    await beat(autocommit, worker_id)
    async with background(listener.run(), runner.run()):
        await listener.connected.wait()
        yield


async def beat(autocommit: OpenUnitOfWork, worker_id: str = "w1") -> None:
    """Send a heartbeat, without which a worker counts as gone after a few seconds."""
    async with autocommit() as uow:
        await uow.workers.beat(worker_id=worker_id, host="host1", version="1", slots=1)


@asynccontextmanager
async def client(url: str, autocommit: OpenUnitOfWork) -> AsyncIterator[TaskClient]:
    listener = Listener(url)
    made = TaskClient(autocommit, listener)
    async with background(listener.run()):
        await listener.connected.wait()
        yield made


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds."""
    while True:
        if await holds():
            return
        await asyncio.sleep(0.01)


async def stored_tasks(database: Database) -> int:
    async with database.connection() as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM worker_tasks")
        return count


async def test_a_worker_answers(database_url: str, database: Database, autocommit: OpenUnitOfWork) -> None:
    async with client(database_url, autocommit) as ask, worker(database_url, autocommit, {"double": double}):
        answers = await asyncio.gather(*(ask.ask("double", {"number": n}, timeout=TIMEOUT) for n in range(20)))
    assert answers == [{"doubled": 2 * n} for n in range(20)]
    assert await stored_tasks(database) == 0


@pytest.mark.parametrize(
    ("handler", "sentence"),
    [(fail, "The inventory is broken"), (crash, "The worker failed: ValueError. Its log has the details")],
)
async def test_failures_are_visible(
    database_url: str, database: Database, autocommit: OpenUnitOfWork, handler: TaskHandler, sentence: str
) -> None:
    async with client(database_url, autocommit) as ask, worker(database_url, autocommit, {"kind": handler}):
        with pytest.raises(TaskFailed) as raised:
            await ask.ask("kind", {}, timeout=TIMEOUT)
    assert str(raised.value) == sentence
    assert await stored_tasks(database) == 0


async def test_a_failed_task_is_deleted_once(
    database_url: str, autocommit: OpenUnitOfWork, caplog: pytest.LogCaptureFixture
) -> None:
    logged = Database(database_url, log_sql=True)
    asking = client(database_url, unit_of_work(logged.connection))
    async with asking as ask, worker(database_url, autocommit, {"fail": fail}):
        with caplog.at_level(logging.INFO, "deploy.adapters.database"):
            with pytest.raises(TaskFailed):
                await ask.ask("fail", {}, timeout=TIMEOUT)
            await asyncio.sleep(0)  # the driver's statements are logged in the next loop iteration
    await logged.close()
    assert "DELETE FROM worker_tasks" in caplog.messages[-1]  # read and deleted by one statement
    assert not [message for message in caplog.messages if "RETURNING worker_id" in message]


async def test_a_task_that_takes_too_long_fails(
    database_url: str, database: Database, autocommit: OpenUnitOfWork
) -> None:
    async with client(database_url, autocommit) as ask, worker(database_url, autocommit, {"hang": hang}):
        with pytest.raises(TaskFailed, match="did not finish in time"):
            await ask.ask("hang", {}, timeout=3)
    assert await stored_tasks(database) == 0


async def test_without_a_worker_the_error_says_so(
    database_url: str, database: Database, autocommit: OpenUnitOfWork
) -> None:
    async with client(database_url, autocommit) as ask:
        with pytest.raises(TaskFailed, match="No worker is running"):
            await ask.ask("double", {"number": 1}, timeout=TIMEOUT)
    assert await stored_tasks(database) == 0


async def test_if_all_workers_are_busy_the_error_says_so(
    database_url: str, database: Database, autocommit: OpenUnitOfWork
) -> None:
    async with client(database_url, autocommit) as ask, worker(database_url, autocommit, {"other": double}):
        with pytest.raises(TaskFailed, match="All workers are busy"):
            await ask.ask("double", {"number": 1}, timeout=-1.9)
    assert await stored_tasks(database) == 0


async def test_choices_are_loaded_by_a_worker(
    database_url: str, database: Database, autocommit: OpenUnitOfWork, services_root: Path, checkers: Checkers
) -> None:
    program = services_root / "shop" / "versions"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n[ $# = 1 ] && echo $1 && echo 1.1\n")
    program.chmod(0o755)
    folders = ServiceFolders(services_root, checkers=checkers)
    source = {"command": ["./versions", "1.10"]}
    config = ServiceConfig.from_json({"inputs": {"properties": {"version": {"type": "string", "x-choices": source}}}})
    handlers = choice_handlers(choice_programs(folders))
    async with client(database_url, autocommit) as ask, worker(database_url, autocommit, handlers):
        choices = Choices(folders, asks_workers(ask))
        form = await choices.form("shop", config)
        assert form.schema is not None
        assert form.schema["properties"]["version"]["enum"] == ["1.10", "1.1"]
        program.write_text("#!/bin/sh\necho No route to the registry >&2; exit 3\n")
        (problem,) = (await Choices(folders, asks_workers(ask)).form("shop", config)).problems
        assert problem.sentence == "The program ended with exit code 3: No route to the registry"


async def test_a_worker_that_dies_is_reported(
    database_url: str, database: Database, autocommit: OpenUnitOfWork
) -> None:
    await beat(autocommit)
    async with client(database_url, autocommit) as ask:
        asked = asyncio.ensure_future(ask.ask("double", {"number": 1}, timeout=3))
        async with autocommit() as uow:

            async def is_claimed() -> bool:
                return asked.done() or await uow.worker_tasks.claim("w1", ["double"]) is not None

            await eventually(is_claimed)
        with pytest.raises(TaskFailed, match="The worker did not answer in time"):
            await asked
    assert await stored_tasks(database) == 0


async def test_a_canceled_request_withdraws_its_task(
    database_url: str, database: Database, autocommit: OpenUnitOfWork
) -> None:
    async with client(database_url, autocommit) as ask:
        asked = asyncio.ensure_future(ask.ask("double", {"number": 1}, timeout=TIMEOUT))

        async def is_waiting() -> bool:
            return bool(ask._waiting)

        await eventually(is_waiting)
        assert await stored_tasks(database) == 1
        asked.cancel()
        await asyncio.wait([asked])
        assert await stored_tasks(database) == 0


async def test_lost_notifications_only_delay_the_answer(
    database_url: str, database: Database, autocommit: OpenUnitOfWork
) -> None:
    deaf = Listener(database_url)  # not running
    runner = TaskRunner("w1", {"double": double}, autocommit, deaf)
    await beat(autocommit)
    async with background(runner.run()):
        assert await TaskClient(autocommit, deaf).ask("double", {"number": 4}, timeout=TIMEOUT) == {"doubled": 8}


async def test_each_task_is_answered_by_one_worker(
    database_url: str, database: Database, autocommit: OpenUnitOfWork
) -> None:
    calls: list[int] = []

    async def count(arguments: dict[str, Any]) -> Any:
        calls.append(arguments["number"])

    async with (
        client(database_url, autocommit) as ask,
        worker(database_url, autocommit, {"count": count}, "w1"),
        worker(database_url, autocommit, {"count": count}, "w2"),
    ):
        await asyncio.gather(*(ask.ask("count", {"number": n}, timeout=TIMEOUT) for n in range(50)))
    assert sorted(calls) == list(range(50))


async def test_a_worker_limits_the_tasks_that_it_runs_at_once(
    database_url: str, database: Database, autocommit: OpenUnitOfWork
) -> None:
    running, most, is_full = 0, 0, asyncio.Event()

    async def count(_: dict[str, Any]) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == MAX_CONCURRENT:
            is_full.set()
        await is_full.wait()
        running -= 1

    async with client(database_url, autocommit) as ask, worker(database_url, autocommit, {"count": count}):
        await asyncio.gather(*(ask.ask("count", {}, timeout=TIMEOUT) for _ in range(3 * MAX_CONCURRENT)))
    assert most == MAX_CONCURRENT


async def test_abandoned_tasks_are_deleted(database_url: str, database: Database, autocommit: OpenUnitOfWork) -> None:
    async with autocommit() as uow:
        await uow.worker_tasks.add("double", {}, timeout=-3600)
    async with worker(database_url, autocommit, {"double": double}):

        async def are_gone() -> bool:
            return await stored_tasks(database) == 0

        await eventually(are_gone)


async def test_the_queue_of_deployments_does_not_see_tasks(busy_site: Site, autocommit: OpenUnitOfWork) -> None:
    deployment_id = await busy_site.start(await busy_site.service())
    async with autocommit() as uow:
        await uow.worker_tasks.add("double", {"number": 1}, timeout=TIMEOUT)
        assert [job.deployment_id for job in await uow.queue.jobs(visible=EVERYTHING, last=10**9)] == [deployment_id]
    assert [await busy_site.claim(), await busy_site.claim()] == [deployment_id, None]
