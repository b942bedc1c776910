"""What all tests share: one PostgreSQL per test process, databases in it, and the product wired to them."""

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
from deploy.adapters.inputs.choices import ChoiceContext, Choices
from deploy.adapters.postgres import PostgresServer
from deploy.adapters.sealing import Vault
from deploy.service_layer.bootstrap import create_bus
from deploy.service_layer.inputs import Inputs
from deploy.service_layer.messagebus import MessageBus
from deploy.service_layer.unit_of_work import OpenUnitOfWork, unit_of_work
from tests.data_folders import begin_session, copy_data_folder, end_session
from tests.databases import Databases

# A test database that does not survive a power failure is quick.
THROWAWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}

# Noisy machines: how long an example takes says nothing, and a failure has to come again.
settings.register_profile(
    "default", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("default")

# What a shell starts in the background ignores Ctrl-C, and so would everything that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the records that servers write for commands out of the home folder of the user that runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


def pytest_configure(config: pytest.Config) -> None:
    """Prepare what all workers of pytest-xdist share; they inherit the environment of the process that starts them."""
    if not hasattr(config, "workerinput"):
        begin_session()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove it."""
    if not hasattr(config, "workerinput"):
        end_session()


@dataclass
class FixedClock:
    """A clock that stands still until it is moved."""

    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc).replace(microsecond=0))

    def __call__(self) -> datetime:
        """Return the time it shows."""
        return self.now

    def advance(self, seconds: float) -> datetime:
        """Move it on, and return the new time."""
        self.now += timedelta(seconds=seconds)
        return self.now


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """The URL of a PostgreSQL server whose role may create databases: DATABASE_URL_FOR_TESTS, or a bundled one."""
    if url := os.environ.get("DATABASE_URL_FOR_TESTS"):
        yield url
        return
    # Not pytest's own folder: that is below one that only root may enter, and PostgreSQL refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="fastdeploy-tests-"))
    folder.chmod(0o755)
    try:
        copy_data_folder(folder / "data")
        with PostgresServer(folder / "data", settings=THROWAWAY) as server:
            yield server.url
    finally:
        shutil.rmtree(folder)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def databases(server_url: str) -> AsyncIterator[Databases]:
    """Makes databases; whoever needs one of a special kind asks it."""
    made = Databases(server_url)
    yield made
    await made.drop_template()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_database(databases: Databases) -> AsyncIterator[Database]:
    """The pool of the database that stays empty, because every test rolls back."""
    async with databases.migrated() as url:
        made = Database(url)
        yield made
        await made.close()


@pytest_asyncio.fixture(loop_scope="session")
async def open_uow(shared_database: Database) -> AsyncIterator[OpenUnitOfWork]:
    """Units of work on one connection, one at a time: their commits end savepoints, and are rolled back after the test."""
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
    """The URL of a migrated database of this test alone, where commits are real."""
    async with databases.migrated() as url:
        yield url


@pytest_asyncio.fixture(loop_scope="session")
async def database(database_url: str) -> AsyncIterator[Database]:
    """The pool of the database of this test alone."""
    made = Database(database_url)
    yield made
    await made.close()


@pytest.fixture
def committing_uow(database: Database) -> OpenUnitOfWork:
    """Units of work on the database of this test alone: they commit, and may be open at the same time."""
    return unit_of_work(database.transaction)


@pytest.fixture
def clock() -> FixedClock:
    """The time, in the hands of the test."""
    return FixedClock()


@pytest.fixture
def services_root(tmp_path: Path) -> Path:
    """An empty services folder."""
    root = tmp_path / "services"
    root.mkdir()
    return root


@pytest.fixture
def bus(open_uow: OpenUnitOfWork, services_root: Path, clock: FixedClock) -> MessageBus:
    """The bus with every handler, whose commits are rolled back after the test; one command at a time."""
    return create_bus(open_uow, ServiceFolders(services_root), clock, inputs_of(open_uow, services_root))


@pytest.fixture
def committing_bus(
    committing_uow: OpenUnitOfWork, database: Database, services_root: Path, clock: FixedClock
) -> MessageBus:
    """The bus with every handler on the database of this test alone, wired as the product does it."""
    inputs = inputs_of(committing_uow, services_root)
    autocommit = unit_of_work(database.connection)
    return create_bus(committing_uow, ServiceFolders(services_root), clock, inputs, autocommit)


def inputs_of(open_uow: OpenUnitOfWork, root: Path) -> Inputs:
    """What checks the answers for services below `root`."""
    where = ChoiceContext(folders=ServiceFolders(root), path=os.environ["PATH"], user=lambda: None)
    return Inputs(open_uow, Choices(where), Vault("the secret key of these tests"))


class FailedHandlers(logging.Handler):
    """Collects what the bus says of event handlers that failed."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        if str(record.msg).startswith("A handler of"):
            self.messages.append(self.format(record))


@pytest.fixture(autouse=True)
def failed_handlers() -> Iterator[list[str]]:
    """Fail a test during which an event handler failed. One that wants that to happen clears the list."""
    collector = FailedHandlers()
    logger = logging.getLogger("deploy.service_layer.messagebus")
    logger.addHandler(collector)
    yield collector.messages
    logger.removeHandler(collector)
    assert not collector.messages, collector.messages
