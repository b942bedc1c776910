"""SQLAlchemy sessions on the connection of a unit of work, inside the transaction that the driver began."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from deploy.adapters.database.connection import DriverConnection
from deploy.adapters.database.errors import driver_error


@asynccontextmanager
async def session_scope(driver: DriverConnection) -> AsyncIterator[None]:
    """Flush the session at the end of the block, if one was opened. The caller commits.

    Errors of the driver leave the block as the driver's errors, not wrapped by SQLAlchemy: callers outside of the
    repositories only have to know one family.
    """
    driver.allows_session = driver.is_in_transaction()
    try:
        yield
        await flush(driver)
    except DBAPIError as error:
        raise driver_error(error) from error
    finally:
        driver.allows_session = False
        session, driver.session = driver.session, None
        if session is not None:
            # Does not wait for the database: SQLAlchemy considers the connection to be in autocommit mode.
            session.sync_session.close()


def session_of(driver: DriverConnection) -> AsyncSession:
    """Return the session of the current unit of work. The first call opens it.

    Objects stay readable after the commit.

    Raises:
        RuntimeError: The unit of work is in autocommit mode, so changes that the session flushes at different times
            would not be atomic.
    """
    if driver.session is None:
        if not driver.allows_session:
            raise RuntimeError("Managed data needs a unit of work with a transaction; this one is in autocommit mode.")
        engine = driver.engine
        connection = AsyncConnection(engine, Connection(engine.sync_engine, driver.pooled))
        driver.session = AsyncSession(connection, expire_on_commit=False)
    return driver.session


async def flush(driver: DriverConnection) -> None:
    """Write the pending changes of the session. Call this before plain SQL, which might read what has changed."""
    session = driver.session
    if session is not None and (session.new or session.dirty or session.deleted):
        await session.flush()
