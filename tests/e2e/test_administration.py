"""Administration commands find the server's data and do not create data elsewhere."""

import os
from collections.abc import Iterator

import pytest

from deploy.config import Settings
from tests.e2e.conftest import NewServer
from tests.e2e.folders import shell, write_service
from tests.e2e.processes import SECRET_KEY, external_postgres
from tests.e2e.server import USER, Server, temporary_folder

COMMANDS = [
    ["user", "create", "ada", "--password-stdin"],
    ["user", "list"],
    ["user", "passwd", "ada", "--password-stdin"],
    ["user", "disable", "ada"],
    ["token", "config", "--days", "1"],
    ["token", "list"],
    ["token", "revoke", "1"],
    ["db", "upgrade"],
    ["services", "sync"],
    ["worker"],
]


@pytest.fixture
def server(new_server: NewServer) -> Server:
    """Return a server whose folders are set by options, so that commands have to find them."""
    server = new_server()
    server.options += ["--data-dir", str(server.data_dir), "--services-dir", str(server.services_dir)]
    del server.environment["DATA_DIR"], server.environment["SERVICES_ROOT"]
    return server


@pytest.fixture
def elsewhere(server: Server) -> Iterator[Server]:
    """Yield the same user in a folder with the settings of another program."""
    with temporary_folder() as folder:
        (folder / ".env").write_text("SECRET_KEY=of-another-program\nLOG_LEVEL=verbose\nSERVICES_ROOT=theirs\n")
        write_service(folder / "services", "not-ours", script=shell("true"))
        write_service(folder / "theirs", "not-ours", script=shell("true"))
        other = Server(folder)
        other.environment = server.environment
        yield other
        assert not (folder / "data").exists()


def run_ok(server: Server, *arguments: str, stdin: str = "") -> str:
    run = server.cli(*arguments, stdin=stdin)
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    return run.stdout


def run_failing(server: Server, *arguments: str, code: int = 1) -> str:
    run = server.cli(*arguments, stdin="a long password\n")
    assert (run.returncode, run.stdout) == (code, "")
    assert "Traceback" not in run.stderr
    return run.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_without_a_server_fail_and_create_nothing(server: Server, command: list[str]) -> None:
    message = run_failing(server, *command)
    assert str(server.data_dir) in message
    assert "--data-dir" in message
    assert not server.data_dir.exists()


@pytest.mark.parametrize(
    "command",
    [
        ["user", "list"],
        ["user", "passwd", "ada", "--password-stdin"],
        ["user", "disable", "ada"],
        ["token", "config", "--days", "1"],
        ["token", "list"],
        ["token", "revoke", "1"],
        ["worker"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(
    "way",
    # In the first tier, test_process.py::test_settings_come_from_options_the_environment_and_a_file uses all three.
    ["option", pytest.param("environment", marks=pytest.mark.slow), pytest.param("dotenv", marks=pytest.mark.slow)],
)
def test_commands_that_need_data_do_not_create_a_database(server: Server, command: list[str], way: str) -> None:
    new = server.folder / "new"
    if way == "dotenv":
        (server.folder / ".env").write_text(f"DATA_DIR={new}\n")
    server.environment |= {"DATA_DIR": str(new)} if way == "environment" else {}
    message = run_failing(server, *command, *(["--data-dir", str(new)] if way == "option" else []))
    assert str(new) in message
    assert "fastdeploy serve" in message
    assert not new.exists()


def test_a_command_finds_the_server_from_another_folder(server: Server, elsewhere: Server) -> None:
    (elsewhere.folder / ".env").unlink()
    write_service(server.services_dir, "shop", script=shell("true"))
    server.start()
    write_service(server.services_dir, "blog", script=shell("true"))
    assert run_ok(elsewhere, "user", "list") == f"{USER}\tadministrator\tactive\n"
    assert "added: blog\n" in run_ok(elsewhere, "services", "sync")
    server.stop()
    assert run_ok(elsewhere, "services", "sync") == f"Services synced from {server.services_dir}\n"
    run_ok(elsewhere, "user", "create", "bob", "--password-stdin", stdin="the password of bob\n")
    assert run_ok(elsewhere, "user", "list", "--data-dir", str(server.data_dir)).count("\n") == 2
    listing = elsewhere.cli("user", "list")
    assert str(server.data_dir) in listing.stderr  # the data folder that it found


def test_the_settings_of_the_server_on_the_data_folder_apply(server: Server, elsewhere: Server) -> None:
    """The settings and services in the current folder do not apply."""
    write_service(server.services_dir, "shop", script=shell("true"))
    server.start()
    named = ["--data-dir", str(server.data_dir)]
    assert run_ok(elsewhere, "services", "sync", *named) == f"Services synced from {server.services_dir}\n"
    token = run_ok(elsewhere, "token", "config", "--days", "1", *named).strip()
    assert server.api.client(token).get("/deployed-services/").status_code == 200
    moved = elsewhere.folder / "services"
    assert "added: not-ours\n" in run_ok(elsewhere, "services", "sync", "--services-dir", "services", *named)
    elsewhere.environment = {**server.environment, "SERVICES_ROOT": str(moved)}
    assert run_ok(elsewhere, "services", "sync", *named) == f"Services synced from {moved}\n"


def test_several_servers_are_listed(server: Server, elsewhere: Server, new_server: NewServer) -> None:
    (elsewhere.folder / ".env").unlink()
    other = new_server(options=server.options)
    other.environment = server.environment
    other.options[other.options.index(str(server.data_dir))] = str(other.data_dir)
    for each in (server, other):
        each.start()
    message = run_failing(elsewhere, "user", "list")
    assert f"{server.data_dir} (running)\n" in message
    assert f"{other.data_dir} (running)\n" in message
    # A running server takes precedence.
    other.stop()
    assert run_ok(elsewhere, "user", "list") == f"{USER}\tadministrator\tactive\n"
    server.stop()
    message = run_failing(elsewhere, "user", "list")
    assert f"  {server.data_dir}\n" in message
    assert f"  {other.data_dir}\n" in message


def test_an_external_database_in_the_dotenv_file_is_found(server: Server, elsewhere: Server) -> None:
    with external_postgres() as postgres:
        (elsewhere.folder / ".env").unlink()
        file = server.folder / ".env"
        file.write_text(f"DATABASE_URL='{postgres.url}'\nSECRET_KEY={SECRET_KEY}\n")
        server.blank = True  # no bundled database
        server.start()
        password = postgres.url.split(":")[2].split("@")[0]
        write_service(server.services_dir, "shop", script=shell("true"))
        assert "added: shop\n" in run_ok(elsewhere, "services", "sync")
        assert run_ok(elsewhere, "user", "list", "--data-dir", str(server.data_dir)).startswith(USER)
        file.unlink()  # as if the server had read it from the environment
        for named in ([], ["--data-dir", str(server.data_dir)]):
            message = run_failing(elsewhere, "user", "list", *named, code=2)
            assert "DATABASE_URL" in message
            assert password not in message
        assert not list(server.data_dir.glob("pg*"))
        assert password not in (server.data_dir / "server.json").read_text()
        # If DATABASE_URL is set in the environment, use the services folder of the server on that database.
        elsewhere.environment = {**server.environment, "DATABASE_URL": postgres.url, "SECRET_KEY": SECRET_KEY}
        assert run_ok(elsewhere, "services", "sync") == f"Services synced from {server.services_dir}\n"


def test_sync_fails_for_an_invalid_folder_or_a_missing_root(server: Server) -> None:
    server.prepare()
    named = ["--data-dir", str(server.data_dir), "--services-dir", str(server.services_dir)]
    write_service(server.services_dir, "shop", script=shell("true"))
    write_service(server.services_dir, "broken", config="{")
    run = server.cli("services", "sync", *named)
    assert (run.returncode, run.stdout) == (1, "added: shop\n")
    assert "broken: broken/config.json: it is not valid JSON" in run.stderr
    assert f"Some folders in {server.services_dir} are invalid" in run.stderr
    missing = ["--services-dir", str(server.folder / "missing")]
    message = run_failing(server, "services", "sync", *named[:2], *missing)
    assert str(server.folder / "missing") in message
    assert "Nothing was synced" in message
    (server.services_dir / "broken" / "config.json").write_text("{}")
    (server.services_dir / "broken" / "deploy.sh").write_text(shell("true"))
    # A missing root does not remove services.
    assert run_ok(server, "services", "sync", *named).splitlines()[0] == "added: broken"


def test_the_password_is_read_from_standard_input_without_a_terminal(server: Server) -> None:
    server.prepare()
    named = ["--data-dir", str(server.data_dir)]
    run_ok(server, "user", "create", "ada", *named, stdin="a long password\n")
    for stdin in ("", "\n"):
        run = server.cli("user", "passwd", "ada", *named, stdin=stdin)
        assert run.returncode == 1
        assert "no password on standard input" in run.stderr
    run = server.cli("user", "passwd", "ada", *named, stdin="x" * 1025)
    assert "too long" in run.stderr


def test_the_version_is_shown(server: Server) -> None:
    assert run_ok(server, "--version").startswith("fastdeploy ")


def test_each_invalid_setting_is_reported_on_one_line(server: Server) -> None:
    server.environment |= {"SECRET_KEY": "a", "LOG_LEVEL": "loud", "API_URL": "nowhere", "COOKIE_SECURE": "perhaps"}
    (server.folder / ".env").write_text("WORKER_SLOTS=many\nALLOWED_ORIGINS=https://x\nRETENTION_DAYS=nan\n")
    for command in (["serve"], ["worker"], ["user", "list"]):
        lines = run_failing(server, *command, code=2).splitlines()
        assert all(line.startswith("Error: ") for line in lines)
        names = [line.split()[1] for line in lines]
        expected = {"SECRET_KEY", "LOG_LEVEL", "API_URL", "COOKIE_SECURE"}
        assert set(names) == expected | {"WORKER_SLOTS", "ALLOWED_ORIGINS", "RETENTION_DAYS"}
        assert len(names) == len(set(names))
    assert not server.data_dir.exists()


def test_a_short_key_causes_a_warning(server: Server) -> None:
    server.environment["SECRET_KEY"] = "only-18-characters"
    server.start()
    assert "SECRET_KEY has only 18 characters" in server.log()


def test_every_setting_has_a_rule() -> None:
    from deploy.entrypoints.serve.settings import _rule

    assert all(_rule(field).startswith("must be ") for field in Settings.model_fields.values())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change owners")
def test_root_does_not_change_the_folder_of_another_user(server: Server) -> None:
    server.data_dir.mkdir(mode=0o700)
    os.chown(server.data_dir, 65534, 65534)
    run_ok(server, "db", "upgrade", "--data-dir", str(server.data_dir))
    assert server.data_dir.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_uid for path in server.data_dir.iterdir()} == {65534}
