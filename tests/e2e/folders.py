"""Service folders with scripts written on the spot."""

import json
import os
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.waiting import wait_until

# Reads its orders, a line each, from a pipe in its folder: `exit N`, or a line to print.
PUPPET = """
cat "$DEPLOY_CONFIG_FILE" > handed.part && mv handed.part handed.json
while read -r line; do
    case $line in
        "exit "*) exit "${line#exit }" ;;
        *) printf '%s\\n' "$line" ;;
    esac
done < orders
"""


def shell(body: str) -> str:
    """Return a shell script."""
    return f"#!/bin/sh\n{textwrap.dedent(body).strip()}\n"


def python(body: str) -> str:
    """Return a Python script, which may use the standard library."""
    return f"#!/usr/bin/env -S python3 -IS\n{textwrap.dedent(body).strip()}\n"


def say(name: str, state: str = "success", **more: Any) -> str:
    """Return a shell command that reports a step. (No single quotes in it, please.)"""
    return f"printf '%s\\n' '{report(name, state, **more)}'\n"


def report(name: str, state: str = "success", **more: Any) -> str:
    """Return the line that reports a step."""
    return json.dumps({"name": name, "state": state, **more})


def steps(*names: str) -> list[dict[str, str]]:
    """Return the `steps` of a config."""
    return [{"name": name} for name in names]


def write_service(
    root: Path,
    name: str,
    *,
    script: str | None = None,
    files: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | str | None = None,
) -> Path:
    """Write the folder of a service, over what was there; return it.

    `script` becomes `deploy.sh`; whatever begins with `#!` can be run. `config`: a text is written as it is.
    """
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    contents = dict(files or {})
    contents["config.json"] = config if isinstance(config, str) else json.dumps(dict(config or {}))
    if script is not None:
        contents["deploy.sh"] = script
    for file, text in contents.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if text.startswith("#!") else 0o644)
    return folder


class Puppet:
    """A running deploy script that does what it is told, when it is told."""

    def __init__(self, folder: Path) -> None:
        self._handed_over = folder / "handed.json"
        self._pipe = folder / "orders"
        os.mkfifo(self._pipe, 0o666)
        # Opened for reading, too: orders wait in the pipe, whether the script has come that far or not.
        self._orders = os.open(self._pipe, os.O_RDWR)

    def config(self) -> dict[str, Any]:
        """Return what the platform has handed over, once the script runs."""
        wait_until(self._handed_over.exists, "the script having started")
        return dict(json.loads(self._handed_over.read_text()))

    def print(self, *lines: str) -> None:
        """Let the script print lines."""
        for line in lines:
            os.write(self._orders, f"{line}\n".encode())

    def exit(self, code: int = 0) -> None:
        """Let the script end."""
        os.write(self._orders, f"exit {code}\n".encode())

    def close(self) -> None:
        """Let go; a script that still waits for orders gets none any more, and ends. So does one that comes later."""
        self._pipe.unlink()
        os.close(self._orders)


@contextmanager
def puppet(root: Path, name: str, config: Mapping[str, Any] | None = None) -> Iterator[Puppet]:
    """Write a service whose script is a puppet; it takes one deployment."""
    folder = write_service(root, name, script=shell(PUPPET), config=config)
    folder.chmod(0o777)  # for whoever is the deploy user
    strings = Puppet(folder)
    try:
        yield strings
    finally:
        strings.close()
