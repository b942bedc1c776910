"""The one place that opens a transaction for a write, and tells what happened once it is committed."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias, TypeVar

from deploy.adapters.repository import News
from deploy.domain.commands import Command
from deploy.domain.events import Event
from deploy.service_layer.unit_of_work import OpenUnitOfWork, UnitOfWork

log = logging.getLogger(__name__)

Message = TypeVar("Message")
Handler: TypeAlias = Callable[[Message, UnitOfWork], Awaitable[list[Event]]]
Prepare: TypeAlias = Callable[[Message], Awaitable[Message]]


class Unprepared(Exception):
    """A handler cannot carry out a command before something has been found out; its transaction is rolled back."""


class MessageBus:
    """Routes a command to its handler, and the events it returns to those who registered for them.

    Each message gets a unit of work of its own: one that is shared between concurrent messages loses writes.
    """

    def __init__(self, open_unit_of_work: OpenUnitOfWork, open_loose: OpenUnitOfWork | None = None) -> None:
        """`open_unit_of_work` gives transactions; `open_loose` units of work whose statements commit one by one."""
        self._open_unit_of_work = open_unit_of_work
        self._open_loose = open_loose or open_unit_of_work
        self._loose: set[type[Any]] = set()
        self._commands: dict[type[Any], Handler[Any]] = {}
        self._prepare: dict[type[Any], Prepare[Any]] = {}
        self._events: dict[type[Any], list[Handler[Any]]] = {}
        self._here: dict[type[Any], list[Callable[[Any], None]]] = {}
        self._news: list[Callable[[News], None]] = []

    def on_command(
        self,
        kind: type[Message],
        handler: Handler[Message],
        *,
        prepare: Prepare[Message] | None = None,
        loose: bool = False,
    ) -> None:
        """Register the handler of a command.

        `loose`: it says itself which of its statements belong together (`UnitOfWork.atomically`), since most often
        there is but one, which needs no transaction around it.

        `prepare` does what takes too long for a transaction: where the handler raises Unprepared, it is asked for a
        better command, with which the handler is called again.
        """
        self._commands[kind] = handler
        if prepare is not None:
            self._prepare[kind] = prepare
        if loose:
            self._loose.add(kind)

    def on_event(self, kind: type[Message], *handlers: Handler[Message]) -> None:
        """Register handlers of an event; each runs after the commit, in a transaction of its own."""
        self._events.setdefault(kind, []).extend(handlers)

    def on_commit(self, kind: type[Message], tell: Callable[[Message], None]) -> None:
        """Register who is told of an event in this process, before anybody else hears of the commit. It must not wait."""
        self._here.setdefault(kind, []).append(tell)

    def on_news(self, tell: Callable[[News], None]) -> None:
        """Register who is told, after the commit, what was stored for clients to see. It must not wait."""
        self._news.append(tell)

    async def handle(self, command: Command) -> list[Event]:
        """Carry out a command and return what happened.

        Raises:
            DomainError: the command cannot be carried out; nothing was changed.
        """
        handler = self._commands[type(command)]
        try:
            events = await self._run(handler, command)
        except Unprepared:
            prepared = await self._prepare[type(command)](command)
            events = await self._run(handler, prepared)
        for event in events:
            self._tell_here(self._here.get(type(event), ()), event)
        for event in events:
            for handler in self._events.get(type(event), ()):
                await self._tell(handler, event)
        return events

    async def _run(self, handler: Handler[Any], message: Command | Event) -> list[Event]:
        is_loose = type(message) in self._loose
        async with self._open_loose() if is_loose else self._open_unit_of_work() as uow:
            events = await handler(message, uow)
        for news in uow.news:
            self._tell_here(self._news, news)
        return events

    # What was committed stays true even if somebody could not be told of it: log, and go on.

    @staticmethod
    def _tell_here(listeners: Iterable[Callable[[Message], None]], what: Message) -> None:
        for tell in listeners:
            try:
                tell(what)
            except Exception:
                # What is in news was shown to those who may see it; a log is for others.
                told = f"news of deployment {what.deployment_id}" if isinstance(what, News) else repr(what)
                log.exception("A handler of %s failed", told)

    async def _tell(self, handler: Handler[Any], event: Event) -> None:
        try:
            await self._run(handler, event)
        except Exception:
            log.exception("A handler of %r failed", event)
