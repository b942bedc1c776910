"""Run the application on a database whose disk is really full."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import httpx2
import pytest
import pytest_asyncio
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from deploy.adapters.database import dsn_of
from deploy.config import Settings
from deploy.entrypoints.app_state import AppState
from deploy.entrypoints.fastapi_app import create_app
from deploy.entrypoints.full_disk import FULL
from tests.databases import Databases

PASSWORD = "the password of ada"
DISK_SIZE = 48  # MiB, of which an empty database takes about a quarter


@pytest.fixture
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a folder on a small file system of its own."""
    folder = tmp_path_factory.mktemp("small")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}m", "small", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.strip()}")
    for parent in folder.parents:
        if parent.stat().st_uid == os.geteuid() and parent != parent.parent and "pytest" in str(parent):
            parent.chmod(0o755)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest_asyncio.fixture(loop_scope="session")
async def small_database(databases: Databases, server_url: str, small_disk: Path) -> AsyncIterator[str]:
    """Yield the URL of a database on the small disk."""
    admin = await asyncpg.connect(dsn_of(server_url))
    try:
        owner = os.stat(await admin.fetchval("SHOW data_directory"))
        os.chown(small_disk, owner.st_uid, owner.st_gid)
        await admin.execute(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
        async with databases.migrated() as url:
            await admin.execute(f'ALTER DATABASE "{make_url(url).database}" SET TABLESPACE small')
            yield url
        await admin.execute("DROP TABLESPACE small")
    finally:
        await admin.close()


async def fill(url: str) -> None:
    """Fill the disk of a database completely."""
    connection = await asyncpg.connect(dsn_of(url))
    await connection.execute("CREATE TABLE filler (number bigint)")
    for rows in (100_000, 1_000, 1):  # each smaller than what is left by the previous one
        with contextlib.suppress(asyncpg.DiskFullError):
            while True:
                await connection.execute(f"INSERT INTO filler SELECT generate_series(1, {rows})")
    await connection.close()


async def free_space(url: str) -> None:
    connection = await asyncpg.connect(dsn_of(url))
    await connection.execute("DROP TABLE filler")
    await connection.close()


async def sign_in(client: httpx2.AsyncClient) -> httpx2.Response:
    return await client.post("/token", data={"username": "ada", "password": PASSWORD})


async def test_a_full_disk_is_reported_until_there_is_space_again(
    small_database: str, services_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(
        database_url=small_database,
        secret_key=SecretStr("0123456789abcdef" * 4),
        services_root=services_root,
        data_dir=tmp_path,
        initial_user_name="ada",
        initial_user_password=SecretStr(PASSWORD),
    )
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        state: AppState = app.state.app_state
        await state.listener.connected.wait()
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            await fill(small_database)
            caplog.clear()
            caplog.set_level(logging.WARNING)
            for _ in range(3):
                refused = await sign_in(client)
                assert (refused.status_code, refused.json()) == (503, {"detail": FULL})
                assert int(refused.headers["Retry-After"]) > 0
            (logged,) = [record for record in caplog.records if "No space left" in record.getMessage()]
            assert logged.exc_info is None
            ready = await client.get("/health/ready")
            assert (ready.status_code, ready.json()["reasons"]) == (503, [FULL])
            assert (await client.get("/health/live")).status_code == 200
            await free_space(small_database)
            assert (await client.get("/health/ready")).json() == {"status": "ok", "reasons": []}
            assert (await sign_in(client)).status_code == 200


async def test_a_full_data_folder_is_reported(
    database_url: str, services_root: Path, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(
        database_url=database_url,
        secret_key=SecretStr("0123456789abcdef" * 4),
        services_root=services_root,
        data_dir=small_disk,
    )
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        await app.state.app_state.listener.connected.wait()
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as client:
            assert (await client.get("/health/ready")).status_code == 200
            filler = small_disk / "filler"
            filler.write_bytes(bytes((DISK_SIZE << 20) - (1 << 18)))
            ready = await client.get("/health/ready")
            assert (ready.status_code, str(small_disk) in ready.json()["reasons"][0]) == (503, True)
            filler.unlink()
            assert (await client.get("/health/ready")).status_code == 200
