"""Kill any part at any time: no server stays behind, and the next start has all committed data."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.adapters.postgres import PostgresServer, running_url
from tests.data_folders import quick_root
from tests.integration.postgres_processes import FAST, Starter, ask, is_alive, wait_for

UNFINISHED = "pg-unfinished-*"


@pytest.fixture(scope="module", params=["reachable", pytest.param("private", marks=pytest.mark.slow)])
def data_dir(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Yield a data folder that ordinary users can reach and, as root, one that only root can reach."""
    parent = Path(tempfile.mkdtemp(dir=quick_root()))
    parent.chmod(0o755 if request.param == "reachable" else 0o700)
    with PostgresServer(parent / "data", settings=FAST):
        pass
    yield parent / "data"
    shutil.rmtree(parent)


async def test_the_server_exits_with_a_killed_starter_and_the_next_starter_waits(data_dir: Path) -> None:
    starter = Starter(data_dir)
    pid, url = starter.wait_until_ready()
    await ask(url, "CREATE TABLE kept_by_starter AS SELECT 1 AS answer")
    starter.kill()

    with PostgresServer(data_dir, settings=FAST) as server:
        assert not is_alive(pid)
        assert await ask(server.url, "SELECT answer FROM kept_by_starter") == 1


def test_a_starter_waits_for_a_server_that_exits_slowly(data_dir: Path) -> None:
    starter = Starter(data_dir)
    pid, _ = starter.wait_until_ready()
    os.kill(pid, signal.SIGSTOP)
    starter.kill()
    successor = Starter(data_dir)
    lock = data_dir / "lock"
    wait_for(lambda: lock.read_text().strip() == str(successor.process.pid))
    assert is_alive(pid)

    os.kill(pid, signal.SIGCONT)

    assert successor.wait_until_ready()[0] != pid
    assert not is_alive(pid)
    assert successor.finish() == (0, "")


async def test_a_killed_server_is_restarted_by_the_same_starter(data_dir: Path) -> None:
    with PostgresServer(data_dir, settings=FAST) as server:
        await ask(server.url, "CREATE TABLE kept_by_server AS SELECT 2 AS answer")
        first = server.pid
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: server.poll() is not None)
        assert running_url(data_dir) is None

        server.start()

        assert server.pid != first
        assert await ask(server.url, "SELECT answer FROM kept_by_server") == 2


def test_a_backend_that_outlives_its_killed_server_is_stopped(data_dir: Path) -> None:
    starter = Starter(data_dir)
    pid, url = starter.wait_until_ready()
    client = subprocess.Popen([sys.executable, "-c", BUSY, url])
    wait_for(lambda: busy_backends(pid))
    backend = busy_backends(pid)[0]
    os.kill(pid, signal.SIGKILL)
    starter.kill()
    assert is_alive(backend)

    with PostgresServer(data_dir, settings=FAST) as server:
        assert server.poll() is None
        assert not is_alive(backend)
    client.kill()
    client.wait()


async def test_a_stale_process_id_of_another_process_is_harmless(data_dir: Path) -> None:
    starter = Starter(data_dir)
    pid, _ = starter.wait_until_ready()
    os.kill(pid, signal.SIGKILL)
    starter.kill()
    pid_file = next(data_dir.glob("pg*/postmaster.pid"))
    other_process = sleeping(pid_file.stat().st_uid)
    pid_file.write_text(pid_file.read_text().replace(str(pid), str(other_process.pid), 1))
    (data_dir / "run" / ".s.PGSQL.5432.lock").write_text(pid_file.read_text())

    with PostgresServer(data_dir, settings=FAST) as server:
        assert await ask(server.url, "SELECT 1") == 1
    assert other_process.poll() is None
    other_process.kill()
    other_process.wait()


@pytest.mark.parametrize(
    "stage",
    [
        "PG_VERSION",
        pytest.param("base/1/pg_filenode.map", marks=pytest.mark.slow),
        pytest.param("base/5/PG_VERSION", marks=pytest.mark.slow),
        "base/16384/PG_VERSION",
    ],
)
async def test_a_start_killed_during_creation_is_repeated(data_dir: Path, stage: str) -> None:
    fresh = data_dir.parent / f"fresh-{stage.replace('/', '-')}"
    starter = Starter(fresh)
    wait_for(lambda: list(fresh.glob(f"{UNFINISHED}/data/{stage}")) or list(fresh.glob("pg[0-9]*")))
    starter.kill()

    with PostgresServer(fresh, settings=FAST) as server:
        assert await ask(server.url, "SELECT current_database()") == "fastdeploy"
    assert list(fresh.glob(UNFINISHED)) == []


BUSY = """
import asyncio, sys
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
async def main():
    async with create_async_engine(sys.argv[1]).begin() as connection:
        await connection.execute(text("SELECT count(*) FROM generate_series(1, 1e12::bigint)"))
asyncio.run(main())
"""


def sleeping(uid: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["sleep", "600"], user=uid if os.geteuid() == 0 else None)


def busy_backends(server: int) -> list[int]:
    """Return the server processes that are executing a query."""
    found = []
    for task in Path(f"/proc/{server}/task/{server}/children").read_text().split():
        try:
            title = Path(f"/proc/{task}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it exited in the meantime
        if b"SELECT" in title and b"fastdeploy" in title:
            found.append(int(task))
    return found
