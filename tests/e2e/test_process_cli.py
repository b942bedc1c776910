"""The process contract: administration commands with and without a running server, and external databases."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.api import answer
from tests.e2e.conftest import NewServer
from tests.e2e.folders import shell, write_service
from tests.e2e.processes import external_postgres
from tests.e2e.server import Server, temporary_folder
from tests.e2e.test_process import failed_start

SECRET = "a long random text for these tests"  # shared by all processes on the external database


@pytest.fixture
def stopped() -> Iterator[Server]:
    """Yield a server that is not running. Only commands use its data folder."""
    with temporary_folder() as folder:
        server = Server(folder)
        yield server
        server.stop()
        server.api.close()


@pytest.fixture
def database() -> Iterator[str]:
    """Yield the URL of an external PostgreSQL."""
    with external_postgres() as postgres:
        yield postgres.url


def run_ok(server: Server, *arguments: str, stdin: str = "") -> str:
    run = server.cli(*arguments, stdin=stdin)
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    return run.stdout


def run_failing(server: Server, *arguments: str, stdin: str = "") -> str:
    run = server.cli(*arguments, stdin=stdin)
    assert run.returncode != 0
    assert "Traceback" not in run.stderr
    assert run.stdout == ""
    return run.stderr


def test_commands_work_without_a_server(stopped: Server) -> None:
    write_service(stopped.services_dir, "shop", script=shell("true"))
    write_service(stopped.services_dir, "broken", config="{")
    assert "revision" in run_ok(stopped, "db", "upgrade")
    assert run_ok(stopped, "user", "create", "alice", "--password-stdin", stdin="the password of alice\n")
    synced = stopped.cli("services", "sync")
    assert "added: shop" in synced.stdout
    assert (synced.returncode, "broken/config.json: " in synced.stderr) == (1, True)
    token = run_ok(stopped, "token", "config", "--days", "2").strip()
    with stopped as server:
        client = server.api.client(server.api.sign_in("alice", "the password of alice"))
        assert [service["name"] for service in answer(client.get("/services/"))] == ["shop"]
        assert answer(client.get("/users/me"))["is_admin"] is True  # the first user
        assert answer(server.api.client(token).get("/deployed-services/")) == []


def test_commands_work_while_the_server_runs(server: Server) -> None:
    name = server.new_name("user")
    assert run_ok(server, "user", "create", name, "--password-stdin", stdin="their password\n")
    token = server.api.sign_in(name, "their password")
    assert answer(server.api.client(token).get("/users/me"))["is_admin"] is False
    service = server.new_name()
    with server.api.live() as live:
        write_service(server.services_dir, service, script=shell("true"))
        # The command fails if other tests have left invalid folders behind.
        assert f"added: {service}\n" in server.cli("services", "sync").stdout
        assert live.wait_for(lambda message: message.get("name") == service)["type"] == "service"
    assert server.api.run(service)["state"] == "success"


def test_users_are_managed_while_the_server_runs(server: Server) -> None:
    name = server.new_name("user")
    server.api.create_user(name, "their password")
    token = server.api.sign_in(name, "their password")
    assert name in run_failing(server, "user", "create", name, "--password-stdin", stdin="their password\n")
    run_ok(server, "user", "passwd", name, "--password-stdin", stdin="their new password\n")
    assert server.api.client(token).get("/users/me").status_code == 401
    token = server.api.sign_in(name, "their new password")
    run_ok(server, "user", "disable", name)
    assert server.api.client(token).get("/users/me").status_code == 401


def test_a_short_password_is_rejected(stopped: Server) -> None:
    assert "too short" in run_failing(stopped, "user", "create", "bob", "--password-stdin", stdin="short\n")


def test_a_config_token_with_an_invalid_lifetime_is_rejected(stopped: Server) -> None:
    assert "--days" in run_failing(stopped, "token", "config", "--days", "0")


def test_a_config_token_is_listed_and_revoked(server: Server) -> None:
    made = server.api.admin.post("/config-token", json={"expiration_in_days": 1, "origin": "monitoring"})
    token = answer(made)["config_token"]
    (record,) = [
        token for token in json.loads(run_ok(server, "token", "list", "--json")) if token["origin"] == "monitoring"
    ]
    assert record["kind"] == "config"
    run_ok(server, "token", "revoke", record["id"])
    assert server.api.client(token).get("/deployed-services/").status_code == 401


def test_an_external_database_requires_a_secret_key(new_server: NewServer) -> None:
    server = new_server(settings={"DATABASE_URL": "postgresql+asyncpg://nobody@127.0.0.1:1/none"})
    error = failed_start(server, code=2)
    assert "SECRET_KEY" in error
    assert not (server.data_dir / "secret-key").exists()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+asyncpg://nobody:hush-hush@127.0.0.1:1/none",
        pytest.param("postgresql://nobody:hush-hush@127.0.0.1:1/none", marks=pytest.mark.slow),
        "nonsense",
    ],
)
def test_an_unusable_database_is_reported(stopped: Server, url: str) -> None:
    stopped.environment |= {"DATABASE_URL": url, "SECRET_KEY": SECRET}
    error = run_failing(stopped, "serve", "--port", str(stopped.port))
    assert "DATABASE_URL" in error
    assert "hush-hush" not in error


def test_servers_share_an_external_database(new_server: NewServer, database: str) -> None:
    settings = {"DATABASE_URL": database, "SECRET_KEY": SECRET}
    server, elsewhere = (new_server(settings=settings, options=options) for options in (["--no-worker"], []))
    server.start()
    assert not list(server.data_dir.glob("postgres*"))
    name = server.add_service(shell("true"))
    write_service(elsewhere.services_dir, name, script=shell("echo done elsewhere"))
    started = server.api.start(name)
    # A server is also a worker, and its web page shows the same data.
    elsewhere.start()
    finished = server.api.wait_until_final(started["id"])
    assert (finished["state"], server.api.lines(finished["id"])) == ("success", ["done elsewhere"])
    assert answer(elsewhere.api.client(server.api.token).get(f"/deployments/{started['id']}"))["state"] == "success"
    assert server.stop() == 0
    assert elsewhere.stop() == 0
    assert database.split(":")[2].split("@", maxsplit=1)[0] not in server.log() + elsewhere.log()
