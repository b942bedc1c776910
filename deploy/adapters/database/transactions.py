"""Transactions on asyncpg's connection. SQLAlchemy never begins or ends one, because its engine is in AUTOCOMMIT mode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg

from deploy.adapters.database.errors import DATABASE_ERRORS

# Seconds to wait for a transaction or a connection to end before the connection is terminated.
END_TIMEOUT = 2.0


@asynccontextmanager
async def transaction_on(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Run a transaction on a connection, or a savepoint if a transaction is already active.

    On a dead connection, asyncpg's own context manager replaces a cancellation with the error of the rollback, so the
    canceled task would continue. It also waits forever on an unresponsive connection.
    """
    begun = connection.transaction()
    await begun.__aenter__()
    try:
        yield
    except BaseException as error:
        with suppress(*DATABASE_ERRORS):
            await asyncio.wait_for(begun.__aexit__(type(error), error, error.__traceback__), END_TIMEOUT)
        raise
    await begun.__aexit__(None, None, None)


@asynccontextmanager
async def atomically_on(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Make the block atomic: start a transaction unless one is active."""
    if connection.is_in_transaction():
        yield
        return
    async with transaction_on(connection):
        yield
