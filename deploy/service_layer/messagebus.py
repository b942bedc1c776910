"""The message bus: the only place that opens write transactions. It publishes events after the commit."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias, TypeVar

from deploy.adapters.repository import CommittedEvents
from deploy.domain.audit import entry_of
from deploy.domain.commands import Command
from deploy.domain.events import Event
from deploy.domain.policy import Actor
from deploy.service_layer.authorization import authorize
from deploy.service_layer.unit_of_work import OpenUnitOfWork, UnitOfWork, in_unit_of_work

log = logging.getLogger(__name__)

Message = TypeVar("Message")
Handler: TypeAlias = Callable[[Message, UnitOfWork], Awaitable[list[Event]]]
Prepare: TypeAlias = Callable[[Message], Awaitable[Message]]


class Unprepared(Exception):
    """A handler needs a prepared command. Its transaction is rolled back."""


class _Undo(Exception):
    """Rolls back the transaction of a rehearsal."""


class MessageBus:
    """Routes each command to its handler, and each returned event to the handlers registered for it.

    Each message gets its own unit of work. Sharing one between concurrent messages would lose writes.
    """

    def __init__(self, open_unit_of_work: OpenUnitOfWork, open_autocommit: OpenUnitOfWork | None = None) -> None:
        """`open_unit_of_work` opens transactions.

        In the units of work of `open_autocommit`, each statement commits on its own.
        """
        self._open_unit_of_work = open_unit_of_work
        self._open_autocommit = open_autocommit or open_unit_of_work
        self._autocommit: set[type[Any]] = set()
        self._commands: dict[type[Any], Handler[Any]] = {}
        self._prepare: dict[type[Any], Prepare[Any]] = {}
        self._events: dict[type[Any], list[Handler[Any]]] = {}
        self._listeners: dict[type[Any], list[Callable[[Any], None]]] = {}
        self._committed: list[Callable[[CommittedEvents], None]] = []

    def on_command(
        self,
        kind: type[Message],
        handler: Handler[Message],
        *,
        prepare: Prepare[Message] | None = None,
        autocommit: bool = False,
    ) -> None:
        """Register the handler of a command.

        An `autocommit` handler groups its statements itself (`UnitOfWork.atomically`), because it usually runs a
        single statement, which does not need a transaction.

        `prepare` does work that takes too long for a transaction. If the handler raises Unprepared, it is called again
        with the command that `prepare` returns.
        """
        self._commands[kind] = handler
        if prepare is not None:
            self._prepare[kind] = prepare
        if autocommit:
            self._autocommit.add(kind)

    def on_event(self, kind: type[Message], *handlers: Handler[Message]) -> None:
        """Register handlers for an event. Each runs after the commit, in its own transaction."""
        self._events.setdefault(kind, []).extend(handlers)

    def on_commit(self, kind: type[Message], listener: Callable[[Message], None]) -> None:
        """Register a callback for an event in this process.

        It runs before any other notification and must not block.
        """
        self._listeners.setdefault(kind, []).append(listener)

    def on_committed(self, listener: Callable[[CommittedEvents], None]) -> None:
        """Register a callback that receives, after the commit, the events that were stored for clients.

        It must not block.
        """
        self._committed.append(listener)

    async def handle(self, command: Command, *, by: Actor) -> list[Event]:
        """Execute a command if its rule allows the actor to, and return its events.

        Authorization, changes, and the audit entry share one transaction.

        Raises:
            NotFound: The object does not exist, or the actor is not allowed to know that it does.
            Forbidden: The actor is not allowed to do this.
            DomainError: The command failed. Nothing was changed.
        """
        try:
            events = await self._execute(command, by)
        except Unprepared:
            events = await self._execute(await self._prepare[type(command)](command), by)
        for event in events:
            self._notify(self._listeners.get(type(event), ()), event)
        for event in events:
            for handler in self._events.get(type(event), ()):
                await self._run_event_handler(handler, event)
        return events

    async def rehearse(self, command: Command, *, by: Actor) -> None:
        """Execute a command and undo everything, to find out if it would succeed.

        Raises:
            NotFound: The object does not exist, or the actor is not allowed to know that it does.
            Forbidden: The actor is not allowed to do this.
            DomainError: The command would fail.
        """
        handler = self._commands[type(command)]

        async def rehearsed(uow: UnitOfWork) -> None:
            await authorize(command, by, uow)
            await handler(command, uow)
            raise _Undo

        with contextlib.suppress(_Undo):
            await in_unit_of_work(self._open_unit_of_work, rehearsed)

    async def _execute(self, command: Command, by: Actor) -> list[Event]:
        handler = self._commands[type(command)]

        async def authorized(command: Command, uow: UnitOfWork) -> list[Event]:
            await authorize(command, by, uow)
            events = await handler(command, uow)
            if command.rule.audited:
                await uow.audit.add(entry_of(command, by, events))
            return events

        return await self._run(authorized, command)

    async def _run(self, handler: Handler[Any], message: Command | Event) -> list[Event]:
        is_autocommit = type(message) in self._autocommit

        async def work(uow: UnitOfWork) -> tuple[list[Event], list[CommittedEvents]]:
            return await handler(message, uow), uow.committed

        open_unit_of_work = self._open_autocommit if is_autocommit else self._open_unit_of_work
        events, committed = await in_unit_of_work(open_unit_of_work, work)
        for events_of_run in committed:
            self._notify(self._committed, events_of_run)
        return events

    # A failed notification does not undo the commit: log it and continue.

    @staticmethod
    def _notify(listeners: Iterable[Callable[[Message], None]], message: Message) -> None:
        for listener in listeners:
            try:
                listener(message)
            except Exception:
                # Do not log the events: not everyone who can read the log is allowed to read the deployment.
                name = (
                    f"committed events of deployment {message.deployment_id}"
                    if isinstance(message, CommittedEvents)
                    else repr(message)
                )
                log.exception("A handler of %s failed", name)

    async def _run_event_handler(self, handler: Handler[Any], event: Event) -> None:
        try:
            await self._run(handler, event)
        except Exception:
            log.exception("A handler of %r failed", event)
