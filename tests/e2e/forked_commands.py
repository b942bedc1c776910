"""Run `fastdeploy` commands in forks of a process that has already loaded the modules.

A command spends most of its processor time on loading modules, and every test that runs a command would repeat this.
The command itself runs as usual: in its own process, folder, and environment, with its own standard streams.

`python -m tests.e2e.forked_commands FD` is the process that forks. It exits when its parent closes the socket FD.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FASTDEPLOY = str(Path(sys.executable).with_name("fastdeploy"))
# Modules that read these variables when they are loaded have already read them.
_READ_ON_LOADING = ("PYTHON", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TERMINAL_WIDTH", "TYPER_")
_MESSAGE_SIZE = 1 << 20
_MODULES = [
    "deploy.__main__",
    "deploy.adapters.migrations.upgrading",
    "deploy.entrypoints.cli.client.commands",
    "deploy.entrypoints.cli.client.feed",
    "deploy.entrypoints.cli.client.live_socket",
    "deploy.entrypoints.cli.client.watching",
    "deploy.entrypoints.cli.main",
    "deploy.entrypoints.fastapi_app",
    "deploy.entrypoints.serve.foreground",
    "deploy.entrypoints.serve.server",
    "deploy.entrypoints.serve.startup",
    "deploy.service_layer.services",
    "deploy.service_layer.tokens",
    "deploy.entrypoints.serve.worker",
    "httpx2",
    "rich.progress",
    "rich.table",
    "typer.rich_utils",
]

Finished = subprocess.CompletedProcess[str]


def run_command(
    arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], stdin: str, timeout: float
) -> Finished:
    """Run `fastdeploy` with these arguments and wait until it exits."""
    changed = {name for name, _ in set(environment.items()) ^ set(os.environ.items())}
    is_measured = any(name.startswith("COVERAGE_") for name in os.environ)
    if is_measured or any(name.startswith(_READ_ON_LOADING) for name in changed):
        return subprocess.run(
            [FASTDEPLOY, *arguments],
            cwd=folder,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    return _forker().run(arguments, folder, environment, stdin, timeout)


@functools.cache
def _forker() -> _Forker:
    return _Forker()


class _Forker:
    """The process that forks. It is started for the first command of a test process."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._busy = threading.Lock()
        with theirs:
            command = [sys.executable, "-m", "tests.e2e.forked_commands", str(theirs.fileno())]
            self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])

    def run(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], stdin: str, timeout: float
    ) -> Finished:
        with (
            self._busy,
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as errors,
        ):
            given.write(stdin.encode())
            given.seek(0)
            request = json.dumps([list(arguments), str(folder), dict(environment)]).encode()
            socket.send_fds(self._socket, [request], [given.fileno(), out.fileno(), errors.fileno()])
            self._socket.settimeout(timeout)
            code = int(self._socket.recv(_MESSAGE_SIZE))
            out.seek(0)
            errors.seek(0)
            return Finished([FASTDEPLOY, *arguments], code, out.read().decode(), errors.read().decode())


def main() -> None:
    """Load the modules, and run a command in a fork for each request."""
    for name in _MODULES:
        importlib.import_module(name)
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        while True:
            request, streams, _, _ = socket.recv_fds(requests, _MESSAGE_SIZE, 3)
            if not request:
                return
            child = os.fork()
            if not child:
                break
            for stream in streams:
                os.close(stream)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            requests.send(str(code).encode())
    _run(*json.loads(request), streams=streams)


def _run(arguments: list[str], folder: str, environment: dict[str, str], *, streams: list[int]) -> None:
    """Become the command."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [FASTDEPLOY, *arguments]
    # Otherwise, the usage text would name this module instead of the command.
    sys.modules["__main__"].__package__ = ""
    importlib.import_module("deploy.__main__").main()


if __name__ == "__main__":
    main()
