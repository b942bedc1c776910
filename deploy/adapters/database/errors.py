"""Tell the errors of asyncpg and SQLAlchemy apart: outages, outdated plans, and rejected statements."""

from __future__ import annotations

import asyncio
import errno

import asyncpg
from asyncpg.exceptions import ClientConfigurationError, InvalidCachedStatementError, OutdatedSchemaCacheError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError


class Unreachable(ConnectionError):
    """The database cannot be reached. (A plain OSError can have other causes, such as a file.)"""


class ReadTimeout(Exception):
    """A read took too long and was canceled."""


_OUTAGES = (
    Unreachable,
    PoolTimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # The server has announced that it will close the connection but has not done so yet.
    asyncpg.InternalClientError,
)
# Errors that background tasks survive: the database is unreachable (see `is_away`) or rejects a statement, or the
# system has a problem. SQLAlchemy wraps the driver's errors in DBAPIError. (Before Python 3.11, a timeout is not an
# OSError.)
DATABASE_ERRORS = (DBAPIError, asyncpg.PostgresError, OSError, asyncio.TimeoutError, *_OUTAGES)


def driver_error(error: BaseException) -> BaseException:
    """Return the asyncpg error that SQLAlchemy has wrapped, or the error itself."""
    if not isinstance(error, DBAPIError) or error.orig is None:
        return error
    # `orig` is SQLAlchemy's imitation of a DB-API error, which asyncpg does not have.
    return error.orig.__cause__ or error.orig


def is_away(error: BaseException) -> bool:
    """Return True if the error means that the database is unreachable rather than that it rejected something."""
    error = driver_error(error)
    state = sql_state(error)
    # 08: connection exceptions; 57P: the server is shutting down or starting; 53300: too many connections.
    if state[:2] == "08" or state[:3] == "57P" or state == "53300":
        return True
    # Retrying does not fix an invalid address.
    return isinstance(error, _OUTAGES) and not isinstance(error, ClientConfigurationError) and not is_outdated(error)


def is_full(error: BaseException) -> bool:
    """Return True if the error means that the database or this process could not write to a full disk."""
    error = driver_error(error)
    # 53100: disk full
    return sql_state(error) == "53100" or (isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT})


def is_outdated(error: BaseException) -> bool:
    """Return True if a migration has changed the result of a prepared statement. A retry of the transaction succeeds.

    Outside of transactions, asyncpg retries the statement itself.
    """
    return isinstance(driver_error(error), (InvalidCachedStatementError, OutdatedSchemaCacheError))


def sql_state(error: BaseException) -> str:
    """Return the five-character SQLSTATE of a PostgreSQL error, or an empty string for other errors."""
    return str(getattr(driver_error(error), "sqlstate", None) or "")
