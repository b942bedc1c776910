"""Alembic, at work on a database: once per upgrade."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from deploy.adapters.database import connect
from deploy.adapters.migrations import FOLDER

# Two processes that start at once must not migrate at once. The number is ours alone ("fastdepl" as bytes).
_LOCK = 0x6661737464657021


async def upgrade_to_head(url: str) -> None:
    """Bring the database at this DATABASE_URL to the newest revision, in one transaction.

    Raises:
        PostgresError and others of DATABASE_ERRORS: it cannot be reached, or refuses something; nothing is changed.
    """
    try:
        async with engine_for(url).begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            await connection.run_sync(lambda begun: command.upgrade(config_for(begun), "head"))
    except DBAPIError as error:
        # What the driver has said: everybody else knows nothing of SQLAlchemy.
        said = error.orig.__cause__ if error.orig is not None else None
        raise said or error from None


def engine_for(url: str) -> AsyncEngine:
    """Return SQLAlchemy's way to a DATABASE_URL, which is read as everywhere else."""
    return create_async_engine(
        "postgresql+asyncpg://", poolclass=NullPool, async_creator=lambda: connect(url, "fastdeploy migrations")
    )


def config_for(connection: Connection) -> Config:
    """Return how Alembic finds our revisions, and this database."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
