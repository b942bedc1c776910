"""Sites on real databases."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.adapters.service_folders.files import Files
from deploy.service_layer.messagebus import MessageBus
from deploy.service_layer.unit_of_work import OpenUnitOfWork
from tests.conftest import FixedClock
from tests.reading import files_of, reader_socket
from tests.site import Site


@pytest.fixture(scope="session")
def reader() -> Iterator[socket.socket]:
    """Yield the socket of a reader of service folders."""
    with reader_socket() as made:
        yield made


@pytest.fixture
def files(reader: socket.socket, tmp_path: Path) -> Files:
    """Return the files below the test's own folder."""
    return files_of(reader, tmp_path)


@pytest.fixture
def site(bus: MessageBus, open_uow: OpenUnitOfWork, clock: FixedClock) -> Site:
    """Return a site that does one thing at a time. Its changes are rolled back after the test."""
    return Site(bus, open_uow, clock)


@pytest.fixture
def busy_site(committing_bus: MessageBus, committing_uow: OpenUnitOfWork, clock: FixedClock) -> Site:
    """Return a site with its own database, where many things can happen at the same time."""
    return Site(committing_bus, committing_uow, clock)
