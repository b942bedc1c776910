"""The repositories over one connection: one for each message, and one for each read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cached_property
from typing import TypeAlias

import asyncpg

from deploy.adapters import repository
from deploy.adapters.database import atomically_on
from deploy.adapters.repository import News


class UnitOfWork:
    """The repositories over one connection, each made when it is needed; all of it is one transaction, but in a loose one. They never commit; whoever opened it does, at its end.

    `news` is what was stored for clients to see; whoever has committed it may tell them.
    """

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver
        self.news: list[News] = []

    def atomically(self) -> AbstractAsyncContextManager[None]:
        """Return what binds statements together, where the unit of work itself does not."""
        return atomically_on(self._driver)

    @cached_property
    def users(self) -> repository.Users:
        """Who may sign in."""
        return repository.Users(self._driver)

    @cached_property
    def sessions(self) -> repository.Sessions:
        """Browsers that are signed in."""
        return repository.Sessions(self._driver)

    @cached_property
    def attempts(self) -> repository.Attempts:
        """Password attempts of the last minutes, and the networks that are known to accounts."""
        return repository.Attempts(self._driver)

    @cached_property
    def tokens(self) -> repository.Tokens:
        """The records of service and config tokens."""
        return repository.Tokens(self._driver)

    @cached_property
    def services(self) -> repository.Services:
        """What can be deployed."""
        return repository.Services(self._driver)

    @cached_property
    def deployments(self) -> repository.Deployments:
        """The runs, past and present."""
        return repository.Deployments(self._driver)

    @cached_property
    def batches(self) -> repository.Batches:
        """What messages change in deployments."""
        return repository.Batches(self._driver, self.news)

    @cached_property
    def steps(self) -> repository.Steps:
        """The steps of deployments."""
        return repository.Steps(self._driver)

    @cached_property
    def events(self) -> repository.Events:
        """What happened in each deployment."""
        return repository.Events(self._driver)

    @cached_property
    def queue(self) -> repository.Queue:
        """Deployments that wait for a worker."""
        return repository.Queue(self._driver)

    @cached_property
    def plans(self) -> repository.Plans:
        """What to expect of a service, by its past."""
        return repository.Plans(self._driver)

    @cached_property
    def history(self) -> repository.History:
        """The past of services."""
        return repository.History(self._driver)

    @cached_property
    def answers(self) -> repository.Answers:
        """What somebody answered the last time."""
        return repository.Answers(self._driver)

    @cached_property
    def secrets(self) -> repository.Secrets:
        """Secret inputs of deployments that have not ended."""
        return repository.Secrets(self._driver)

    @cached_property
    def deployed_services(self) -> repository.DeployedServices:
        """What the last successful deployment of each service left running."""
        return repository.DeployedServices(self._driver)

    @cached_property
    def workers(self) -> repository.Workers:
        """The workers that have been seen."""
        return repository.Workers(self._driver)


Lend: TypeAlias = Callable[[], AbstractAsyncContextManager[asyncpg.Connection]]
OpenUnitOfWork: TypeAlias = Callable[[], AbstractAsyncContextManager[UnitOfWork]]


def unit_of_work(lend: Lend) -> OpenUnitOfWork:
    """Return a factory of units of work on what `lend` gives: a transaction, which commits at the end, or a connection."""

    @asynccontextmanager
    async def open_unit_of_work() -> AsyncIterator[UnitOfWork]:
        async with lend() as driver:
            yield UnitOfWork(driver)

    return open_unit_of_work
