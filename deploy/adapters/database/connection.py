"""asyncpg's connection as the pool hands it out."""

from __future__ import annotations

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession


class DriverConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg is untyped
    """A connection of the pool: asyncpg's connection, with SQLAlchemy's view of it.

    `pooled` is the same connection as SQLAlchemy lends it. `session` is the open session of the current unit of work,
    if any, and `allows_session` is True while a unit of work with a transaction uses the connection. `generation`
    counts schema changes: connections from before a change have outdated plans. `read_timeout` is the limit for each
    statement in seconds (None: no limit).
    """

    __slots__ = ("allows_session", "generation", "pooled", "read_timeout", "session")

    pooled: AsyncConnection
    session: AsyncSession | None
    allows_session: bool
    generation: int
    read_timeout: float | None
