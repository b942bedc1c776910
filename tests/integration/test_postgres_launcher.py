"""Create, start, find, and stop the bundled PostgreSQL on a data folder."""

import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from deploy.adapters.postgres import PostgresError, PostgresServer, find_binaries, running_url
from tests.integration.postgres_processes import FAST, ROOT, Starter, ask

OLD_BINARIES = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder with a database. Creating it takes half a second; copying it takes almost no time."""
    data_dir = tmp_path_factory.mktemp("postgres") / "data"
    with PostgresServer(data_dir, settings=FAST):
        pass
    return data_dir


@pytest.fixture
def data_dir(template: Path, tmp_path: Path) -> Path:
    return copy_of(template, tmp_path / "data")


@pytest.fixture
def server(data_dir: Path) -> Iterator[PostgresServer]:
    with PostgresServer(data_dir, settings=FAST) as server:
        yield server


def copy_of(template: Path, data_dir: Path) -> Path:
    shutil.copytree(template, data_dir)
    for folder, _, files in os.walk(template):
        for path in (Path(folder), *(Path(folder) / name for name in files)):
            owner = path.stat()
            os.chown(data_dir / path.relative_to(template), owner.st_uid, owner.st_gid)
    return data_dir


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_new_folder_gets_a_database_that_sqlalchemy_can_use(tmp_path: Path) -> None:
    with PostgresServer(tmp_path / "not" / "yet" / "there", settings=FAST) as server:
        assert await ask(server.url, "SELECT current_user || '@' || current_database()") == "fastdeploy@fastdeploy"


async def test_data_survives_a_restart(data_dir: Path) -> None:
    server = PostgresServer(data_dir, settings=FAST)
    server.start()
    await ask(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    assert server.poll() is None
    server.stop()
    assert server.poll() == 0

    server.start()
    try:
        assert await ask(server.url, "SELECT answer FROM kept") == 42
    finally:
        server.stop()


async def test_connections_need_the_password_and_the_socket(server: PostgresServer) -> None:
    methods = await ask(server.url, "SELECT array_agg(DISTINCT auth_method) FROM pg_hba_file_rules")
    addresses = await ask(server.url, "SHOW listen_addresses")

    assert methods == ["scram-sha-256"]
    assert addresses == ""
    with pytest.raises(Exception, match="password authentication failed"):
        await ask(server.url.replace("fastdeploy:", "fastdeploy:not"), "SELECT 1")


def test_other_users_cannot_read_the_database_files(server: PostgresServer, data_dir: Path) -> None:
    private = [data_dir / "postgres-password", data_dir / "postgres.log", data_dir / "lock"]

    assert [mode(path) for path in private] == [0o600] * 3
    assert [mode(path) for path in (data_dir / "run", *data_dir.glob("pg[0-9]*"))] == [0o700] * 2


def test_other_users_cannot_list_a_created_folder(tmp_path: Path) -> None:
    with PostgresServer(tmp_path / "data", settings=FAST):
        assert mode(tmp_path / "data") == (0o711 if os.geteuid() == 0 else 0o700)


async def test_given_settings_override_the_defaults(data_dir: Path) -> None:
    with PostgresServer(data_dir, settings={**FAST, "max_connections": "17"}) as server:
        assert await ask(server.url, "SHOW max_connections") == "17"


@pytest.mark.parametrize("name", ["with space, comma & 100% ü?", "long" * 40], ids=["odd", "long"])
async def test_a_path_unusable_for_sockets_works(template: Path, tmp_path: Path, name: str) -> None:
    data_dir = copy_of(template, tmp_path / name)
    addresses = []
    for _ in range(2):
        with PostgresServer(data_dir, settings=FAST) as server:
            addresses.append(server.url)
            assert await ask(server.url, "SELECT 1") == 1
            assert running_url(data_dir) == server.url

    socket_dir = Path(os.path.realpath(data_dir / "run"))
    assert mode(socket_dir) == 0o700
    assert not socket_dir.is_relative_to(tmp_path)
    assert addresses[0] == addresses[1]
    socket_dir.rmdir()


def test_another_process_finds_the_running_server(server: PostgresServer, data_dir: Path) -> None:
    program = (
        "import sys, pathlib; from deploy.adapters.postgres import *; print(running_url(pathlib.Path(sys.argv[1])))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": "/nowhere"}
    found = subprocess.run(
        [sys.executable, "-c", program, str(data_dir)], env=environment, capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == server.url


def test_there_is_no_url_without_a_server(data_dir: Path, tmp_path: Path) -> None:
    assert running_url(tmp_path / "no such folder") is None
    assert running_url(data_dir) is None
    with PostgresServer(data_dir, settings=FAST):
        assert running_url(data_dir) is not None
    assert running_url(data_dir) is None


def test_a_second_starter_reports_the_owner_of_the_folder(server: PostgresServer, data_dir: Path) -> None:
    status, message = Starter(data_dir).finish()

    assert status == 1
    assert f"Another fastDeploy is using this data folder (pid {os.getpid()})" in message
    assert server.poll() is None


def test_starting_from_another_thread_is_rejected(data_dir: Path) -> None:
    errors = []

    def start() -> None:
        try:
            PostgresServer(data_dir).start()
        except PostgresError as error:
            errors.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()

    assert errors == ["The bundled PostgreSQL must be started from the main thread."]


def test_ctrl_c_does_not_reach_the_server(server: PostgresServer) -> None:
    assert os.getpgid(server.pid) != os.getpgid(0)


def test_a_failed_start_shows_the_log_and_unlocks_the_folder(data_dir: Path) -> None:
    with pytest.raises(PostgresError, match=r'invalid value for parameter "shared_buffers"'):
        PostgresServer(data_dir, settings={"shared_buffers": "plenty"}).start()

    with PostgresServer(data_dir, settings=FAST) as server:
        assert server.poll() is None


def test_an_explicit_folder_without_programs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PostgresError, match="POSTGRES_BIN_DIR must be a folder with PostgreSQL's programs"):
        find_binaries(tmp_path)


def test_a_database_of_another_major_version_is_not_changed(tmp_path: Path) -> None:
    version = tmp_path / "pg97" / "PG_VERSION"
    version.parent.mkdir()
    version.write_text("97\n")

    with pytest.raises(PostgresError, match="was created by PostgreSQL 97, which was not found on this machine"):
        PostgresServer(tmp_path).start()
    assert [path.name for path in tmp_path.glob("pg*")] == ["pg97"]


@pytest.mark.skipif(not OLD_BINARIES.exists(), reason="PostgreSQL 15 is not installed")
async def test_a_database_of_an_older_version_keeps_its_programs(tmp_path: Path) -> None:
    with PostgresServer(tmp_path, bin_dir=OLD_BINARIES, settings=FAST) as server:
        await ask(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")

    with PostgresServer(tmp_path, settings=FAST) as server:
        assert await ask(server.url, "SELECT answer FROM kept") == 42
        assert str(await ask(server.url, "SHOW server_version")).startswith("15.")


def test_a_folder_with_foreign_files_is_not_changed(tmp_path: Path) -> None:
    with PostgresServer(tmp_path / "one", settings=FAST):
        name = next((tmp_path / "one").glob("pg[0-9]*")).name
    (tmp_path / "two" / name).mkdir(parents=True)
    (tmp_path / "two" / name / "precious").touch()

    with pytest.raises(PostgresError, match="is not empty but contains no database"):
        PostgresServer(tmp_path / "two").start()


async def test_a_lost_password_is_replaced(data_dir: Path) -> None:
    password = data_dir / "postgres-password"
    old = password.read_text()
    password.unlink()

    with PostgresServer(data_dir, settings=FAST) as server:
        assert await ask(server.url, "SELECT 1") == 1
    assert password.read_text() != old


def test_a_long_log_is_rotated(data_dir: Path) -> None:
    log = data_dir / "postgres.log"
    os.truncate(log, 20_000_000)

    with PostgresServer(data_dir, settings=FAST):
        assert log.stat().st_size < 10_000
    assert (data_dir / "postgres.log.1").stat().st_size == 20_000_000


async def test_rows_are_not_logged(server: PostgresServer, data_dir: Path) -> None:
    await ask(server.url, "CREATE TABLE guarded (word text NOT NULL, number int NOT NULL)")
    with pytest.raises(IntegrityError):
        await ask(server.url, "INSERT INTO guarded SELECT 's3' || 'cret', NULL")

    log = (data_dir / "postgres.log").read_text()
    assert "guarded" in log
    assert "s3cret" not in log
