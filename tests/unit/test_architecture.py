"""Import rules that import-linter cannot express: "the standard library and nothing else"."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import deploy

PACKAGE = Path(deploy.__file__).parent
DOMAIN = sorted((PACKAGE / "domain").rglob("*.py"))
CALLBACK = sorted((PACKAGE / "adapters" / "ansible" / "callback").glob("*.py"))
CLIENT = sorted((PACKAGE / "entrypoints" / "cli" / "client").glob("[a-z]*.py"))
SUPERVISOR = sorted((PACKAGE / "adapters" / "runs" / "supervisor").glob("*.py"))


def imported(file: Path) -> Iterator[str]:
    """Yield the full name of every module that a file imports anywhere."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 or (node.level == 1 and file in SUPERVISOR), f"{file} imports relatively"
            if not node.level:
                yield node.module or ""


def forbidden_imports(file: Path, *allowed: str) -> set[str]:
    """Return a file's imports other than the standard library and the allowed packages."""
    return {
        name
        for name in imported(file)
        if name.partition(".")[0] not in sys.stdlib_module_names and not name.startswith(allowed)
    }


@pytest.mark.parametrize("file", DOMAIN, ids=lambda file: file.stem)
def test_the_domain_imports_only_itself_and_the_standard_library(file: Path) -> None:
    # typing_extensions is the standard library of newer Python versions; wcwidth is a table of Unicode's.
    assert forbidden_imports(file, "deploy.domain", "typing_extensions", "wcwidth") == set()


@pytest.mark.parametrize("file", SUPERVISOR, ids=lambda file: file.stem)
def test_the_supervisor_imports_only_itself_and_the_standard_library(file: Path) -> None:
    # `startswith(())` is never true.
    assert forbidden_imports(file) == set()


@pytest.mark.parametrize("file", CALLBACK, ids=lambda file: file.stem)
def test_the_ansible_callback_does_not_import_our_modules(file: Path) -> None:
    assert forbidden_imports(file, "ansible") == set()
    assert "SPDX-License-Identifier: GPL-3.0-or-later" in file.read_text(encoding="utf-8")


def test_processes_without_a_database_do_not_load_its_libraries() -> None:
    """The fork server and folder checks must be small and fast, and so must the commands that use the HTTP API."""
    modules = (
        "deploy.adapters.runs.fork_server",
        "deploy.adapters.runs.supervisor.__main__",
        "deploy.adapters.service_folders.checker",
        "deploy.entrypoints.cli.main",
        *(f"deploy.entrypoints.cli.client.{file.stem}" for file in CLIENT),
    )
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(modules) <= set(loaded)
    assert not {"asyncpg", "sqlalchemy"} & set(loaded)
