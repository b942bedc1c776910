"""The database's schema, and the way from every released one to the present."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

FOLDER = Path(__file__).parent
# Two processes that start at once must not migrate at once. The number is ours alone ("fastdepl" as bytes).
_LOCK = 0x6661737464657021


def head() -> str:
    """Return the newest revision; their names count up, so no library is needed to tell."""
    return max(path.stem.split("_")[0] for path in (FOLDER / "versions").glob("[0-9]*.py"))


async def current(engine: AsyncEngine) -> str | None:
    """Return the revision of the database, None where it is empty."""
    async with engine.connect() as connection:
        exists = await connection.scalar(text("SELECT to_regclass('alembic_version') IS NOT NULL"))
        return await connection.scalar(text("SELECT version_num FROM alembic_version")) if exists else None


async def upgrade(engine: AsyncEngine) -> bool:
    """Bring the database to the newest revision; return whether anything had to be done."""
    if await current(engine) == head():
        return False
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        await connection.run_sync(_upgrade)
    return True


def _upgrade(connection: Connection) -> None:
    # Alembic takes a tenth of a second to import, and is needed once per upgrade only.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
