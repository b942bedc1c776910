"""Upgrade a database with Alembic."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from deploy.adapters.database import connect
from deploy.adapters.migrations import FOLDER

# Prevents two processes from migrating at the same time. The number is "fastdepl" as bytes.
_LOCK = 0x6661737464657021


async def upgrade_to_head(url: str) -> None:
    """Upgrade the database at this DATABASE_URL to the newest revision, in one transaction.

    Raises:
        PostgresError and others of DATABASE_ERRORS: The database is unreachable or rejects a statement.
            Nothing changed.
    """
    try:
        async with engine_for(url).begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            await connection.run_sync(lambda begun: command.upgrade(config_for(begun), "head"))
    except DBAPIError as error:
        # Raise the driver's error: callers do not know SQLAlchemy's errors.
        cause = error.orig.__cause__ if error.orig is not None else None
        raise cause or error from None


def engine_for(url: str) -> AsyncEngine:
    """Return a SQLAlchemy engine for a DATABASE_URL, parsed the same way as in the rest of the program."""
    return create_async_engine(
        "postgresql+asyncpg://", poolclass=NullPool, async_creator=lambda: connect(url, "fastdeploy migrations")
    )


def config_for(connection: Connection) -> Config:
    """Return an Alembic configuration with our revisions and this connection."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
