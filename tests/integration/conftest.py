"""Sites on real databases."""

from __future__ import annotations

import pytest

from deploy.service_layer.messagebus import MessageBus
from deploy.service_layer.unit_of_work import OpenUnitOfWork
from tests.conftest import FixedClock
from tests.site import Site


@pytest.fixture
def site(bus: MessageBus, open_uow: OpenUnitOfWork, clock: FixedClock) -> Site:
    """A site whose changes are rolled back after the test; one thing at a time."""
    return Site(bus, open_uow, clock)


@pytest.fixture
def busy_site(committing_bus: MessageBus, committing_uow: OpenUnitOfWork, clock: FixedClock) -> Site:
    """A site with a database of its own, where many things happen at the same time."""
    return Site(committing_bus, committing_uow, clock)
