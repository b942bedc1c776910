"""The database's schema, and the way from every released one to the present."""

from __future__ import annotations

from pathlib import Path

from deploy.adapters.database import Database

FOLDER = Path(__file__).parent


def head() -> str:
    """Return the newest revision; their names count up, so no library is needed to tell."""
    return max(path.stem.split("_")[0] for path in (FOLDER / "versions").glob("[0-9]*.py"))


async def current(database: Database) -> str | None:
    """Return the revision of the database, None where it is empty."""
    async with database.connection() as connection:
        exists = await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL")
        revision: str | None = await connection.fetchval("SELECT version_num FROM alembic_version") if exists else None
        return revision


async def upgrade(database: Database) -> bool:
    """Bring the database to the newest revision; return whether anything had to be done."""
    if await current(database) == head():
        return False
    # Alembic and SQLAlchemy take half a second to import, and are needed once per upgrade only.
    from deploy.adapters.migrations.upgrading import upgrade_to_head  # noqa: PLC0415

    await upgrade_to_head(database.url)
    return True
