"""The bus opens one unit of work per message and publishes events after the commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from deploy.adapters.repository import CommittedEvents
from deploy.domain.commands import DeleteService, FailLostRun
from deploy.domain.errors import NotFound
from deploy.domain.events import AccessChanged, Event, ServiceChanged
from deploy.domain.model import Lane
from deploy.domain.policy import WORKER
from deploy.service_layer.messagebus import MessageBus
from deploy.service_layer.unit_of_work import UnitOfWork

CLOSE = FailLostRun(deployment_id=1, reason="s1")
CHANGED = ServiceChanged(1, "shop", "removed")


class Numbered(int):
    """Stands in for the repositories, which the bus only passes on. Records what was stored."""

    def __init__(self, _number: int) -> None:
        self.committed: list[CommittedEvents] = []


class Journal:
    """Creates units of work and records what happens to them."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.open: set[int] = set()
        self._count = 0

    @asynccontextmanager
    async def unit_of_work(self) -> AsyncIterator[UnitOfWork]:
        """Record the beginning and the end of a unit of work."""
        self._count += 1
        number = self._count
        self.open.add(number)
        try:
            yield cast("UnitOfWork", Numbered(number))
        except BaseException:
            self.entries.append(f"{number} rolled back")
            raise
        else:
            self.entries.append(f"{number} committed")
        finally:
            self.open.discard(number)


@pytest.fixture
def journal() -> Journal:
    return Journal()


@pytest.fixture
def empty_bus(journal: Journal) -> MessageBus:
    return MessageBus(journal.unit_of_work)


class TestCommands:
    async def test_each_command_has_its_own_transaction(self, empty_bus: MessageBus, journal: Journal) -> None:
        async def close(command: FailLostRun, uow: UnitOfWork) -> list[Event]:
            journal.entries.append(f"{command.reason} in {uow}")
            return [CHANGED]

        empty_bus.on_command(FailLostRun, close)
        assert await empty_bus.handle(CLOSE, by=WORKER) == [CHANGED]
        assert await empty_bus.handle(CLOSE, by=WORKER) == [CHANGED]
        assert journal.entries == ["s1 in 1", "1 committed", "s1 in 2", "2 committed"]

    async def test_a_rejected_command_is_rolled_back_and_publishes_nothing(
        self, empty_bus: MessageBus, journal: Journal
    ) -> None:
        async def delete(_command: DeleteService, _uow: UnitOfWork) -> list[Event]:
            raise NotFound("Service not found")

        async def publish(_event: ServiceChanged, _uow: UnitOfWork) -> list[Event]:
            journal.entries.append("published")
            return []

        empty_bus.on_command(DeleteService, delete)
        empty_bus.on_event(ServiceChanged, publish)
        with pytest.raises(NotFound):
            await empty_bus.handle(DeleteService(service_id=1), by=WORKER)
        assert journal.entries == ["1 rolled back"]

    async def test_concurrent_commands_do_not_share_anything(self, empty_bus: MessageBus, journal: Journal) -> None:
        together = asyncio.Event()

        async def close(_command: FailLostRun, _uow: UnitOfWork) -> list[Event]:
            if len(journal.open) == 3:
                together.set()
            await together.wait()
            return []

        empty_bus.on_command(FailLostRun, close)
        await asyncio.gather(*(empty_bus.handle(CLOSE, by=WORKER) for _ in range(3)))
        assert sorted(journal.entries) == ["1 committed", "2 committed", "3 committed"]

    async def test_a_cancelled_command_is_rolled_back(self, empty_bus: MessageBus, journal: Journal) -> None:
        begun = asyncio.Event()

        async def close(_command: FailLostRun, _uow: UnitOfWork) -> list[Event]:
            begun.set()
            await asyncio.Event().wait()
            return []

        empty_bus.on_command(FailLostRun, close)
        task = asyncio.ensure_future(empty_bus.handle(CLOSE, by=WORKER))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert journal.entries == ["1 rolled back"]

    async def test_a_command_without_a_handler_is_an_internal_error(self, empty_bus: MessageBus) -> None:
        with pytest.raises(KeyError):
            await empty_bus.handle(CLOSE, by=WORKER)


class TestEvents:
    @pytest.fixture
    def changing(self, empty_bus: MessageBus) -> MessageBus:
        """Return a bus whose command causes two events."""

        async def close(_command: FailLostRun, _uow: UnitOfWork) -> list[Event]:
            return [CHANGED, AccessChanged(None)]

        empty_bus.on_command(FailLostRun, close)
        return empty_bus

    async def test_events_are_handled_after_the_commit_in_order(self, changing: MessageBus, journal: Journal) -> None:
        async def service(event: ServiceChanged, uow: UnitOfWork) -> list[Event]:
            journal.entries.append(f"{event.change} in {uow}")
            return []

        async def access(_event: AccessChanged, uow: UnitOfWork) -> list[Event]:
            journal.entries.append(f"access in {uow}")
            return []

        changing.on_event(ServiceChanged, service, service)
        changing.on_event(AccessChanged, access)
        await changing.handle(CLOSE, by=WORKER)
        assert journal.entries == [
            "1 committed",
            "removed in 2",
            "2 committed",
            "removed in 3",
            "3 committed",
            "access in 4",
            "4 committed",
        ]

    async def test_local_listeners_are_notified_first(self, changing: MessageBus, journal: Journal) -> None:
        async def service(_event: ServiceChanged, _uow: UnitOfWork) -> list[Event]:
            return []

        changing.on_event(ServiceChanged, service)
        changing.on_commit(AccessChanged, lambda event: journal.entries.append(f"knows of {event}"))
        await changing.handle(CLOSE, by=WORKER)
        assert journal.entries == ["1 committed", f"knows of {AccessChanged(None)}", "2 committed"]

    async def test_a_failing_listener_does_not_affect_the_others(
        self, changing: MessageBus, journal: Journal, failed_handlers: list[str]
    ) -> None:
        def fail(_event: AccessChanged) -> None:
            raise ValueError("no luck")

        changing.on_commit(AccessChanged, fail)
        changing.on_commit(AccessChanged, lambda event: journal.entries.append(f"knows of {event}"))
        assert await changing.handle(CLOSE, by=WORKER) == [CHANGED, AccessChanged(None)]
        assert journal.entries == ["1 committed", f"knows of {AccessChanged(None)}"]
        assert "no luck" in failed_handlers.pop()

    async def test_a_failing_handler_does_not_affect_the_others(
        self, changing: MessageBus, journal: Journal, failed_handlers: list[str]
    ) -> None:
        async def fail(_event: ServiceChanged, _uow: UnitOfWork) -> list[Event]:
            raise ValueError("no luck")

        async def access(_event: AccessChanged, _uow: UnitOfWork) -> list[Event]:
            journal.entries.append("published")
            return []

        changing.on_event(ServiceChanged, fail)
        changing.on_event(AccessChanged, access)
        assert await changing.handle(CLOSE, by=WORKER) == [CHANGED, AccessChanged(None)]
        assert journal.entries == ["1 committed", "2 rolled back", "published", "3 committed"]
        (logged,) = failed_handlers
        assert "ServiceChanged(service_id=1, name='shop', change='removed')" in logged
        assert "no luck" in logged
        failed_handlers.clear()

    async def test_events_without_a_handler_are_accepted(self, changing: MessageBus, journal: Journal) -> None:
        await changing.handle(CLOSE, by=WORKER)
        assert journal.entries == ["1 committed"]


class TestCommittedEvents:
    NEWS = CommittedEvents(7, Lane(1), ())

    @pytest.fixture
    def storing(self, empty_bus: MessageBus) -> MessageBus:
        """Return a bus whose command stores something that clients can see."""

        async def close(_command: FailLostRun, uow: UnitOfWork) -> list[Event]:
            uow.committed.append(self.NEWS)
            return []

        empty_bus.on_command(FailLostRun, close)
        return empty_bus

    async def test_events_are_published_after_the_commit(self, storing: MessageBus, journal: Journal) -> None:
        storing.on_committed(lambda news: journal.entries.append(f"published {news.deployment_id}"))
        await storing.handle(CLOSE, by=WORKER)
        assert journal.entries == ["1 committed", "published 7"]

    async def test_a_rollback_does_not_publish_events(self, empty_bus: MessageBus, journal: Journal) -> None:
        async def close(_command: FailLostRun, uow: UnitOfWork) -> list[Event]:
            uow.committed.append(self.NEWS)
            raise NotFound("Session not found")

        empty_bus.on_command(FailLostRun, close)
        empty_bus.on_committed(lambda news: journal.entries.append(f"published {news.deployment_id}"))
        with pytest.raises(NotFound):
            await empty_bus.handle(CLOSE, by=WORKER)
        assert journal.entries == ["1 rolled back"]

    async def test_a_failing_subscriber_does_not_affect_the_command(
        self, storing: MessageBus, journal: Journal, failed_handlers: list[str]
    ) -> None:
        def fail(_news: CommittedEvents) -> None:
            raise ValueError("no luck")

        storing.on_committed(fail)
        storing.on_committed(lambda news: journal.entries.append(f"published {news.deployment_id}"))
        assert await storing.handle(CLOSE, by=WORKER) == []
        assert journal.entries == ["1 committed", "published 7"]
        assert "no luck" in failed_handlers.pop()
