"""The bus: one unit of work per message, events after the commit."""

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
from deploy.domain.policy import WORKER
from deploy.service_layer.messagebus import MessageBus
from deploy.service_layer.unit_of_work import UnitOfWork

CLOSE = FailLostRun(deployment_id=1, reason="s1")
CHANGED = ServiceChanged(1, "shop", "removed")


class Numbered(int):
    """Stands for the repositories, which the bus only passes on; with what was stored."""

    def __init__(self, _number: int) -> None:
        self.news: list[CommittedEvents] = []


class Diary:
    """Notes what happens to units of work, and hands them out."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.open: set[int] = set()
        self._count = 0

    @asynccontextmanager
    async def unit_of_work(self) -> AsyncIterator[UnitOfWork]:
        """Note the beginning and how it ends."""
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
def diary() -> Diary:
    return Diary()


@pytest.fixture
def empty_bus(diary: Diary) -> MessageBus:
    return MessageBus(diary.unit_of_work)


class TestCommands:
    async def test_a_command_has_a_transaction_of_its_own(self, empty_bus: MessageBus, diary: Diary) -> None:
        async def close(command: FailLostRun, uow: UnitOfWork) -> list[Event]:
            diary.entries.append(f"{command.reason} in {uow}")
            return [CHANGED]

        empty_bus.on_command(FailLostRun, close)
        assert await empty_bus.handle(CLOSE, by=WORKER) == [CHANGED]
        assert await empty_bus.handle(CLOSE, by=WORKER) == [CHANGED]
        assert diary.entries == ["s1 in 1", "1 committed", "s1 in 2", "2 committed"]

    async def test_one_that_is_refused_is_rolled_back_and_tells_nobody(
        self, empty_bus: MessageBus, diary: Diary
    ) -> None:
        async def delete(_command: DeleteService, _uow: UnitOfWork) -> list[Event]:
            raise NotFound("Service not found")

        async def tell(_event: ServiceChanged, _uow: UnitOfWork) -> list[Event]:
            diary.entries.append("told")
            return []

        empty_bus.on_command(DeleteService, delete)
        empty_bus.on_event(ServiceChanged, tell)
        with pytest.raises(NotFound):
            await empty_bus.handle(DeleteService(service_id=1), by=WORKER)
        assert diary.entries == ["1 rolled back"]

    async def test_commands_at_the_same_time_share_nothing(self, empty_bus: MessageBus, diary: Diary) -> None:
        together = asyncio.Event()

        async def close(_command: FailLostRun, _uow: UnitOfWork) -> list[Event]:
            if len(diary.open) == 3:
                together.set()
            await together.wait()
            return []

        empty_bus.on_command(FailLostRun, close)
        await asyncio.gather(*(empty_bus.handle(CLOSE, by=WORKER) for _ in range(3)))
        assert sorted(diary.entries) == ["1 committed", "2 committed", "3 committed"]

    async def test_one_that_is_interrupted_is_rolled_back(self, empty_bus: MessageBus, diary: Diary) -> None:
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
        assert diary.entries == ["1 rolled back"]

    async def test_a_command_without_a_handler_is_an_error_of_ours(self, empty_bus: MessageBus) -> None:
        with pytest.raises(KeyError):
            await empty_bus.handle(CLOSE, by=WORKER)


class TestEvents:
    @pytest.fixture
    def changing(self, empty_bus: MessageBus) -> MessageBus:
        """A bus whose command causes two events."""

        async def close(_command: FailLostRun, _uow: UnitOfWork) -> list[Event]:
            return [CHANGED, AccessChanged(None)]

        empty_bus.on_command(FailLostRun, close)
        return empty_bus

    async def test_they_are_told_after_the_commit_in_their_order(self, changing: MessageBus, diary: Diary) -> None:
        async def service(event: ServiceChanged, uow: UnitOfWork) -> list[Event]:
            diary.entries.append(f"{event.change} in {uow}")
            return []

        async def access(_event: AccessChanged, uow: UnitOfWork) -> list[Event]:
            diary.entries.append(f"access in {uow}")
            return []

        changing.on_event(ServiceChanged, service, service)
        changing.on_event(AccessChanged, access)
        await changing.handle(CLOSE, by=WORKER)
        assert diary.entries == [
            "1 committed",
            "removed in 2",
            "2 committed",
            "removed in 3",
            "3 committed",
            "access in 4",
            "4 committed",
        ]

    async def test_this_process_knows_of_them_first(self, changing: MessageBus, diary: Diary) -> None:
        async def service(_event: ServiceChanged, _uow: UnitOfWork) -> list[Event]:
            return []

        changing.on_event(ServiceChanged, service)
        changing.on_commit(AccessChanged, lambda event: diary.entries.append(f"knows of {event}"))
        await changing.handle(CLOSE, by=WORKER)
        assert diary.entries == ["1 committed", f"knows of {AccessChanged(None)}", "2 committed"]

    async def test_who_cannot_be_told_here_hinders_nobody(
        self, changing: MessageBus, diary: Diary, failed_handlers: list[str]
    ) -> None:
        def fail(_event: AccessChanged) -> None:
            raise ValueError("no luck")

        changing.on_commit(AccessChanged, fail)
        changing.on_commit(AccessChanged, lambda event: diary.entries.append(f"knows of {event}"))
        assert await changing.handle(CLOSE, by=WORKER) == [CHANGED, AccessChanged(None)]
        assert diary.entries == ["1 committed", f"knows of {AccessChanged(None)}"]
        assert "no luck" in failed_handlers.pop()

    async def test_a_handler_that_fails_hinders_nobody(
        self, changing: MessageBus, diary: Diary, failed_handlers: list[str]
    ) -> None:
        async def fail(_event: ServiceChanged, _uow: UnitOfWork) -> list[Event]:
            raise ValueError("no luck")

        async def access(_event: AccessChanged, _uow: UnitOfWork) -> list[Event]:
            diary.entries.append("told")
            return []

        changing.on_event(ServiceChanged, fail)
        changing.on_event(AccessChanged, access)
        assert await changing.handle(CLOSE, by=WORKER) == [CHANGED, AccessChanged(None)]
        assert diary.entries == ["1 committed", "2 rolled back", "told", "3 committed"]
        (logged,) = failed_handlers
        assert "ServiceChanged(service_id=1, name='shop', change='removed')" in logged
        assert "no luck" in logged
        failed_handlers.clear()

    async def test_events_that_nobody_waits_for_are_fine(self, changing: MessageBus, diary: Diary) -> None:
        await changing.handle(CLOSE, by=WORKER)
        assert diary.entries == ["1 committed"]


class TestNews:
    NEWS = CommittedEvents(7, 1, ())

    @pytest.fixture
    def storing(self, empty_bus: MessageBus) -> MessageBus:
        """A bus whose command stores something for clients to see."""

        async def close(_command: FailLostRun, uow: UnitOfWork) -> list[Event]:
            uow.news.append(self.NEWS)
            return []

        empty_bus.on_command(FailLostRun, close)
        return empty_bus

    async def test_they_are_told_after_the_commit(self, storing: MessageBus, diary: Diary) -> None:
        storing.on_news(lambda news: diary.entries.append(f"told {news.deployment_id}"))
        await storing.handle(CLOSE, by=WORKER)
        assert diary.entries == ["1 committed", "told 7"]

    async def test_of_what_was_rolled_back_there_are_none(self, empty_bus: MessageBus, diary: Diary) -> None:
        async def close(_command: FailLostRun, uow: UnitOfWork) -> list[Event]:
            uow.news.append(self.NEWS)
            raise NotFound("Session not found")

        empty_bus.on_command(FailLostRun, close)
        empty_bus.on_news(lambda news: diary.entries.append(f"told {news.deployment_id}"))
        with pytest.raises(NotFound):
            await empty_bus.handle(CLOSE, by=WORKER)
        assert diary.entries == ["1 rolled back"]

    async def test_who_cannot_be_told_hinders_nobody(
        self, storing: MessageBus, diary: Diary, failed_handlers: list[str]
    ) -> None:
        def fail(_news: CommittedEvents) -> None:
            raise ValueError("no luck")

        storing.on_news(fail)
        storing.on_news(lambda news: diary.entries.append(f"told {news.deployment_id}"))
        assert await storing.handle(CLOSE, by=WORKER) == []
        assert diary.entries == ["1 committed", "told 7"]
        assert "no luck" in failed_handlers.pop()
