"""Project rules that linters do not check, each with its reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

import pytest

import deploy
from deploy.adapters.filesystem import ServiceFolders
from deploy.domain.commands import Command
from deploy.domain.events import Event
from deploy.domain.model import DeploymentState, StepState
from deploy.service_layer.bootstrap import create_bus
from deploy.service_layer.clock import utc_now
from deploy.service_layer.unit_of_work import UnitOfWork
from tests.conftest import inputs_of

# They read files only, so the Python version makes no difference.
pytestmark = pytest.mark.main_python
PACKAGE = Path(deploy.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# Transactions end in one place only. A commit elsewhere would end another function's transaction.
MAY_COMMIT = {PACKAGE / "adapters" / "database" / "transactions.py"}


def calls(file: Path) -> Iterator[ast.Call]:
    """Yield every call in a file."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node


def called_name(call: ast.Call) -> str:
    """Return the last part of the called name."""
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def where(file: Path, call: ast.Call) -> str:
    return f"{file.relative_to(PACKAGE.parent)}:{call.lineno}"


def test_only_transactions_commit() -> None:
    found = [
        where(file, call)
        for file in FILES
        if file not in MAY_COMMIT
        for call in calls(file)
        if called_name(call) in {"commit", "rollback"}
    ]
    assert found == []


def test_commands_are_not_run_by_a_shell() -> None:
    """A command built as a string could run code that a user put into it."""
    shells = {"create_subprocess_shell", "system", "popen", "getoutput", "getstatusoutput"}
    found = [
        where(file, call)
        for file in FILES
        for call in calls(file)
        if called_name(call) in shells
        or any(
            keyword.arg == "shell" and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
            for keyword in call.keywords
        )
    ]
    assert found == []


def test_options_of_services_are_not_looked_up_by_name() -> None:
    """`ServiceConfig` has a typed field for each option, so that mypy finds a misspelled one."""

    def is_config(node: ast.expr) -> bool:
        return (isinstance(node, ast.Name) and node.id == "config") or (
            isinstance(node, ast.Attribute) and node.attr == "data"
        )

    found = [
        f"{file.relative_to(PACKAGE.parent)}:{node.lineno}"
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Subscript) and is_config(node.value))
        or (isinstance(node, ast.Attribute) and node.attr == "get" and is_config(node.value))
    ]
    assert found == []


def test_statements_do_not_list_states() -> None:
    """`sql_list` writes them from the sets in the domain. Migrations keep literals because they never change."""
    words = "|".join(state.value for state in (*DeploymentState, *StepState))
    found = [
        f"{file.relative_to(PACKAGE.parent)}:{number}"
        for file in FILES
        if "migrations" not in file.parts
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(rf"'({words})', *'({words})'", line)
    ]
    assert found == []


def test_entry_points_only_translate() -> None:
    """Rules about users, sessions, and tokens are in the service layer, where every entry point shares them."""
    rules = {
        "CreateUser",
        "ChangeUser",
        "ChangeOwnPassword",
        "OpenSession",
        "RegisterServiceToken",
        "RegisterConfigToken",
    }
    found = [
        f"{file.relative_to(PACKAGE.parent)}:{node.lineno} {alias.name}"
        for file in FILES
        if "entrypoints" in file.parts
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name in rules
    ]
    assert found == []


def test_every_command_has_a_handler() -> None:
    @asynccontextmanager
    async def nothing() -> Any:
        yield UnitOfWork

    bus = create_bus(nothing, ServiceFolders(Path("nowhere")), utc_now, inputs_of(nothing, Path("nowhere")))
    assert set(get_args(Command)) == bus._commands.keys()
    assert set(get_args(Event)) >= bus._events.keys()


@pytest.mark.parametrize("message", [*get_args(Command), *get_args(Event)], ids=lambda message: message.__name__)
def test_messages_are_frozen_and_have_slots(message: type) -> None:
    """Requests and events never change, and a misspelled attribute must be an error."""
    assert issubclass(message, tuple) or message.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert hasattr(message, "__slots__")
    assert message.__doc__
