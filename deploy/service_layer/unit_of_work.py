"""The repositories over one session: one for each message, and one for each read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from deploy.adapters import repository


class UnitOfWork:
    """The repositories of one transaction. Only `unit_of_work` commits."""

    def __init__(self, session: AsyncSession) -> None:
        self.users = repository.Users(session)
        self.sessions = repository.Sessions(session)
        self.logins = repository.Logins(session)
        self.tokens = repository.Tokens(session)
        self.services = repository.Services(session)
        self.deployed_services = repository.DeployedServices(session)
        self.answers = repository.Answers(session)
        self.deployments = repository.Deployments(session)
        self.secrets = repository.Secrets(session)
        self.batches = repository.Batches(session)
        self.steps = repository.Steps(session)
        self.plans = repository.Plans(session)
        self.history = repository.History(session)
        self.events = repository.Events(session)
        self.queue = repository.Queue(session)
        self.workers = repository.Workers(session)


OpenUnitOfWork: TypeAlias = Callable[[], AbstractAsyncContextManager[UnitOfWork]]


def unit_of_work(sessions: async_sessionmaker[AsyncSession]) -> OpenUnitOfWork:
    """Return a factory of units of work: a transaction that commits at the end, or rolls back on any error."""

    @asynccontextmanager
    async def open_unit_of_work() -> AsyncIterator[UnitOfWork]:
        async with sessions.begin() as session:
            yield UnitOfWork(session)

    return open_unit_of_work
