"""Install every supported ansible-core once, each in its own environment below `.venv-ansible/`."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".venv-ansible"

PYTHONS = {
    "2.17": ("3.10", "3.11", "3.12"),
    "2.18": ("3.11", "3.12", "3.13"),
    "2.19": ("3.11", "3.12", "3.13"),
    "2.20": ("3.12", "3.13", "3.14"),
    "2.21": ("3.12", "3.13", "3.14"),
}
"""The Python versions that each supported line of ansible-core runs on, according to its own metadata."""


@dataclass(frozen=True)
class Ansible:
    """An installed ansible-core: its line, its playbook command, and the folder of Mitogen's strategies for it."""

    line: str
    executable: Path
    strategies: Path


def installed(line: str) -> Ansible:
    """Return an ansible-core of this line (`2.19`). If no Python that it supports is installed, skip the test."""
    if line == installed_line():
        return _found(line, Path(sys.prefix))
    CACHE.mkdir(exist_ok=True)
    folder = CACHE / line
    requirements = (f"ansible-core=={line}.*", "mitogen")
    with (CACHE / f"{line}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another test process could be installing the same version
        complete = folder / "complete"
        if not complete.exists() or complete.read_text() != str(requirements):
            _install(folder, _interpreter(line), requirements)
            complete.write_text(str(requirements))
    return _found(line, folder)


def installed_line() -> str:
    """Return the ansible-core line in the environment of these tests."""
    return ".".join(version("ansible-core").split(".")[:2])


def _interpreter(line: str) -> str:
    for python in PYTHONS[line]:
        found = subprocess.run([ROOT / "scripts" / "python-for", python], capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return found.stdout.strip()
    pytest.skip(f"ansible-core {line} needs Python {', '.join(PYTHONS[line])}, and none of them is installed")


def _install(folder: Path, python: str, requirements: tuple[str, ...]) -> None:
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        pytest.skip(f"uv is needed to install {requirements[0]}, and it is not on PATH")
    shutil.rmtree(folder, ignore_errors=True)
    _run([uv, "venv", "--quiet", "--no-project", "--python", python, str(folder)])
    target = str(folder / "bin" / "python")
    _run([uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", target, *requirements])


def _run(argv: list[str]) -> None:
    finished = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, f"{argv}: {finished.stderr}"


def _found(line: str, environment: Path) -> Ansible:
    [strategies] = environment.glob("lib/python*/site-packages/ansible_mitogen/plugins/strategy")
    return Ansible(line, environment / "bin" / "ansible-playbook", strategies)
