"""A new migration from the difference of database and tables: scripts/db_revision.py MESSAGE"""

from __future__ import annotations

import asyncio
import sys

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from deploy.adapters import migrations
from deploy.adapters.database import create_engine
from deploy.config import Settings, prepare_data_dir
from deploy.entrypoints.foreground import database


def write(connection: Connection, message: str) -> None:
    """Write the migration; revisions are numbered, so that their order can be seen."""
    config = Config()
    config.set_main_option("script_location", str(migrations.FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.revision(config, message, autogenerate=True, rev_id=f"{int(migrations.head()) + 1:04}")


async def revise(url: str, message: str) -> None:
    """Bring the database to the newest revision, then compare."""
    engine = create_engine(url)
    try:
        await migrations.upgrade(engine)
        async with engine.connect() as connection:
            await connection.run_sync(write, message)
    finally:
        await engine.dispose()


if __name__ == "__main__":
    settings = Settings()
    prepare_data_dir(settings)
    with database(settings, attach=True) as (address, _):
        asyncio.run(revise(address, sys.argv[1]))
