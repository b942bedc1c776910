"""Find out whether the database can store anything."""

from __future__ import annotations

from deploy.adapters.database.pool import Database

# About 200 KiB. PostgreSQL allocates the pages when it inserts the rows.
_PROBE = """
CREATE TEMPORARY TABLE disk_probe ON COMMIT DROP AS
SELECT md5(number::text) AS filler FROM generate_series(1, 3000) AS number
"""


async def probe_disk(database: Database) -> None:
    """Store something and discard it.

    Raises:
        PostgresError: The database rejects it, for example because its disk is full (`is_full`).
    """
    async with database.transaction() as connection:
        await connection.execute(_PROBE)
