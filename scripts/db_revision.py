"""Create a migration from the difference between the database and the models: scripts/db_revision.py MESSAGE"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from alembic import command
from sqlalchemy import Connection

from deploy.adapters import migrations
from deploy.adapters.database import Database
from deploy.adapters.migrations.upgrading import config_for, engine_for
from deploy.config import prepare_data_dir
from deploy.entrypoints.serve.foreground import database
from deploy.entrypoints.serve.settings import load_settings


def write(connection: Connection, message: str) -> None:
    """Write the migration. Revision IDs are consecutive numbers that show the order of revisions."""
    command.revision(
        config_for(connection),
        message,
        autogenerate=True,
        rev_id=f"{int(migrations.head()) + 1:04}",
        process_revision_directives=refuse_empty,
    )


def refuse_empty(_context: object, _revision: object, directives: list[Any]) -> None:
    """Exit instead of writing a migration that changes nothing."""
    (script,) = directives
    if script.upgrade_ops.is_empty():
        sys.exit(
            "Error: No migration was written, because the database already matches deploy/adapters/orm/tables.py."
        )


async def revise(url: str, message: str) -> None:
    """Upgrade the database to the newest revision, then write the migration."""
    pool = Database(url)
    try:
        await migrations.upgrade(pool)
    finally:
        await pool.close()
    async with engine_for(url).connect() as connection:
        await connection.run_sync(write, message)


if __name__ == "__main__":
    if not "".join(sys.argv[1:]).strip():
        sys.exit('Error: Give a message, such as: just db-revision "add a column"')
    settings = load_settings()
    prepare_data_dir(settings)
    with database(settings, attach=True) as (address, _):
        asyncio.run(revise(address, sys.argv[1]))
