"""Units of work: the repositories on one connection, opened for each message and each read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from typing import TypeAlias

import asyncpg

from deploy.adapters import repository
from deploy.adapters.database import atomically_on
from deploy.adapters.repository import CommittedEvents


class UnitOfWork:
    """The repositories on one connection, created on first use. It is one transaction unless it is in autocommit mode.

    Repositories never commit. The caller that opened the unit of work commits at the end. `committed` holds the events that
    were stored for clients, which are sent after the commit.
    """

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver
        self.committed: list[CommittedEvents] = []

    def atomically(self) -> AbstractAsyncContextManager[None]:
        """Return a transaction for several statements of a unit of work in autocommit mode."""
        return atomically_on(self._driver)

    @cached_property
    def users(self) -> repository.Users:
        """User accounts."""
        return repository.Users(self._driver)

    @cached_property
    def sessions(self) -> repository.Sessions:
        """Browser sessions."""
        return repository.Sessions(self._driver)

    @cached_property
    def attempts(self) -> repository.Attempts:
        """Recent password attempts, and the networks known to each account."""
        return repository.Attempts(self._driver)

    @cached_property
    def audit(self) -> repository.Audit:
        """The audit log."""
        return repository.Audit(self._driver)

    @cached_property
    def tokens(self) -> repository.Tokens:
        """The records of service and config tokens."""
        return repository.Tokens(self._driver)

    @cached_property
    def services(self) -> repository.Services:
        """Services."""
        return repository.Services(self._driver)

    @cached_property
    def deployments(self) -> repository.Deployments:
        """Deployments, past and present."""
        return repository.Deployments(self._driver)

    @cached_property
    def batches(self) -> repository.Batches:
        """Batches of changes to deployments."""
        return repository.Batches(self._driver, self.committed)

    @cached_property
    def steps(self) -> repository.Steps:
        """The steps of deployments."""
        return repository.Steps(self._driver)

    @cached_property
    def events(self) -> repository.Events:
        """The events of deployments."""
        return repository.Events(self._driver)

    @cached_property
    def queue(self) -> repository.Queue:
        """The queue of deployments."""
        return repository.Queue(self._driver)

    @cached_property
    def plans(self) -> repository.Plans:
        """Plans based on earlier deployments of a service."""
        return repository.Plans(self._driver)

    @cached_property
    def history(self) -> repository.History:
        """The history of services."""
        return repository.History(self._driver)

    @cached_property
    def previous_values(self) -> repository.PreviousValues:
        """The values that a user gave last time."""
        return repository.PreviousValues(self._driver)

    @cached_property
    def secrets(self) -> repository.Secrets:
        """The secrets of unfinished runs."""
        return repository.Secrets(self._driver)

    @cached_property
    def deployed_services(self) -> repository.DeployedServices:
        """What the last successful deployment of each service left running."""
        return repository.DeployedServices(self._driver)

    @cached_property
    def workers(self) -> repository.Workers:
        """The workers that have been seen."""
        return repository.Workers(self._driver)

    @cached_property
    def worker_tasks(self) -> repository.WorkerTasks:
        """Questions to workers."""
        return repository.WorkerTasks(self._driver)


ConnectionFactory: TypeAlias = Callable[[], AbstractAsyncContextManager[asyncpg.Connection]]
OpenUnitOfWork: TypeAlias = Callable[[], AbstractAsyncContextManager[UnitOfWork]]


def unit_of_work(connect: ConnectionFactory) -> OpenUnitOfWork:
    """Return a factory of units of work on the connections of `connect`.

    They are either transactions that commit at the end, or plain connections.
    """

    @asynccontextmanager
    async def open_unit_of_work() -> AsyncIterator[UnitOfWork]:
        async with connect() as driver:
            yield UnitOfWork(driver)

    return open_unit_of_work
