"""Fixtures shared by all tests: one PostgreSQL per test process, its databases, and the product wired to them."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from deploy.adapters.database import Database, transaction_on
from deploy.adapters.filesystem import ServiceFolders
from deploy.adapters.inputs.choices import Choices
from deploy.adapters.inputs.programs import ChoiceContext, ChoicePrograms
from deploy.adapters.postgres import PostgresServer
from deploy.adapters.sealing import Vault
from deploy.adapters.service_folders.processes import Checkers
from deploy.service_layer.bootstrap import create_bus
from deploy.service_layer.inputs import Inputs
from deploy.service_layer.messagebus import MessageBus
from deploy.service_layer.unit_of_work import OpenUnitOfWork, unit_of_work
from tests.data_folders import begin_session, copy_data_folder, end_session, quick_root
from tests.databases import Databases

# Test databases do not need to survive a power failure, so PostgreSQL can skip syncing.
THROWAWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}

# Machines are noisy, so the duration of an example is meaningless, and failures must be reproducible.
settings.register_profile(
    "default", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("default")

# A shell starts background processes with Ctrl-C ignored, and the tests would pass that on to every process they
# start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the records that servers write for commands out of the home folder of the user running the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


def pytest_configure(config: pytest.Config) -> None:
    """Prepare what all pytest-xdist workers share. They inherit the environment of the process that starts them."""
    if not hasattr(config, "workerinput"):
        begin_session()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what `pytest_configure` prepared."""
    if not hasattr(config, "workerinput"):
        end_session()


@dataclass
class FixedClock:
    """A clock that stands still until a test advances it."""

    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc).replace(microsecond=0))

    def __call__(self) -> datetime:
        """Return the current time of this clock."""
        return self.now

    def advance(self, seconds: float) -> datetime:
        """Advance by `seconds` and return the new time."""
        self.now += timedelta(seconds=seconds)
        return self.now


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """Yield the URL of a PostgreSQL server whose role can create databases.

    It is DATABASE_URL_FOR_TESTS, or a bundled server.
    """
    if url := os.environ.get("DATABASE_URL_FOR_TESTS"):
        yield url
        return
    # Do not use pytest's own folder: only root can enter its parent, and PostgreSQL refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="fastdeploy-tests-", dir=quick_root()))
    folder.chmod(0o755)
    try:
        copy_data_folder(folder / "data")
        with PostgresServer(folder / "data", settings=THROWAWAY) as server:
            yield server.url
    finally:
        shutil.rmtree(folder)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def checkers() -> AsyncIterator[Checkers]:
    """Yield checkers of service folders that tests share, because starting one takes 0.6 s of processor time."""
    made = Checkers(keep_seconds=3600)
    yield made
    await made.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def databases(server_url: str) -> AsyncIterator[Databases]:
    """Yield a factory for databases, for tests that need a special one."""
    made = Databases(server_url)
    yield made
    await made.drop_template()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_database(databases: Databases) -> AsyncIterator[Database]:
    """Yield the pool of the database that stays empty because every test rolls back."""
    async with databases.migrated() as url:
        made = Database(url)
        yield made
        await made.close()


@pytest_asyncio.fixture(loop_scope="session")
async def open_uow(shared_database: Database) -> AsyncIterator[OpenUnitOfWork]:
    """Yield units of work on one connection, one at a time.

    Commits only end savepoints, and everything is rolled back afterward.
    """
    async with shared_database.connection() as connection:

        @asynccontextmanager
        async def savepoint() -> AsyncIterator[asyncpg.Connection]:
            async with transaction_on(connection):
                yield connection

        outer = connection.transaction()
        await outer.start()
        yield unit_of_work(savepoint)
        await outer.rollback()


@pytest_asyncio.fixture(loop_scope="session")
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """Yield the URL of a migrated database for this test alone, where commits are real."""
    async with databases.migrated() as url:
        yield url


@pytest_asyncio.fixture(loop_scope="session")
async def database(database_url: str) -> AsyncIterator[Database]:
    """Yield the pool of the database for this test alone."""
    made = Database(database_url)
    yield made
    await made.close()


@pytest.fixture
def committing_uow(database: Database) -> OpenUnitOfWork:
    """Return units of work on the database for this test alone.

    They commit, and several can be open at the same time.
    """
    return unit_of_work(database.transaction)


@pytest.fixture
def clock() -> FixedClock:
    """Return a clock that the test controls."""
    return FixedClock()


@pytest.fixture
def services_root(tmp_path: Path) -> Path:
    """Return an empty services folder."""
    root = tmp_path / "services"
    root.mkdir()
    return root


@pytest.fixture
def bus(open_uow: OpenUnitOfWork, services_root: Path, clock: FixedClock) -> MessageBus:
    """Return the bus with every handler.

    It runs one command at a time, and its commits are rolled back after the test.
    """
    return create_bus(open_uow, ServiceFolders(services_root), clock, inputs_of(open_uow, services_root))


@pytest.fixture
def committing_bus(
    committing_uow: OpenUnitOfWork, database: Database, services_root: Path, clock: FixedClock
) -> MessageBus:
    """Return the bus with every handler, wired as in the product, on the database for this test alone."""
    inputs = inputs_of(committing_uow, services_root)
    autocommit = unit_of_work(database.connection)
    return create_bus(committing_uow, ServiceFolders(services_root), clock, inputs, autocommit)


def choice_programs(folders: ServiceFolders, path: str = os.environ["PATH"]) -> ChoicePrograms:
    """Return what runs the programs that list choices, as in a worker."""
    return ChoicePrograms(ChoiceContext(folders=folders, path=path, user=lambda: None))


def inputs_of(open_uow: OpenUnitOfWork, root: Path) -> Inputs:
    """Return the checks of values for services below `root`."""
    folders = ServiceFolders(root)
    return Inputs(open_uow, Choices(folders, choice_programs(folders).output), Vault("the secret key of these tests"))


class FailedHandlers(logging.Handler):
    """Collects the bus's log messages about failed event handlers."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        if str(record.msg).startswith("A handler of"):
            self.messages.append(self.format(record))


@pytest.fixture(autouse=True)
def failed_handlers() -> Iterator[list[str]]:
    """Fail a test in which an event handler failed. Tests that expect a failure clear the list."""
    collector = FailedHandlers()
    logger = logging.getLogger("deploy.service_layer.messagebus")
    logger.addHandler(collector)
    yield collector.messages
    logger.removeHandler(collector)
    assert not collector.messages, collector.messages
