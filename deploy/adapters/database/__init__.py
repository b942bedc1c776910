"""The database: connection pool, transactions, sessions, errors, and URLs.

One pool, owned by SQLAlchemy, serves two kinds of access to the same transaction (decision 0018): SQLAlchemy sessions
for managed data, and plain SQL on asyncpg's connection for the stream of a run.
"""

from deploy.adapters.database.connection import DriverConnection
from deploy.adapters.database.errors import (
    DATABASE_ERRORS,
    ReadTimeout,
    Unreachable,
    driver_error,
    is_away,
    is_full,
    is_outdated,
    sql_state,
)
from deploy.adapters.database.pool import (
    CHANNEL,
    QUEUE_CHANNEL,
    Database,
    connect,
    listening_connection,
)
from deploy.adapters.database.sessions import flush, session_of, session_scope
from deploy.adapters.database.transactions import atomically_on, transaction_on
from deploy.adapters.database.url import dsn_of, without_password

__all__ = [
    "CHANNEL",
    "DATABASE_ERRORS",
    "QUEUE_CHANNEL",
    "Database",
    "DriverConnection",
    "ReadTimeout",
    "Unreachable",
    "atomically_on",
    "connect",
    "driver_error",
    "dsn_of",
    "flush",
    "is_away",
    "is_full",
    "is_outdated",
    "listening_connection",
    "session_of",
    "session_scope",
    "sql_state",
    "transaction_on",
    "without_password",
]
