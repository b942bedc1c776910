"""Service folders with scripts written for a single test."""

import json
import os
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.waiting import wait_until

# Reads commands, one per line, from a pipe in its folder. A command is either `exit N` or a line to print.
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
    """Return a Python script, which can use the standard library."""
    return f"#!/usr/bin/env -S python3 -IS\n{textwrap.dedent(body).strip()}\n"


def say(name: str, state: str = "success", **more: Any) -> str:
    """Return a shell command that reports a step. The arguments must not contain single quotes."""
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
    """Write the folder of a service, replacing any existing one, and return it.

    `script` becomes `deploy.sh`. Files that begin with `#!` become executable. If `config` is a string, it is written
    as is.
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
    """A running deploy script that the test controls."""

    def __init__(self, folder: Path) -> None:
        self._received_config = folder / "handed.json"
        self._pipe = folder / "orders"
        os.mkfifo(self._pipe, 0o666)
        # Opened for reading as well, so that commands stay in the pipe until the script reads them.
        self._commands = os.open(self._pipe, os.O_RDWR)

    def config(self) -> dict[str, Any]:
        """Return the config that the platform passed to the script, once the script is running."""
        wait_until(self._received_config.exists, "the script to start")
        return dict(json.loads(self._received_config.read_text()))

    def print(self, *lines: str) -> None:
        """Make the script print lines."""
        for line in lines:
            os.write(self._commands, f"{line}\n".encode())

    def exit(self, code: int = 0) -> None:
        """Make the script exit."""
        os.write(self._commands, f"exit {code}\n".encode())

    def close(self) -> None:
        """Close the pipe. Scripts that wait for commands, now or later, then exit."""
        self._pipe.unlink()
        os.close(self._commands)


@contextmanager
def puppet(root: Path, name: str, config: Mapping[str, Any] | None = None) -> Iterator[Puppet]:
    """Write a service whose script is a puppet for one deployment."""
    folder = write_service(root, name, script=shell(PUPPET), config=config)
    folder.chmod(0o777)  # for any deploy user
    strings = Puppet(folder)
    try:
        yield strings
    finally:
        strings.close()
