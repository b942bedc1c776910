"""Every client command has help and an example."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.main import get_command

from deploy.entrypoints.cli.client import commands


def walk(command: Any, path: tuple[str, ...] = ("fastdeploy",)) -> Iterator[tuple[str, Any]]:
    """Yield each command below this one with its full name."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(path), command
        return
    for name, each in inner.items():
        yield from walk(each, (*path, name))


def client_commands() -> list[tuple[str, Any]]:
    app, services = typer.Typer(), typer.Typer()
    app.add_typer(services, name="services")
    commands.register(app, services)
    return list(walk(get_command(app)))


@pytest.mark.parametrize(("name", "command"), client_commands())
def test_a_command_has_help_and_an_example(name: str, command: Any) -> None:
    assert command.help.strip().endswith(".")
    assert f"\n  {name}" in command.epilog
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name}"


def test_all_commands_are_registered() -> None:
    assert sorted(name.removeprefix("fastdeploy ") for name, _ in client_commands()) == [
        "deploy",
        *[f"deployments {each}" for each in ("cancel", "hosts", "list", "logs", "retry", "show", "watch")],
        "login",
        "logout",
        "services inputs",
        "services list",
    ]
