"""Units of work: the repositories on one connection, opened for each message and each read.

Repositories of managed data (users, tokens, services, …) use an SQLAlchemy session; those of the stream of a run use
plain SQL (decision 0018). Both use the same connection and transaction.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from typing import TypeAlias, TypeVar

from deploy.adapters import repository
from deploy.adapters.database import (
    DATABASE_ERRORS,
    DriverConnection,
    atomically_on,
    is_outdated,
    session_of,
    session_scope,
)
from deploy.adapters.repository import CommittedEvents

Result = TypeVar("Result")


class UnitOfWork:
    """The repositories on one connection, created on first use. It is one transaction unless it is in autocommit mode.

    Repositories never commit. The caller that opened the unit of work commits at the end. `committed` holds the events that
    were stored for clients, which are sent after the commit.

    In autocommit mode, there is no session, so using managed data raises RuntimeError.
    """

    def __init__(self, driver: DriverConnection) -> None:
        self._driver = driver
        self.committed: list[CommittedEvents] = []

    def atomically(self) -> AbstractAsyncContextManager[None]:
        """Return a transaction for several statements of a unit of work in autocommit mode."""
        return atomically_on(self._driver)

    @cached_property
    def users(self) -> repository.Users:
        """User accounts."""
        return repository.Users(session_of(self._driver))

    @cached_property
    def sessions(self) -> repository.Sessions:
        """Browser sessions."""
        return repository.Sessions(session_of(self._driver))

    @cached_property
    def attempts(self) -> repository.Attempts:
        """Recent password attempts, and the networks known to each account."""
        return repository.Attempts(session_of(self._driver))

    @cached_property
    def audit(self) -> repository.Audit:
        """The audit log."""
        return repository.Audit(session_of(self._driver))

    @cached_property
    def tokens(self) -> repository.Tokens:
        """The records of service and config tokens."""
        return repository.Tokens(session_of(self._driver))

    @cached_property
    def groups(self) -> repository.Groups:
        """Groups of users."""
        return repository.Groups(session_of(self._driver))

    @cached_property
    def grants(self) -> repository.Grants:
        """Grants of users and groups."""
        return repository.Grants(session_of(self._driver))

    @cached_property
    def services(self) -> repository.Services:
        """Services."""
        return repository.Services(session_of(self._driver))

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
    def hosts(self) -> repository.HostResults:
        """The results of steps on hosts."""
        return repository.HostResults(self._driver)

    @cached_property
    def events(self) -> repository.Events:
        """The events of deployments."""
        return repository.Events(self._driver)

    @cached_property
    def queue(self) -> repository.Queue:
        """The queue of deployments."""
        return repository.Queue(self._driver)

    @cached_property
    def retention(self) -> repository.Retention:
        """The deletion of old deployments."""
        return repository.Retention(self._driver)

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


ConnectionFactory: TypeAlias = Callable[[], AbstractAsyncContextManager[DriverConnection]]
OpenUnitOfWork: TypeAlias = Callable[[], AbstractAsyncContextManager[UnitOfWork]]


def unit_of_work(connect: ConnectionFactory) -> OpenUnitOfWork:
    """Return a factory of units of work on the connections of `connect`.

    They are either transactions that commit at the end, or plain connections.
    """

    @asynccontextmanager
    async def open_unit_of_work() -> AsyncIterator[UnitOfWork]:
        async with connect() as driver, session_scope(driver):
            yield UnitOfWork(driver)

    return open_unit_of_work


async def in_unit_of_work(
    open_unit_of_work: OpenUnitOfWork, work: Callable[[UnitOfWork], Awaitable[Result]]
) -> Result:
    """Return the result of `work`. Repeat it once if a migration has outdated its prepared statements."""
    try:
        async with open_unit_of_work() as uow:
            return await work(uow)
    except DATABASE_ERRORS as error:
        if not is_outdated(error):
            raise
    async with open_unit_of_work() as uow:
        return await work(uow)
