"""Databases for tests: created from one migrated template, and dropped after use."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.engine import make_url

from deploy.adapters import migrations
from deploy.adapters.database import Database


class Databases:
    """Creates databases on the server at `server_url`. Its role must be allowed to create them."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        # Several test runs, and several workers of one run, can share a server.
        self._prefix = f"fastdeploy_test_{os.getpid()}_{uuid.uuid4().hex[:8]}"
        self._template: str | None = None
        self._count = 0

    @asynccontextmanager
    async def empty(self) -> AsyncIterator[str]:
        """Yield the URL of a database without any tables."""
        async with self._created("template0") as url:
            yield url

    @asynccontextmanager
    async def migrated(self) -> AsyncIterator[str]:
        """Yield the URL of a database with the current schema and no rows."""
        if self._template is None:
            await self._make_template()
        assert self._template is not None
        async with self._created(self._template) as url:
            yield url

    async def drop_template(self) -> None:
        """Drop the template that `migrated` copies."""
        if self._template is not None:
            await self._execute(f'DROP DATABASE "{self._template}" WITH (FORCE)')
            self._template = None

    async def cut_connections(self, url: str) -> None:
        """Close every connection to that database, like a server that goes away."""
        name = make_url(url).database
        await self._execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")  # noqa: S608 - our own name

    async def allow_connections(self, url: str, *, allowed: bool) -> None:
        """Allow or forbid connections to the database."""
        await self._execute(f'ALTER DATABASE "{make_url(url).database}" ALLOW_CONNECTIONS {allowed}')

    async def _make_template(self) -> None:
        name = f"{self._prefix}_template"
        await self._execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        made = Database(self._url_of(name))
        try:
            await migrations.upgrade(made)
        finally:
            # PostgreSQL cannot copy a database that has open connections.
            await made.close()
        self._template = name

    @asynccontextmanager
    async def _created(self, template: str) -> AsyncIterator[str]:
        self._count += 1
        name = f"{self._prefix}_{self._count}"
        await self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        try:
            yield self._url_of(name)
        finally:
            await self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _url_of(self, name: str) -> str:
        return make_url(self._server_url).set(database=name).render_as_string(hide_password=False)

    async def _execute(self, statement: str) -> None:
        server = Database(self._server_url)
        try:
            async with server.connection() as connection:
                await connection.execute(statement)
        finally:
            await server.close()
