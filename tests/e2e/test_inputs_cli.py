"""Values on the command line: from options, files, and prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command_line import CommandLine, command_line
from tests.e2e.folders import shell
from tests.e2e.server import Server

SECRET = "s3cr3t-of-the-command-line"
INPUTS: dict[str, Any] = {
    "type": "object",
    "required": ["environment", "password"],
    "properties": {
        "environment": {"title": "Where to", "oneOf": [{"const": "s", "title": "Staging"}, {"const": "p"}]},
        "replicas": {"title": "Replicas", "type": "integer", "maximum": 9, "default": 2},
        "notify": {"type": "boolean"},
        "hosts": {"type": "array", "items": {"x-choices": {"command": ["./hosts.sh"]}}},
        "password": {"title": "Password", "type": "string", "writeOnly": True},
    },
    "if": {"properties": {"environment": {"const": "p"}}, "required": ["environment"]},
    "then": {"properties": {"ticket": {"title": "Ticket", "type": "string", "minLength": 2}}, "required": ["ticket"]},
}
KEEP = shell('cp "$DEPLOY_CONFIG_FILE" given.json')


@pytest.fixture
def cli(server: Server, tmp_path: Path) -> CommandLine:
    """Return the command line of a user who is signed in to the shared server."""
    return command_line(server, tmp_path)


@pytest.fixture
def service(server: Server) -> str:
    """Add a service with inputs of many types."""
    files = {"hosts.sh": shell("echo web1; echo web2")}
    return server.add_service(KEEP, files=files, config={"inputs": INPUTS})


def received_values(server: Server, service: str) -> dict[str, Any]:
    """Return the values that the script received."""
    config = json.loads((server.services_dir / service / "given.json").read_text())
    return dict(config["context"]["env"])


def test_values_are_converted_to_the_types_in_the_schema(server: Server, cli: CommandLine, service: str) -> None:
    (cli.folder / "password").write_text(f"{SECRET}\n")
    options = ["-e", "environment=Staging", "-e", "replicas=3", "-e", "notify=no", "-e", "hosts=web2,web1"]
    finished = cli.run("deploy", service, *options, "-e", "password=@password", "--watch")
    assert finished.returncode == 0, finished.stderr
    expected = {"environment": "s", "replicas": 3, "notify": False, "hosts": ["web2", "web1"], "password": SECRET}
    assert received_values(server, service) == expected


def test_secrets_are_read_from_standard_input(server: Server, cli: CommandLine, service: str) -> None:
    lines = f"environment=s\npassword={SECRET}\n"
    assert cli.run("deploy", service, "--env-file", "-", "-w", stdin=lines).returncode == 0
    assert received_values(server, service)["password"] == SECRET
    options = ("-e", "environment=s", "-e", "password=@-")
    assert cli.run("deploy", service, *options, "-w", stdin="other\n").returncode == 0
    assert received_values(server, service)["password"] == "other"


def test_invalid_values_are_listed_without_a_terminal(cli: CommandLine, service: str) -> None:
    finished = cli.run("deploy", service, "-e", "replicas=12", "-e", "environment=p", "-e", "replica=1")
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert "  replicas  Replicas: must be at most 9\n" in finished.stderr
    assert "  password  Password: required\n" in finished.stderr
    assert "  ticket    Ticket: required\n" in finished.stderr
    assert "  replica   replica: not an input of this service" in finished.stderr


def test_a_service_token_is_enough(server: Server, cli: CommandLine, service: str) -> None:
    token = {"FASTDEPLOY_URL": server.base_url, "FASTDEPLOY_TOKEN": server.api.service_token(service)}
    options = ["-e", "environment=s", "-e", f"password={SECRET}", "-e", "replicas=4"]
    assert cli.run("deploy", *options, "--watch", **token).returncode == 0
    assert received_values(server, service)["replicas"] == 4
    assert cli.json("services", "inputs", **token)["schema"]["properties"]["hosts"]["items"] == {
        "enum": ["web1", "web2"]
    }


def test_required_values_are_prompted_for_on_a_terminal(server: Server, cli: CommandLine, service: str) -> None:
    with cli.terminal("deploy", service, "-e", "replicas=12", "--watch") as terminal:
        terminal.wait_for("Replicas: must be at most 9")
        terminal.wait_for("whole number, Enter for 2")
        terminal.type("3\n")
        terminal.wait_for("2  p")
        terminal.wait_for("number or value")
        terminal.type("2\n")
        terminal.wait_for("hidden")
        terminal.type_hidden(f"{SECRET}\n")
        terminal.wait_for("Ticket")
        terminal.wait_for("  value:")
        terminal.type("T\n")
        terminal.wait_for("Ticket: must have at least 2 characters")
        terminal.type("T1\n")
        assert terminal.wait() == 0, terminal.text
        assert SECRET not in terminal.text
    assert received_values(server, service) == {"environment": "p", "replicas": 3, "password": SECRET, "ticket": "T1"}


def test_ask_prompts_for_all_inputs(server: Server, cli: CommandLine, service: str) -> None:
    with cli.terminal("deploy", service, "--ask", "--watch") as terminal:
        terminal.wait_for("number or value")
        terminal.type("Staging\n")
        terminal.wait_for("Enter for 2")
        terminal.type("\n")
        terminal.wait_for("yes or no")
        terminal.type("y\n")
        terminal.wait_for("notify: must be yes or no")
        terminal.type("yes\n")
        terminal.wait_for("numbers or values, comma-separated")
        terminal.type("2, web1\n")
        terminal.wait_for("hidden")
        terminal.type_hidden(f"{SECRET}\n")
        assert terminal.wait() == 0, terminal.text
    expected = {"environment": "s", "replicas": 2, "notify": True, "hosts": ["web2", "web1"], "password": SECRET}
    assert received_values(server, service) == expected


def test_no_ask_does_not_prompt(cli: CommandLine, service: str) -> None:
    with cli.terminal("deploy", service, "--no-ask") as terminal:
        assert terminal.wait() == 2
        assert "Password: required" in terminal.text


def test_a_deployment_is_confirmed_by_name(server: Server, cli: CommandLine) -> None:
    service = server.add_service(shell("true"), config={"confirm": True})
    finished = cli.run("deploy", service)
    assert (finished.returncode, "confirm" in finished.stderr) == (2, True)
    assert cli.run("deploy", service, "--confirm", service, "--watch").returncode == 0
    with cli.terminal("deploy", service, "--watch") as terminal:
        terminal.wait_for(f"({service})")
        terminal.type("wrong\n")
        terminal.type(f"{service}\n")
        assert terminal.wait() == 0, terminal.text


def test_retry_prompts_for_secrets(server: Server, cli: CommandLine, service: str) -> None:
    started = cli.json("deploy", service, "-e", "environment=s", "-e", f"password={SECRET}")
    server.api.wait_until_final(started["id"])
    finished = cli.run("deployments", "retry", str(started["id"]))
    assert finished.returncode == 2
    assert "password  Password: must be given again" in finished.stderr
    assert cli.run("deployments", "retry", str(started["id"]), "-e", "password=new", "-w").returncode == 0
    assert received_values(server, service)["password"] == "new"
    with cli.terminal("deployments", "retry", str(started["id"]), "--watch") as terminal:
        terminal.wait_for("Password (hidden)")
        terminal.type_hidden("typed\n")
        assert terminal.wait() == 0, terminal.text
    assert received_values(server, service)["password"] == "typed"


def test_inputs_are_listed(cli: CommandLine, service: str) -> None:
    lines = cli.run("services", "inputs", service).stdout.splitlines()
    assert lines[0].split("\t") == ["environment", "one of s, p", "yes", "", "Where to"]
    assert lines[3].split("\t") == ["hosts", "some of web1, web2", "", "", ""]
    asked = cli.json("services", "inputs", service)
    assert asked["summary"]["file"] == "deploy.sh"
    with cli.terminal("services", "inputs", service, columns=120) as terminal:
        assert terminal.wait() == 0
        assert "Where to" in terminal.text
