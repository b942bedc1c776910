"""The process contract: startup, error messages for failed starts, and shutdown."""

import os
import signal
import socket
import subprocess

import pytest

from tests.e2e.api import Api, answer
from tests.e2e.conftest import NewServer
from tests.e2e.folders import python, say, shell, write_service
from tests.e2e.forked_commands import FASTDEPLOY
from tests.e2e.jwts import claims_of
from tests.e2e.processes import arguments, children, process
from tests.e2e.server import PASSWORD, Server, clean_environment
from tests.e2e.waiting import TIMEOUT, wait_until


def failed_start(server: Server, *, code: int = 1) -> str:
    """Start a server that must fail to start. Return the last line of its log. The exit code is 2 for settings."""
    server.start(wait=False)
    assert server.process is not None
    assert server.process.wait(TIMEOUT) == code, server.log()
    assert "Traceback" not in server.log()
    return server.log().strip().splitlines()[-1]


def listens(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


# Start and end


@pytest.mark.parametrize("by", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_stops_the_server_and_runs_continue(new_server: NewServer, by: signal.Signals) -> None:
    server = new_server(forked=False)
    server.start()
    with server.puppet() as (name, puppet):
        started = server.api.start(name)
        puppet.config()
        with server.api.live() as live:
            family = children(server.pid)
            assert server.stop(by) == 0, server.log()
            assert live.wait_until_closed() in {1001, 1006, 1012}
        assert not listens(server.port)
        assert "Traceback" not in server.log()
        puppet.print("printed while the server was down", '{"name": "A", "state": "success"}')
        server.start()
        puppet.exit()
        done = server.api.wait_until_final(started["id"])
    assert done["state"] == "success"
    assert [step["name"] for step in done["steps"]] == ["A"]
    assert server.api.lines(started["id"]) == ["printed while the server was down"]
    # Its other child processes ended with it.
    assert len([pid for pid in family if process(pid) is not None]) <= 1


def test_a_second_server_on_the_same_data_folder_is_rejected(server: Server, new_server: NewServer) -> None:
    first, second = server, new_server()
    second.environment["DATA_DIR"] = str(first.data_dir)
    assert str(first.data_dir) in failed_start(second)
    assert first.is_ready()
    assert first.api.run(first.add_service(shell("true")))["state"] == "success"


def test_a_port_in_use_is_rejected(new_server: NewServer) -> None:
    server = new_server()
    with socket.create_server(("127.0.0.1", server.port)):
        message = failed_start(server)
    assert f"Port {server.port}" in message
    assert "--port" in message


def test_a_file_as_data_folder_is_rejected(new_server: NewServer) -> None:
    server = new_server()
    server.data_dir.write_text("in the way")
    message = failed_start(server, code=2)
    assert str(server.data_dir) in message
    assert "--data-dir" in message
    assert server.data_dir.read_text() == "in the way"


def test_a_data_folder_that_cannot_be_created_is_rejected(new_server: NewServer) -> None:
    # Not even root can create it.
    server = new_server(options=["--data-dir", "/sys/fastdeploy"])
    message = failed_start(server, code=2)
    assert "/sys/fastdeploy" in message
    assert "--data-dir" in message


def test_a_start_that_fails_early_prints_only_the_reason(new_server: NewServer) -> None:
    """When it fails, a thread is still importing the web server."""
    server = new_server(settings={"POSTGRES_BIN_DIR": "/nowhere"}, forked=False)
    assert "/nowhere" in failed_start(server, code=2)
    assert len(server.log().splitlines()) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_read_only_disk_is_rejected(new_server: NewServer) -> None:
    server = new_server()
    server.data_dir.mkdir()
    mount = f'mount -t tmpfs -o ro none {server.data_dir} && exec "$0" "$@"'
    server.through = ["unshare", "--mount", "sh", "-c", mount]
    message = failed_start(server, code=2)
    assert f"{server.data_dir} cannot be used (Read-only file system)" in message
    assert len(server.log().splitlines()) == 1


def test_a_missing_services_folder_causes_a_warning(new_server: NewServer) -> None:
    server = new_server()
    server.services_dir.rmdir()
    server.start()
    assert f"WARNING The services folder {server.services_dir} does not exist" in server.log()


# Settings


def test_settings_come_from_options_the_environment_and_a_file(new_server: NewServer) -> None:
    """Options override the environment, which overrides `.env`."""
    server = new_server()
    other = server.folder / "other"
    for name in ("DATA_DIR", "SERVICES_ROOT", "INITIAL_USER_NAME", "INITIAL_USER_PASSWORD"):
        server.environment.pop(name)
    server.environment |= {"SERVICES_ROOT": "/nowhere", "PATH_FOR_DEPLOY": "/opt/ours:/usr/bin:/bin"}
    server.options = ["--services-dir", str(server.services_dir), "--host", "127.0.0.1"]
    (server.folder / ".env").write_text(
        f"DATA_DIR={other}\nINITIAL_USER_NAME=boss\nINITIAL_USER_PASSWORD='{PASSWORD}'\n"
        "ACCESS_TOKEN_EXPIRE_MINUTES=7\nAPI_URL=http://127.0.0.1:9/prefix/\nPATH_FOR_DEPLOY=/from/the/file\n"
    )
    script = 'cat "$DEPLOY_CONFIG_FILE"; echo; echo "$PATH"'
    write_service(server.services_dir, "shop", script=shell(script))
    server.start()
    assert (other / "secret-key").exists()
    assert not server.data_dir.exists()
    api = Api(server.base_url, "boss", PASSWORD)
    try:
        claims = claims_of(api.token)
        assert claims["exp"] - claims["iat"] == 7 * 60
        done = api.run("shop")
        config, path = api.lines(done["id"])
        assert '"steps_url": "http://127.0.0.1:9/prefix/steps/"' in config
        assert path == "/opt/ours:/usr/bin:/bin"
    finally:
        api.close()


@pytest.mark.slow  # in the first tier: test_first_user.py::test_starts_mention_a_generated_password_until_it_is_changed
def test_a_generated_password_is_shown_once(new_server: NewServer) -> None:
    server = new_server()
    server.environment.pop("INITIAL_USER_PASSWORD")
    server.start()
    (line,) = [line for line in server.log().splitlines() if "Password:" in line]
    password = line.split()[-1]
    api = Api(server.base_url, server.api.user, password)
    assert answer(api.admin.get("/users/me"))["is_admin"] is True
    api.close()
    assert server.stop() == 0
    server.environment |= {"INITIAL_USER_NAME": "second", "INITIAL_USER_PASSWORD": PASSWORD}
    server.start()
    assert server.log().count(password) == 1
    wrong = server.api.anonymous.post("/token", data={"username": "second", "password": PASSWORD})
    assert wrong.status_code == 401


# Several processes


def test_a_separate_worker_runs_deployments(new_server: NewServer) -> None:
    server = new_server(options=["--no-worker"])
    server.start()
    name = server.add_service(python("import os\nprint(os.environ['DEPLOY_CONFIG_FILE'])"))
    started = server.api.start(name)
    worker_settings = {"API_URL": server.base_url, "DATA_DIR": str(server.data_dir)}
    with server.log_file.open("ab") as log:
        worker = subprocess.Popen(
            [FASTDEPLOY, "worker", "--slots", "3", "--services-dir", str(server.services_dir)],
            cwd=server.folder,
            env=clean_environment(**worker_settings),
            stdout=log,
            stderr=log,
        )
    try:
        assert server.api.wait_until_final(started["id"])["state"] == "success"
        (known,) = answer(server.api.admin.get("/workers/"))
        assert (known["slots"], known["alive"]) == (3, True)
        worker.terminate()
        assert worker.wait(TIMEOUT) == 0
    finally:
        worker.kill()
        worker.wait()
    waiting = server.api.start(name)
    assert server.api.deployment(waiting["id"])["state"] == "queued"


def test_a_worker_without_a_server_is_rejected(new_server: NewServer) -> None:
    run = new_server().cli("worker")
    assert run.returncode == 1
    assert "fastdeploy serve" in run.stderr
    assert "Traceback" not in run.stderr


def test_two_web_server_processes_share_everything(new_server: NewServer) -> None:
    server = new_server(options=["--workers", "2"])
    server.start()

    def siblings() -> list[int]:
        return [pid for pid in children(server.pid) if "--listen-fd" in arguments(pid)]

    (sibling,) = wait_until(siblings, "the second process")
    name = server.add_service(shell(say("A") + "echo B"))
    # Enough connections for both processes to get some.
    listeners = [server.api.live() for _ in range(12)]
    try:
        started = server.api.start(name)
        for live in listeners:
            live.subscribe(started["id"])
        server.api.wait_until_final(started["id"])
        stored = server.api.events(started["id"])
        for live in listeners:
            assert live.wait_for_transcript(started["id"], len(stored)) == stored
    finally:
        for live in listeners:
            live.close()
    os.kill(sibling, signal.SIGKILL)
    wait_until(lambda: siblings() not in ([], [sibling]), "another second process")
    (sibling,) = siblings()
    assert server.stop() == 0
    wait_until(lambda: not listens(server.port), "the port to be free")
    wait_until(lambda: process(sibling) is None, "the second process to exit")
