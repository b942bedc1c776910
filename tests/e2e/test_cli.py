"""Use client commands with a running server: sign in, deploy, watch, and inspect."""

import json
import re
import signal
import stat
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.command_line import CommandLine, command_line, line_of
from tests.e2e.conftest import NewServer
from tests.e2e.folders import report, say, shell
from tests.e2e.prefix_proxy import prefix_proxy
from tests.e2e.server import PASSWORD, ROOT, USER, Server
from tests.e2e.waiting import wait_until

LONE = re.compile(r"\d+\.\ds")


@pytest.fixture
def cli(server: Server, tmp_path: Path) -> CommandLine:
    """Return the command line of a user who is signed in to the shared server."""
    return command_line(server, tmp_path)


@pytest.fixture
def anonymous(server: Server, tmp_path: Path) -> CommandLine:
    """Return the command line of a user who is not signed in."""
    return CommandLine(tmp_path, server.base_url)


def example(server: Server, name: str) -> str:
    """Add one of the example services and return its name."""
    folder = ROOT / "services" / name
    files = {path.name: path.read_text() for path in folder.iterdir() if path.is_file() and path.name != "config.json"}
    return server.add_service(files=files, config=json.loads((folder / "config.json").read_text()), name=name)


def login_file(cli: CommandLine) -> Path:
    return cli.folder / "config" / "fastdeploy" / "logins.json"


def without_durations(text: str) -> list[str]:
    return [LONE.sub("T", line) for line in text.splitlines()]


# --- Sign in --------------------------------------------------------------------------------------------------------


def test_a_login_stores_the_session_but_not_the_password(anonymous: CommandLine) -> None:
    cli = anonymous
    cli.login()
    stored = login_file(cli).read_text()
    assert PASSWORD not in stored
    assert stat.S_IMODE(login_file(cli).stat().st_mode) == 0o600
    assert cli.run("services", "list").returncode == 0


def test_a_wrong_password_is_reported_and_stores_nothing(anonymous: CommandLine) -> None:
    finished = anonymous.run("login", anonymous.url, "-u", "nobody-at-all", "--password-stdin", stdin="wrong\n")
    assert (finished.returncode, finished.stdout) == (4, "")
    assert "Incorrect username or password" in finished.stderr
    assert not login_file(anonymous).exists()


def test_the_password_prompt_hides_input(anonymous: CommandLine) -> None:
    with anonymous.terminal("login", anonymous.url) as terminal:
        terminal.wait_for("Name: ")
        terminal.type(f"{USER}\r")
        terminal.wait_for("Password: ")
        terminal.type(f"{PASSWORD}\r")
        assert terminal.wait() == 0
    assert f"Signed in to {anonymous.url} as {USER}" in terminal.text
    assert PASSWORD not in terminal.text


def test_login_does_not_prompt_without_a_terminal(anonymous: CommandLine) -> None:
    finished = anonymous.run("login", anonymous.url)
    assert finished.returncode == 2
    assert "--password-stdin" in finished.stderr


def test_logout_revokes_the_session(cli: CommandLine) -> None:
    before = login_file(cli).read_text()
    assert cli.run("logout").returncode == 0
    assert "fastdeploy login" in cli.run("services", "list").stderr
    login_file(cli).write_text(before)
    finished = cli.run("services", "list")
    assert finished.returncode == 4
    assert f"Sign in again: fastdeploy login {cli.url}" in finished.stderr


def test_a_session_outlives_its_tokens(new_server: NewServer, tmp_path: Path) -> None:
    server = new_server(settings={"ACCESS_TOKEN_EXPIRE_MINUTES": "0.05"})  # 3 seconds
    server.start()
    with server.puppet() as (name, puppet):
        cli = command_line(server, tmp_path)
        with cli.start("deploy", name, "--watch", "--output") as watching:
            watching.wait_for("running")
            token = server.api.sign_in(USER, PASSWORD)
            wait_until(lambda: server.api.client(token).get("/users/me").status_code == 401, "the token to expire")
            puppet.print("still here")
            watching.wait_for("| still here")
            puppet.exit()
            assert watching.wait() == 0
    assert cli.run("services", "list").returncode == 0


def test_commands_without_a_server_explain_how_to_start_one(anonymous: CommandLine) -> None:
    finished = anonymous.run("login", "127.0.0.1:1", "-u", USER, "--password-stdin", stdin="x\n")
    assert finished.returncode == 4
    assert "fastdeploy serve" in finished.stderr
    finished = anonymous.run("deploy", "shop")
    assert (finished.returncode, "fastdeploy login" in finished.stderr) == (4, True)


# --- Deploy and watch -----------------------------------------------------------------------------------------------


def test_watching_prints_the_first_example_line_by_line(server: Server, cli: CommandLine) -> None:
    name = example(server, "hello-shell")
    finished = cli.run("deploy", name, "--watch", "--output")
    assert finished.returncode == 0, finished.stderr
    title = finished.stdout.partition(":")[0]
    assert re.fullmatch(r"deployment \d+ \(hello-shell\)", title)
    lines = [
        line for line in without_durations(finished.stdout) if ": waiting: " not in line and "Running on" not in line
    ]
    assert [re.sub("This is .*", "This is X", line) for line in lines] == [
        f"{title}: queued",
        f"{title}: running",
        "step Look around: running",
        "step Look around: success (T): This is X",
        "step Say hello: running",
        "step Say hello: running: Waiting a second",
        "| Hello, world!",
        "step Say hello: success (T): Hello, world!",
        "step Tidy up: running",
        "| This example changes nothing, so there is nothing to tidy up.",
        "step Tidy up: success (T): Nothing was changed",
        f"{title}: success (T)",
    ]
    assert "\x1b" not in finished.stdout


def test_a_failure_exits_with_code_1_and_ends_with_the_reason(server: Server, cli: CommandLine) -> None:
    finished = cli.run("deploy", example(server, "fails-halfway"), "--watch")
    assert finished.returncode == 1
    lines = finished.stdout.splitlines()
    assert re.match(r"deployment \d+ \(fails-halfway\): failure", lines[-1])
    assert "The backup disk is not there" in lines[-1]
    assert lines[-2] == "| There is no folder /mnt/fastdeploy-example-backup."


def test_values_reach_the_script(server: Server, cli: CommandLine) -> None:
    name = server.add_service(shell('grep -o \'"env": {[^}]*}\' "$DEPLOY_CONFIG_FILE"'))
    (cli.folder / "values").write_text("# kept out of process lists\nPASSWORD=a=b \nversion=1\n")
    finished = cli.run(
        "deploy", name, "-e", "version=@2", "-e", "empty=", "--env-file", "values", "--watch", "--output"
    )
    assert finished.returncode == 0, finished.stdout
    reported = line_of(finished.stdout, '| "env"').partition(": ")[2]
    assert json.loads(reported) == {"PASSWORD": "a=b", "version": "@2", "empty": ""}


def test_malformed_values_do_not_start_a_deployment(server: Server, cli: CommandLine) -> None:
    name = server.add_service(shell("true"))
    assert cli.run("deploy", name, "-e", "version").returncode == 2
    assert cli.run("deploy", name, "--env-file", "none").returncode == 2
    assert server.api.service(name)["last_deployment"] is None


def test_an_unknown_service_suggests_a_similar_name(server: Server, cli: CommandLine) -> None:
    name = server.add_service(shell("true"), name="bookshop-of-the-year")
    finished = cli.run("deploy", "bokshop-of-the-year")
    assert finished.returncode == 4
    assert f"Did you mean {name}?" in finished.stderr


def test_deploy_without_watch_prints_how_to_follow_the_deployment(server: Server, cli: CommandLine) -> None:
    name = server.add_service(shell("true"))
    finished = cli.run("deploy", name)
    assert finished.returncode == 0
    deployment_id = server.api.service(name)["last_deployment"]["id"]
    assert f"fastdeploy deployments watch {deployment_id}" in finished.stdout
    assert f"{server.base_url}/ui/deployments/{deployment_id}" in finished.stdout
    assert server.api.deployment(deployment_id)["origin"] == "cli"


def test_json_is_one_document_and_progress_goes_to_stderr(server: Server, cli: CommandLine) -> None:
    name = server.add_service(shell(say("Grüße", message="naïve ✔")))
    started = cli.json("deploy", name)
    assert (started["service"], started["state"], "steps" in started) == (name, "queued", False)
    finished = cli.run("deploy", name, "--json", "--watch")
    result = json.loads(finished.stdout)
    assert finished.returncode == 0
    assert (result["state"], [step["name"] for step in result["steps"]]) == ("success", ["Grüße"])
    assert "step Grüße: success" in finished.stderr


def test_json_is_valid_without_unicode_support(server: Server, cli: CommandLine) -> None:
    name = server.add_service(shell(say("Grüße", message="✔")))
    result = cli.run("deploy", name, "--json", "--watch", PYTHONIOENCODING="ascii")
    assert json.loads(result.stdout)["steps"][0]["name"] == "Grüße"
    plain = cli.run("deploy", name, "--watch", PYTHONIOENCODING="ascii")
    assert (plain.returncode, "step Gr\\xfc\\xdfe: success" in plain.stdout) == (0, True)


def test_repeated_starts_with_the_same_key_start_one_deployment(server: Server, cli: CommandLine) -> None:
    name = server.add_service(shell("true"))
    first = cli.json("deploy", name, "--idempotency-key", "build-1")
    assert cli.json("deploy", name, "--idempotency-key", "build-1")["id"] == first["id"]
    assert cli.json("deploy", name)["id"] != first["id"]
    other = cli.run("deploy", name, "-e", "a=1", "--idempotency-key", "build-1")
    assert (other.returncode, "Idempotency-Key" in other.stderr) == (4, True)


def test_watching_shows_why_a_deployment_is_waiting(server: Server, cli: CommandLine) -> None:
    with server.puppet() as (name, puppet):
        first = cli.json("deploy", name)["id"]
        puppet.config()
        with cli.start("deploy", name, "--watch") as watching:
            watching.wait_for(f"waiting: Deployment {first} of {name} is running ahead of it")
            assert cli.run("deployments", "cancel", str(first + 1)).returncode == 0
            assert watching.wait() == 3
        puppet.exit()


# --- Interrupts and lost connections --------------------------------------------------------------------------------


def test_ctrl_c_stops_watching_and_nothing_else(server: Server, cli: CommandLine) -> None:
    with server.puppet() as (name, puppet):
        with cli.start("deploy", name, "--watch", "--output") as watching:
            puppet.print("first")
            watching.wait_for("| first")
            watching.interrupt()
            assert watching.wait() == 130
        deployment_id = server.api.service(name)["last_deployment"]["id"]
        assert f"fastdeploy deployments watch {deployment_id}" in watching.stderr
        assert f"fastdeploy deployments cancel {deployment_id}" in watching.stderr
        assert "Traceback" not in watching.stderr
        puppet.print("second")
        puppet.exit()
        assert server.api.wait_until_final(deployment_id)["state"] == "success"
    watched = cli.run("deployments", "watch", str(deployment_id), "--output")
    assert (watched.returncode, [line for line in watched.stdout.splitlines() if line.startswith("|")]) == (
        0,
        ["| first", "| second"],
    )


@pytest.mark.parametrize(
    ("ends", "by"),
    [pytest.param(signal.SIGTERM, "service token", marks=pytest.mark.slow), (signal.SIGKILL, "login")],
)
def test_watching_survives_a_restart_of_the_server(
    new_server: NewServer, tmp_path: Path, ends: signal.Signals, by: str
) -> None:
    server = new_server()
    server.start()
    with server.puppet({"steps": [{"name": "Work"}]}) as (name, puppet):
        cli = command_line(server, tmp_path)
        token = {"FASTDEPLOY_TOKEN": server.api.service_token(name)} if by == "service token" else {}
        with cli.start("deploy", name, "--watch", "--output", **token) as watching:
            puppet.print("before", report("Work", "running"))
            watching.wait_for("step Work: running")
            if ends is signal.SIGKILL:
                server.kill()
            else:
                server.stop(ends)
            away = [f"while away {number}" for number in range(50)]
            puppet.print(*away, report("Work", message="done meanwhile"))
            wait_until(lambda: "Reconnecting" in watching.stderr, "the lost connection to be reported")
            server.start()
            puppet.print("after")
            puppet.exit()
            assert watching.wait() == 0, watching.stderr
        shown = [line.removeprefix("| ") for line in watching.stdout.splitlines() if line.startswith("| ")]
        assert shown == ["before", *away, "after"]
        assert watching.stdout.count("step Work: success") == 1
        assert "Reconnected" in watching.stderr


def test_watching_polls_behind_a_proxy_without_websocket(server: Server, tmp_path: Path) -> None:
    name = server.add_service(shell("for i in $(seq 1 3000); do echo line $i; done"))
    with prefix_proxy(server.base_url, "/tools/deploy") as (url, asked):
        cli = CommandLine(tmp_path, url)
        cli.login()
        finished = cli.run("deploy", name, "--watch", "--output")
        assert cli.run("logout").returncode == 0
    assert finished.returncode == 0, finished.stderr
    shown = [line for line in finished.stdout.splitlines() if line.startswith("| ")]
    assert shown == [f"| line {number}" for number in range(1, 3001)]
    assert any("/deployments/ws/" in path for path in asked)
    assert any("/events?after=" in path for path in asked)


# --- A service token, for CI ----------------------------------------------------------------------------------------


def test_a_service_token_deploys_its_service_and_nothing_else(server: Server, anonymous: CommandLine) -> None:
    name, other = server.add_service(shell("echo hello")), server.add_service(shell("true"))
    ci = {"FASTDEPLOY_URL": server.base_url, "FASTDEPLOY_TOKEN": server.api.service_token(name, origin="GitHub")}
    finished = anonymous.run("deploy", "--watch", "--output", **ci)
    assert finished.returncode == 0, finished.stderr
    assert "| hello" in finished.stdout.splitlines()
    deployment_id = server.api.service(name)["last_deployment"]["id"]
    assert anonymous.json("deployments", "show", str(deployment_id), **ci)["origin"] == "GitHub"
    assert anonymous.run("deployments", "logs", str(deployment_id), **ci).stdout == "hello\n"
    assert anonymous.run("deploy", name, **ci).returncode == 0

    wrong = anonymous.run("deploy", other, **ci)
    assert (wrong.returncode, f"is for {name}, not for {other}" in wrong.stderr) == (2, True)
    foreign = server.api.run(other)["id"]
    assert "belongs to another service" in anonymous.run("deployments", "show", str(foreign), **ci).stderr
    assert "sign in as a user" in anonymous.run("deployments", "list", **ci).stderr
    assert "sign in as a user" in anonymous.run("deployments", "cancel", str(foreign), **ci).stderr
    assert not login_file(anonymous).exists()


def test_an_invalid_token_is_reported(server: Server, anonymous: CommandLine) -> None:
    finished = anonymous.run("deploy", "x", FASTDEPLOY_URL=server.base_url, FASTDEPLOY_TOKEN="a.b.c")
    assert finished.returncode == 4
    assert "FASTDEPLOY_TOKEN" in finished.stderr


def test_a_user_token_from_the_environment_does_not_need_a_login(server: Server, anonymous: CommandLine) -> None:
    name = server.add_service(shell("true"))
    environment = {"FASTDEPLOY_URL": server.base_url, "FASTDEPLOY_TOKEN": server.api.token}
    assert anonymous.run("deploy", name, "--watch", **environment).returncode == 0


# --- Lists and logs -------------------------------------------------------------------------------------------------


def test_lists_are_filtered_and_tab_separated(server: Server, cli: CommandLine) -> None:
    good, bad = server.add_service(shell("true")), server.add_service(shell("exit 3"))
    for name in (good, bad, bad):
        server.api.run(name)
    rows = [line.split("\t") for line in cli.run("deployments", "list", "--service", bad).stdout.splitlines()]
    assert [(row[1], row[2], row[3], row[4]) for row in rows] == [(bad, "failure", USER, "ci")] * 2
    assert cli.json("deployments", "list", "--service", bad, "--state", "success") == []
    found = cli.json("deployments", "list", "--service", good, "--user", USER, "--limit", "1")
    assert [(each["service"], each["state"]) for each in found] == [(good, "success")]
    assert cli.run("deployments", "list", "--state", "lost").returncode == 2
    services = {line.split("\t")[1]: line.split("\t")[2] for line in cli.run("services", "list").stdout.splitlines()}
    assert (services[good], services[bad]) == ("success", "failure")
    assert good in [each["name"] for each in cli.json("services", "list")]


def test_show_prints_the_reason_before_the_steps(server: Server, cli: CommandLine) -> None:
    name = server.add_service(shell(say("Prepare") + say("Install", "failure", error_message="The disk is full.")))
    deployment_id = server.api.run(name, {"version": "1.4.2"})["id"]
    shown = cli.run("deployments", "show", str(deployment_id)).stdout
    assert shown.splitlines()[0] == f"✘ failure · {name} · deployment {deployment_id}"
    assert 0 < shown.index("The disk is full.") < shown.index("✔ Prepare") < shown.index("✘ Install")
    assert "version=1.4.2" in shown
    assert [step["state"] for step in cli.json("deployments", "show", str(deployment_id))["steps"]] == [
        "success",
        "failure",
    ]


def test_logs_print_the_output_unchanged(server: Server, cli: CommandLine) -> None:
    name = server.add_service(
        shell(r"for i in $(seq 1 12000); do echo line $i; done; printf '\033[31mError: red\033[0m\n'")
    )
    deployment_id = str(server.api.run(name)["id"])
    lines = [*[f"line {number}" for number in range(1, 12001)], "Error: red"]
    assert cli.run("deployments", "logs", deployment_id).stdout.splitlines() == lines
    assert cli.run("deployments", "logs", deployment_id, "--tail", "2").stdout.splitlines() == lines[-2:]
    assert cli.run("deployments", "logs", deployment_id, "--search", "ERROR").stdout == "Error: red\n"
    stamped = cli.run("deployments", "logs", deployment_id, "--timestamps", "--tail", "1").stdout
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z Error: red\n", stamped)


def test_logs_follow_prints_each_line_once(server: Server, cli: CommandLine) -> None:
    with server.puppet() as (name, puppet):
        deployment_id = str(cli.json("deploy", name)["id"])
        puppet.print("first", "second")
        wait_until(lambda: server.api.lines(int(deployment_id)) == ["first", "second"], "the first lines")
        with cli.start("deployments", "logs", deployment_id, "--follow", "--tail", "1") as following:
            following.wait_for("second")
            puppet.print("third")
            following.wait_for("third")
            puppet.exit()
            assert following.wait() == 0
        assert following.stdout == "second\nthird\n"


def test_a_deployment_can_be_cancelled_and_retried(server: Server, cli: CommandLine) -> None:
    with server.puppet() as (name, puppet):
        deployment_id = cli.json("deploy", name, "-e", "a=1")["id"]
        puppet.config()
        with cli.start("deployments", "watch", str(deployment_id)) as watching:
            watching.wait_for("running")
            assert "Stopping" in cli.run("deployments", "cancel", str(deployment_id)).stdout
            assert watching.wait() == 3
        assert f"cancelled by {USER}" in watching.stdout.lower()
    again = cli.run("deployments", "cancel", str(deployment_id))
    assert (again.returncode, "has already finished" in again.stderr) == (4, True)
    retried = cli.json("deployments", "retry", str(deployment_id))
    assert (retried["retry_of"], retried["context"]) == (deployment_id, {"env": {"a": "1"}})


def test_cancel_stops_processes_after_a_reported_result(server: Server, cli: CommandLine) -> None:
    with server.puppet() as (name, puppet):
        deployment_id = cli.json("deploy", name)["id"]
        client = server.api.client(puppet.config()["access_token"])
        assert client.put("/deployments/finish/").is_success
        reported = cli.run("deployments", "cancel", str(deployment_id)).stdout
        assert "Its outcome does not change: success" in reported
        wait_until(
            lambda: cli.run("deployments", "cancel", str(deployment_id)).returncode == 4, "the processes to exit"
        )
    watched = cli.run("deployments", "watch", str(deployment_id))
    assert (watched.returncode, watched.stdout.count("success")) == (0, 1)


def test_every_command_reports_a_missing_deployment(cli: CommandLine) -> None:
    for command in ("show", "logs", "watch", "cancel", "retry"):
        finished = cli.run("deployments", command, "999999")
        assert finished.returncode == 4, command
        assert "Deployment 999999 does not exist" in finished.stderr, command
    assert cli.run("deployments", "show", "latest").returncode == 2


# --- On a terminal --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [pytest.param(60, marks=pytest.mark.slow), 80])
def test_a_terminal_shows_a_progress_bar_and_then_the_outcome(server: Server, cli: CommandLine, columns: int) -> None:
    with server.puppet({"steps": [{"name": "Build"}, {"name": "Install"}]}) as (name, puppet):
        with cli.terminal("deploy", name, "--watch", columns=columns) as terminal:
            puppet.print(report("Build", "running"))
            terminal.wait_for("0/2")
            terminal.wait_for("━━━")
            puppet.print(report("Build", message="Built"))
            terminal.wait_for("✔ Build")
            terminal.wait_for("1/2")
            puppet.print(report("Install"))
            puppet.exit()
            assert terminal.wait() == 0
        assert f"of {name}: success" in terminal.text
        assert "✔ Install" in terminal.text


def test_ctrl_c_restores_the_terminal(server: Server, cli: CommandLine) -> None:
    with server.puppet() as (name, puppet):
        with cli.terminal("deploy", name, "--watch") as terminal:
            puppet.print(report("Build", "running"))
            terminal.wait_for("Build")
            terminal.type("\x03")
            assert terminal.wait() == 130
        assert "continues" in terminal.text
        assert terminal.drawn.rfind("\x1b[?25h") > terminal.drawn.rfind("\x1b[?25l")  # the cursor is visible again
        assert "Traceback" not in terminal.text
        puppet.exit()


def test_no_color_and_dumb_terminals_are_respected(server: Server, cli: CommandLine) -> None:
    name = server.add_service(shell("printf '\\033[31mred\\033[0m\\n'"))
    with cli.terminal("deploy", name, "--watch", "--output", NO_COLOR="1") as terminal:
        assert terminal.wait() == 0
    assert not re.search(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", terminal.drawn)
    with cli.terminal("deploy", name, "--watch", "--output", TERM="dumb") as terminal:
        assert terminal.wait() == 0
    assert "\x1b" not in terminal.drawn
    assert "| red" in terminal.text
    colored = cli.run("deploy", name, "--watch", "--output", FORCE_COLOR="1")
    assert "\x1b" not in colored.stdout


def test_output_cannot_control_the_terminal(server: Server, cli: CommandLine) -> None:
    attack = r"printf '\033]0;owned\007\033[2J\033[31mred\033[0m\n'"
    name = server.add_service(shell(attack))
    with cli.terminal("deploy", name, "--watch", "--output") as terminal:
        assert terminal.wait() == 0
    assert "owned" not in terminal.drawn
    assert "\x1b[2J" not in terminal.drawn
    deployment_id = str(server.api.service(name)["last_deployment"]["id"])
    with cli.terminal("deployments", "logs", deployment_id) as terminal:
        assert terminal.wait() == 0
    assert terminal.drawn == "\x1b[0;31mred\x1b[0m\r\n"


def test_login_accepts_a_url_copied_from_the_browser(server: Server, tmp_path: Path) -> None:
    cli = CommandLine(tmp_path, f"{urlsplit(server.base_url).netloc}/ui/services/3")
    cli.login()
    assert f'"current": "{server.base_url}"' in login_file(cli).read_text()
