"""The first user's generated password is shown when a start succeeds, and it can always be replaced."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.adapters.postgres import PostgresServer
from tests.e2e.api import Api, answer
from tests.e2e.conftest import NewServer
from tests.e2e.processes import POSTGRES_SETTINGS, SECRET_KEY, external_postgres
from tests.e2e.server import USER, Server, clean_environment, free_port, temporary_folder
from tests.e2e.test_process import failed_start
from tests.e2e.waiting import TIMEOUT, wait_until

NEW_PASSWORD = "a password of my own"


@pytest.fixture
def server(new_server: NewServer) -> Server:
    """Return a server that generates the password of the first user and whose folders are set by options."""
    server = new_server()
    server.options += ["--data-dir", str(server.data_dir), "--services-dir", str(server.services_dir)]
    for name in ("INITIAL_USER_PASSWORD", "DATA_DIR", "SERVICES_ROOT"):
        del server.environment[name]
    return server


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """Yield a folder in which no server has been started."""
    with temporary_folder() as folder:
        yield folder


def shown_passwords(log: str) -> list[str]:
    return [line.split()[-1] for line in log.splitlines() if line.strip().startswith("Password:")]


def shown_command(log: str) -> str:
    """Return the command that the server shows when it starts, up to the end of its line."""
    (line,) = [line for line in log.splitlines() if "user passwd" in line]
    return line[line.index("/") :]


def follow(command: str, folder: Path, environment: dict[str, str]) -> None:
    """Run a command in a shell in `folder`, exactly as shown."""
    finished = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env=environment,
        input=f"{NEW_PASSWORD}\n",
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (finished.returncode, finished.stdout) == (0, f"Password of {USER} changed\n"), finished.stderr
    assert list(folder.iterdir()) == []


def sign_in(base_url: str, password: str, name: str = USER) -> None:
    api = Api(base_url, name, password)
    try:
        assert answer(api.admin.get("/users/me"))["is_admin"] is True
    finally:
        api.close()


def restart(server: Server) -> str:
    """Restart the server with a new log and return the log."""
    server.log_file.unlink(missing_ok=True)
    server.start()
    return server.log()


@contextmanager
def full_pipe() -> Iterator[int]:
    """Yield the write end of a full pipe, on which writes block."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            try:
                os.write(writing, b"x" * 4096)
            except BlockingIOError:
                break
        os.set_blocking(writing, True)
        yield writing
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(
    "setting",
    [
        {"SUDO_USER": "no-such-user"},
        pytest.param({"INITIAL_USER_NAME": "not a name"}, marks=pytest.mark.slow),
        pytest.param({"INITIAL_USER_PASSWORD": "short"}, marks=pytest.mark.slow),
    ],
)
def test_a_start_that_fails_creates_no_user(server: Server, setting: dict[str, str]) -> None:
    name = next(iter(setting))
    before = dict(server.environment)
    server.environment |= setting
    assert name in failed_start(server, code=2)
    assert shown_passwords(server.log()) == []
    server.environment = before
    (password,) = shown_passwords(restart(server))
    sign_in(server.base_url, password)


def test_a_password_lost_in_a_kill_can_be_replaced(server: Server, elsewhere: Path) -> None:
    with full_pipe() as nowhere, server.log_file.open("ab") as log:
        command = [*server.through, *_command(server)]
        process = subprocess.Popen(command, cwd=server.folder, env=server.environment, stdout=nowhere, stderr=log)
        try:
            wait_until((server.data_dir / "server.json").exists, "the server to be nearly ready")
            # The password is stored, but printing it blocks.
            wait_until(lambda: f"{USER}\tadministrator" in server.cli("user", "list").stdout, "the user to be created")
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    log_text = restart(server)
    assert shown_passwords(log_text) == []
    follow(shown_command(log_text), elsewhere, server.environment)
    sign_in(server.base_url, NEW_PASSWORD)
    server.stop()
    assert "user passwd" not in restart(server)


@pytest.mark.parametrize(
    "stdout",
    ["&-", pytest.param("/dev/null", marks=pytest.mark.slow), pytest.param("/dev/full", marks=pytest.mark.slow)],
)
def test_a_password_that_cannot_be_shown_can_be_replaced(server: Server, elsewhere: Path, stdout: str) -> None:
    server.through = ["sh", "-c", f'exec "$0" "$@" >{stdout}']
    server.start()
    log = server.log()
    assert "Traceback" not in log
    follow(shown_command(log), elsewhere, server.environment)
    sign_in(server.base_url, NEW_PASSWORD)
    assert server.stop() == 0, server.log()


def test_the_shown_command_works_with_and_without_a_running_server(server: Server, elsewhere: Path) -> None:
    server.start()
    (password,) = shown_passwords(server.log())
    command = shown_command(server.log())
    # It does not depend on the current folder or on PATH.
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(elsewhere)}
    follow(command, elsewhere, bare)
    sign_in(server.base_url, NEW_PASSWORD)
    assert server.api.anonymous.post("/token", data={"username": USER, "password": password}).status_code == 401
    assert server.stop() == 0
    follow(command, elsewhere, bare)


def test_starts_mention_a_generated_password_until_it_is_changed(server: Server) -> None:
    server.start()
    (password,) = shown_passwords(server.log())
    server.stop()
    log = restart(server)
    assert password not in log
    assert "still has the password that was generated" in log
    assert "user passwd" in log
    api = Api(server.base_url, USER, password)
    body = {"current": password, "new": NEW_PASSWORD}
    assert api.admin.post("/users/me/password", json=body).status_code == 204
    api.close()
    server.stop()
    assert "still has" not in restart(server)


def test_servers_that_start_at_the_same_time_create_one_user(new_server: NewServer) -> None:
    with temporary_folder() as folder, PostgresServer(folder / "pg", settings=POSTGRES_SETTINGS) as postgres:
        settings = {"DATABASE_URL": postgres.url, "SECRET_KEY": SECRET_KEY}
        names = ("ada", "bob")
        servers = [new_server(settings=settings) for _ in names]
        for server, name in zip(servers, names, strict=True):
            server.environment["INITIAL_USER_NAME"] = name
            del server.environment["INITIAL_USER_PASSWORD"]
            server.start(wait=False)
        for server in servers:
            server.wait_until_ready()
        passwords = [shown_passwords(server.log()) for server in servers]
        first = next(index for index, shown in enumerate(passwords) if shown)
        (password,) = passwords[first]
        assert passwords[1 - first] == []
        assert f"user passwd {names[first]} " in servers[1 - first].log()
        listed = servers[0].cli("user", "list").stdout
        assert listed == f"{names[first]}\tadministrator\tactive\n"
        sign_in(servers[1 - first].base_url, password, names[first])


def test_another_web_server_shows_the_password_once(elsewhere: Path, new_server: NewServer) -> None:
    with external_postgres() as postgres:
        (elsewhere / ".env").write_text(f"DATABASE_URL='{postgres.url}'\nSECRET_KEY={SECRET_KEY}\n")
        first, second = (_under_uvicorn(elsewhere) for _ in range(2))
        assert len(shown_passwords(first)) == 1
        assert shown_passwords(second) == []
        assert shown_command(first) == shown_command(second)
        assert f"Run it in {elsewhere}" in second
        finished = subprocess.run(
            ["sh", "-c", shown_command(second)],
            cwd=elsewhere,
            env=clean_environment(),
            input=NEW_PASSWORD,
            text=True,
            capture_output=True,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        assert "user passwd" not in _under_uvicorn(elsewhere)
        assert [path.name for path in elsewhere.iterdir()] == [".env"]


def test_another_web_server_logs_start_errors_without_a_traceback(elsewhere: Path) -> None:
    (elsewhere / ".env").write_text("LOG_LEVEL=info\n")
    log = _under_uvicorn(elsewhere)
    assert "Error: DATABASE_URL is missing" in log
    assert "Traceback" not in log


def _command(server: Server) -> list[str]:
    return [sys.executable, "-m", "deploy", "serve", "--port", str(server.port), *server.options]


def _under_uvicorn(folder: Path) -> str:
    """Run the application until it has started or failed. Return its log."""
    command = [sys.executable, "-m", "uvicorn", "--port", str(free_port()), "deploy.entrypoints.fastapi_app:app"]
    log = folder.parent / f"{folder.name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=clean_environment(), stdout=output, stderr=output)
    try:
        wait_until(
            lambda: "startup complete" in log.read_text() or process.poll() is not None, "the application to start"
        )
        return log.read_text()
    finally:
        process.terminate()
        process.wait(TIMEOUT)
        log.unlink()
