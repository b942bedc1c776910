"""The scripts that `just` runs explain what is missing in one sentence, and show progress while they install."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.adapters import migrations

ROOT = Path(__file__).parents[2]
TIMEOUT = 120.0
PROGRAMS = ("sh", "find", "head", "touch", "mktemp", "rm", "cat", "sleep", "dirname", "printf", "mkdir", "kill")


def program(folder: Path, name: str, body: str) -> None:
    """Write a program."""
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


class Checkout:
    """A checkout without installed packages, on a machine with this Node.js, if any."""

    def __init__(self, folder: Path, node: str | None) -> None:
        self.folder = folder
        (folder / "frontend").mkdir()
        (folder / "frontend" / "package-lock.json").touch()
        shutil.copytree(ROOT / "scripts", folder / "scripts")
        self._programs = folder / "bin"
        self._programs.mkdir()
        for name in PROGRAMS:
            if found := shutil.which(name):
                (self._programs / name).symlink_to(found)
        if node is not None:
            program(self._programs, "node", f"echo {node}")
            program(
                self._programs, "npm", "echo noise of npm; mkdir node_modules; touch node_modules/.package-lock.json"
            )

    def build_page(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run scripts/build-page."""
        return subprocess.run(
            [self.folder / "scripts" / "build-page", *arguments],
            env={"PATH": str(self._programs)},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )


@pytest.mark.parametrize("node", ["v18.20.4", "v20.18.3", "v21.7.3", "v22.11.0", "v0.12.18", "v4.9.1"])
def test_an_old_node_is_refused_in_one_sentence(tmp_path: Path, node: str) -> None:
    finished = Checkout(tmp_path, node).build_page()
    assert (finished.returncode, finished.stdout) == (1, "")
    (line,) = finished.stderr.splitlines()
    assert line.startswith(f"Error: Node.js {node} is too old. Install Node.js 20.19 or newer")
    assert not (tmp_path / "frontend" / "node_modules").exists()


def test_a_missing_node_is_explained_in_one_sentence(tmp_path: Path) -> None:
    finished = Checkout(tmp_path, None).build_page()
    assert (finished.returncode, finished.stdout) == (1, "")
    (line,) = finished.stderr.splitlines()
    assert line.startswith("Error: node and npm were not found. Install Node.js 20.19 or newer")


@pytest.mark.parametrize("node", ["v20.19.0", "v20.20.1", "v22.12.0", "v23.0.0", "v24.3.0", "v100.0.0"])
def test_a_suitable_node_installs_with_progress_instead_of_noise(tmp_path: Path, node: str) -> None:
    finished = Checkout(tmp_path, node).build_page("install")
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "frontend" / "node_modules").exists()
    assert finished.stdout.startswith("Installing the page's packages ")
    assert len(finished.stdout.splitlines()) == 1
    assert "noise" not in finished.stdout + finished.stderr


def test_the_docs_name_the_range_of_node_that_npm_checks() -> None:
    engines = json.loads((ROOT / "frontend" / "package.json").read_text())["engines"]
    assert engines["node"] == "^20.19.0 || >=22.12.0"
    text = "20.19 or newer in the 20 series, or 22.12 or newer"
    for page in ("README.md", "docs/tutorial/first-deployment.md", "scripts/build-page"):
        assert text in (ROOT / page).read_text(), page


def test_the_output_of_a_failed_command_is_shown() -> None:
    command = [
        str(ROOT / "scripts" / "with-progress"),
        "Installing",
        "sh",
        "-c",
        "echo to stdout; echo to stderr >&2; exit 7",
    ]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert finished.returncode == 7
    assert finished.stdout.startswith("Installing ")
    assert finished.stderr == "to stdout\nto stderr\n"


def test_no_empty_migration_is_written(database_url: str) -> None:
    before = sorted(migrations.FOLDER.rglob("*.py"))
    environment = {**os.environ, "DATABASE_URL": database_url, "SECRET_KEY": "0123456789abcdef" * 2}
    command = [sys.executable, str(ROOT / "scripts" / "db_revision.py"), "nothing changed"]
    finished = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    written = sorted(set(migrations.FOLDER.rglob("*.py")) - set(before))
    for path in written:
        path.unlink()
    assert written == []
    assert finished.returncode == 1
    assert finished.stderr.strip().splitlines()[-1].startswith("Error: No migration was written")
