"""Search for secret values everywhere that a server could have left them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg

from deploy.adapters.postgres import running_url
from tests.e2e.server import Server


class Search:
    """Finds secret values. Each method returns the places that contain one of the values."""

    def __init__(self, server: Server, values: Sequence[str]) -> None:
        self._server = server
        self._spellings = {
            spelling
            for value in values
            for spelling in (value, json.dumps(value)[1:-1], quote(value, safe=""), value.encode().hex())
        }

    def is_in(self, text: str) -> bool:
        """Return True if the text contains one of the values."""
        return any(spelling in text for spelling in self._spellings)

    def processes(self) -> list[str]:
        """Search the arguments and environments of every process on this machine."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    text = (process / name).read_bytes().decode("utf-8", "replace")
                except OSError:
                    continue
                if process.name != str(os.getpid()) and self.is_in(text):
                    found.append(f"{process / name}")
        return found

    def rows(self, query: str) -> list[Any]:
        """Return rows of the server's database."""
        url = running_url(self._server.data_dir)
        assert url is not None

        async def read() -> list[Any]:
            connection = await asyncpg.connect(url.replace("postgresql+asyncpg", "postgresql"))
            try:
                return list(await connection.fetch(query))
            finally:
                await connection.close()

        return asyncio.run(read())

    def database(self) -> list[str]:
        """Search every row of every table, as text."""
        tables = self.rows(
            "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables "
            "WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        )
        assert len(tables) > 10
        found = []
        for (table,) in tables:
            rows = self.rows(f"SELECT CAST(row AS text) FROM {table} AS row")  # noqa: S608
            found += [f"{table}: {row[0]}" for row in rows if self.is_in(row[0])]
        return found

    def responses_of(self, deployment_id: int, service_id: int) -> list[str]:
        """Search the API's responses."""
        paths = [
            "/deployments/",
            "/services/",
            "/queue/",
            f"/services/{service_id}",
            f"/services/{service_id}/inputs",
            f"/services/{service_id}/statistics",
            f"/steps/?deployment_id={deployment_id}",
            *(
                f"/deployments/{deployment_id}{part}"
                for part in (
                    "",
                    "/events?limit=1000",
                    "/output?limit=10000",
                    "/output.txt",
                    "/hosts?limit=1000",
                    "/recap",
                    "/changes",
                )
            ),
        ]
        responses = {path: self._server.api.admin.get(path) for path in paths}
        assert all(response.is_success for response in responses.values()), responses
        return [path for path, response in responses.items() if self.is_in(response.text)]

    def files(self) -> list[str]:
        """Search the server's log and all files in its folders, including the database's own files."""
        files = [path for path in self._server.folder.rglob("*") if path.is_file() and not path.is_symlink()]
        return [str(path) for path in files if self.is_in(path.read_bytes().decode("utf-8", "replace"))]
