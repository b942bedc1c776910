"""One shared server for most tests, and new servers for tests that stop or configure theirs."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.api import Api
from tests.e2e.folders import Puppet, steps
from tests.e2e.processes import Site, running_site
from tests.e2e.server import Server, temporary_folder

NewServer = Callable[..., Server]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Add the marker of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the server logs of a failed test."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        servers = {id(value): value for value in item.funcargs.values() if isinstance(value, Server)}
        report.sections += [(f"log of {server.base_url}", server.log()) for server in servers.values()]
    return report


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """Yield the server that most tests share, started like users start it. Each test adds services under new names."""
    with temporary_folder() as folder, Server(folder, forked=False) as running:
        yield running
        # Whatever the tests sent, the server has not logged anything unexpected.
        assert "Traceback" not in running.log_file.read_text(errors="replace")


@pytest.fixture
def api(server: Server) -> Api:
    """Return the API of the shared server."""
    return server.api


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """Yield a web server without a worker, on a PostgreSQL that tests can kill. Each test starts its own workers."""
    with running_site() as running:
        yield running


@pytest.fixture
def held(server: Server) -> Iterator[tuple[dict[str, Any], Puppet]]:
    """Yield a deployment with two planned steps that runs until the test ends it."""
    with server.puppet({"steps": steps("One", "Two")}) as (name, puppet):
        started = server.api.start(name, {"TAG": "v1"})
        puppet.config()
        yield started, puppet
        puppet.exit()
        server.api.wait_until_final(started["id"])


@pytest.fixture
def new_server() -> Iterator[NewServer]:
    """Yield a function that creates servers without starting them. The test can stop, kill, and configure them."""
    with ExitStack() as stack:

        def make(
            *,
            options: Sequence[str] = (),
            settings: Mapping[str, str] | None = None,
            blank: bool = False,
            forked: bool = True,
        ) -> Server:
            folder = stack.enter_context(temporary_folder())
            made = Server(folder, options=options, settings=settings, blank=blank, forked=forked)
            stack.callback(made.api.close)
            stack.callback(made.stop)
            return made

        yield make
