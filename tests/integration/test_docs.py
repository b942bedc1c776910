"""The docs describe everything that exists, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer.main
from fastapi.routing import APIWebSocketRoute
from typer.core import TyperGroup

from deploy.config import Settings
from deploy.domain.model import DeploymentState, Outcome, StepState
from deploy.domain.service_config import OPTIONS, ServiceConfig
from deploy.entrypoints.cli import app as cli
from deploy.entrypoints.fastapi_app import create_app
from deploy.entrypoints.routers import live

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
DECISIONS = REFERENCE.parent / "decisions"


def page(name: str) -> str:
    """Return the text of a page of the reference."""
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def first_cells(text: str) -> set[str]:
    """Return the code spans in the first column of all tables in `text`."""
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| ")]
    return {code for row in rows for code in re.findall(r"`([^`]+)`", row)}


def sections(text: str, level: int) -> dict[str, str]:
    """Return the text below each heading of a level (2: `##`), up to the next heading of that level or higher."""
    _, *parts = re.split(rf"^(#{{2,{level}}}) (.+)$", text, flags=re.MULTILINE)
    headings = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    return {title: below for marks, title, below in headings if len(marks) == level}


def described_commands() -> dict[str, set[str]]:
    """Return the options of each command in the reference. Its headings look like `fastdeploy user create NAME`."""
    found = sections(page("cli"), 3)
    return {
        re.split(r" [A-Z\[]", title.strip("`"))[0]: {code.split(" ")[0] for code in first_cells(text)}
        for title, text in found.items()
    }


def real_commands(command: Any, path: str = "fastdeploy") -> Iterator[tuple[str, set[str]]]:
    """Yield each command by its full name, with its options."""
    if isinstance(command, TyperGroup):
        for name, child in command.commands.items():
            yield from real_commands(child, f"{path} {name}")
    elif not command.hidden:
        options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
        yield path, {name for option in options for name in [*option.opts, *option.secondary_opts]}


def test_docs_describe_exactly_the_existing_settings() -> None:
    assert first_cells(page("configuration")) == {name.upper() for name in Settings.model_fields}


def test_documented_defaults_match_the_code() -> None:
    rows = [
        [cell.strip(" `") for cell in row.split("|")[1:3]] for row in page("configuration").splitlines() if "|" in row
    ]
    described = dict(row for row in rows if len(row) == 2)
    for name, field in Settings.model_fields.items():
        # The docs describe empty and generated defaults in words. The default of PATH depends on the installation.
        if field.default in (None, "") or name == "path_for_deploy":
            continue
        shown = str(field.default)
        assert described[name.upper()] == (shown.lower() if isinstance(field.default, bool) else shown)


def test_docs_describe_exactly_the_existing_commands_and_options() -> None:
    assert described_commands() == dict(real_commands(typer.main.get_command(cli)))


def test_docs_describe_exactly_the_existing_routes() -> None:
    paths = create_app().openapi()["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert {cell for cell in first_cells(page("http-api")) if " /" in cell} == routes


def test_docs_describe_the_websocket() -> None:
    paths = [route.path for route in live.router.routes if isinstance(route, APIWebSocketRoute)]
    assert paths
    assert all(f"`{path}`" in page("websocket") for path in paths)


def test_docs_describe_exactly_the_existing_service_options() -> None:
    described = first_cells(sections(page("services"), 2)["config.json"])
    assert described == set(OPTIONS)


def test_documented_defaults_and_limits_of_service_options_match_the_code() -> None:
    table = sections(page("services"), 2)["config.json"]
    rows = [[cell.strip(" `") for cell in row.split("|")[1:-1]] for row in table.splitlines()]
    described = {row[0]: row[1:] for row in rows if row}
    for field in fields(ServiceConfig):
        if field.name not in OPTIONS:
            continue
        kind, default, text = described[field.name]
        if field.default is not None:  # the docs describe other defaults in words
            shown = str(field.default).lower() if field.default else {False: "false"}.get(field.default, "empty")
            assert default == shown, field.name
        if "le" in OPTIONS[field.name].limits:
            assert str(OPTIONS[field.name].limits["le"]) in kind + text, field.name


@pytest.mark.parametrize("state", [*DeploymentState, *StepState, *Outcome])
def test_docs_describe_every_state_and_outcome(state: DeploymentState | StepState | Outcome) -> None:
    assert f"`{state.value}`" in page("http-api") + page("services")


def test_every_decision_is_listed_and_has_its_four_parts() -> None:
    index = (DECISIONS / "index.md").read_text(encoding="utf-8")
    decisions = sorted(DECISIONS.glob("[0-9]*.md"))
    assert decisions
    for decision in decisions:
        assert f"({decision.name})" in index
        headings = re.findall(r"^## (.+)$", decision.read_text(encoding="utf-8"), re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences", "Enforced by"]


def test_systemd_units_let_runs_survive_a_restart() -> None:
    text = (REFERENCE.parent / "how-to" / "systemd.md").read_text(encoding="utf-8")
    units = re.findall(r"^```ini\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    started = [re.findall(r"^ExecStart=\S+/(fastdeploy \w+)", unit, re.MULTILINE) for unit in units]
    assert started == [["fastdeploy serve"], ["fastdeploy worker"]]
    assert {command for (command,) in started} <= dict(real_commands(typer.main.get_command(cli))).keys()
    assert all("\nKillMode=process\n" in unit for unit in units)
