"""Migrate the database schema from any released version to the current one."""

from __future__ import annotations

from pathlib import Path

from deploy.adapters.database import Database

FOLDER = Path(__file__).parent


def head() -> str:
    """Return the newest revision. Revisions are numbered, so this does not need a library."""
    return max(path.stem.split("_")[0] for path in (FOLDER / "versions").glob("[0-9]*.py"))


def function(name: str) -> str:
    """Return the SQL that creates a database function: `functions/<name>.sql`.

    Each name starts with the revision that loads it. Files never change after a release: a new version of a function
    gets a new file.
    """
    return (FOLDER / "functions" / f"{name}.sql").read_text(encoding="utf-8")


async def current(database: Database) -> str | None:
    """Return the revision of the database, or None if it is empty."""
    async with database.connection() as connection:
        exists = await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL")
        revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version") if exists else None
        return revision


async def upgrade(database: Database) -> bool:
    """Upgrade the database to the newest revision. Return True if anything changed."""
    if await current(database) == head():
        return False
    # Alembic is slow to import and only needed for upgrades.
    from deploy.adapters.migrations.upgrading import upgrade_to_head  # noqa: PLC0415

    await upgrade_to_head(database.url)
    return True
