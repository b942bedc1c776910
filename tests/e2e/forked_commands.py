"""Run `fastdeploy` commands, servers, and workers in forks of a process that has already loaded the modules.

A command spends most of its processor time on loading modules, and every test that runs a command would repeat this.
The command itself runs as usual: in its own process, folder, and environment, with its own standard streams. Only
`/proc/PID/cmdline` and `/proc/PID/environ` are those of the process that forks.

`python -m tests.e2e.forked_commands FD` is the process that forks. It exits when its parent closes the socket FD, and
the commands then get SIGTERM.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import gc
import importlib
import io
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple, Protocol

from tests.data_folders import is_session

ROOT = Path(__file__).resolve().parents[2]
FASTDEPLOY = str(Path(sys.executable).with_name("fastdeploy"))
# Modules that read these variables when they are loaded have already read them.
_READ_ON_LOADING = ("PYTHON", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TERMINAL_WIDTH", "TYPER_", "TZ")
_MESSAGE_SIZE = 1 << 20
_REPORT_SIZE = 8
_PR_SET_PDEATHSIG = 1
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


class Command(Protocol):
    """A running command: what tests use of `subprocess.Popen`."""

    @property
    def pid(self) -> int:
        """Its process ID."""

    @property
    def returncode(self) -> int | None:
        """Its exit code, or None as long as `poll` and `wait` have not noticed its end."""

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code once it has exited. Raise `subprocess.TimeoutExpired` after `timeout` seconds."""

    def send_signal(self, sig: int) -> None:
        """Send a signal unless it has exited."""

    def terminate(self) -> None:
        """Ask it to exit."""

    def kill(self) -> None:
        """Kill it."""


def run_command(
    arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], stdin: str, timeout: float
) -> Finished:
    """Run `fastdeploy` with these arguments and wait until it exits."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        given.write(stdin.encode())
        given.seek(0)
        streams = (given.fileno(), out.fileno(), errors.fileno())
        command = start_command(arguments, folder=folder, environment=environment, streams=streams)
        try:
            code = command.wait(timeout)
        finally:
            command.kill()
            command.wait()
        out.seek(0)
        errors.seek(0)
        return Finished([FASTDEPLOY, *arguments], code, out.read().decode(), errors.read().decode())


def start_command(
    arguments: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    streams: tuple[int, int, int],
    terminal: bool = False,
    through: Sequence[str] = (),
    forked: bool = True,
) -> Command:
    """Start `fastdeploy` with these arguments and descriptors for its standard streams.

    With `terminal`, its standard input is a terminal, which becomes the controlling terminal of a new session.
    `through` is a command that becomes `fastdeploy`. Unless `forked`, and outside of test sessions, `fastdeploy` loads
    its modules itself, and `/proc` shows its own arguments and environment.
    """
    changed = {name for name, _ in set(environment.items()) ^ set(os.environ.items())}
    is_measured = any(name.startswith("COVERAGE_") for name in os.environ)
    if (
        forked
        and is_session()
        and not through
        and not is_measured
        and not any(name.startswith(_READ_ON_LOADING) for name in changed)
    ):
        return _forker().start(_Request(list(arguments), str(folder), dict(environment), terminal), streams)
    command = [*through, FASTDEPLOY, *arguments]
    if terminal:
        command = ["setsid", "--ctty", "--wait", *command]
    elif threading.current_thread() is threading.main_thread() and shutil.which("setpriv"):
        command = ["setpriv", "--pdeathsig", "TERM", "--", *command]
    stdin, stdout, stderr = streams
    return subprocess.Popen(command, cwd=folder, env=environment, stdin=stdin, stdout=stdout, stderr=stderr)


class _Request(NamedTuple):
    arguments: list[str]
    folder: str
    environment: dict[str, str]
    terminal: bool


@functools.cache
def _forker() -> _Forker:
    return _Forker()


class _Forker:
    """The process that forks. It is started for the first command of a test process."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "tests.e2e.forked_commands", str(theirs.fileno())]
            self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])

    def start(self, request: _Request, streams: tuple[int, int, int]) -> _ForkedCommand:
        reading, writing = os.pipe()
        try:
            socket.send_fds(self._socket, [json.dumps(request).encode()], [*streams, writing])
        finally:
            os.close(writing)
        return _ForkedCommand(request.arguments, open(reading, "rb", buffering=0))


class _ForkedCommand:
    """A command that another process forked. That process reports its process ID and then its exit code."""

    def __init__(self, arguments: list[str], reports: IO[bytes]) -> None:
        self.args = arguments
        self.returncode: int | None = None
        self._reports = reports
        self.pid = self._read()
        self._exited = threading.Lock()

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""
        with self._exited:
            if self.returncode is None and select.select([self._reports], [], [], 0)[0]:
                self.returncode = self._read()
                self._reports.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code once it has exited. Raise `subprocess.TimeoutExpired` after `timeout` seconds."""
        if self.returncode is None and not select.select([self._reports], [], [], timeout)[0]:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, sig: int) -> None:
        """Send a signal unless it has exited."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sig)

    def terminate(self) -> None:
        """Ask it to exit."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    def _read(self) -> int:
        report = self._reports.read(_REPORT_SIZE)
        assert len(report) == _REPORT_SIZE, f"the process that started {self.args} has been killed"
        return int.from_bytes(report, "big", signed=True)


def main() -> None:
    """Load the modules, and fork for each request."""
    for name in _MODULES:
        importlib.import_module(name)
    gc.freeze()  # so that collections in the children do not copy the pages with these objects
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        while True:
            request, descriptors, _, _ = socket.recv_fds(requests, _MESSAGE_SIZE, 4)
            if not request:
                return
            while _has_ended_child():
                pass
            if not os.fork():
                break
            for descriptor in descriptors:
                os.close(descriptor)
    *streams, reports = descriptors
    _fork_again(streams, reports)
    _run(_Request(*json.loads(request)), streams)


def _has_ended_child() -> bool:
    """Wait for a child that has exited, if there is one."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    return False


def _fork_again(streams: list[int], reports: int) -> None:
    """Continue in a child. Its parent only reports its process ID and then its exit code."""
    _die_with_parent()
    child = os.fork()
    if not child:
        os.close(reports)
        _die_with_parent()
        return
    for stream in streams:
        os.close(stream)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from the keyboard, for the whole process group
    os.write(reports, child.to_bytes(_REPORT_SIZE, "big", signed=True))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        os.write(reports, code.to_bytes(_REPORT_SIZE, "big", signed=True))
    os._exit(0)


def _die_with_parent() -> None:
    """Get SIGTERM when the parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _run(request: _Request, streams: list[int]) -> None:
    """Become the command."""
    if request.terminal:
        os.setsid()
        fcntl.ioctl(streams[0], termios.TIOCSCTTY, 0)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    if request.environment.get("PYTHONUNBUFFERED"):
        # As in a new process, every write reaches the file at once.
        unbuffered = io.FileIO(1, "wb", closefd=False)
        sys.stdout = io.TextIOWrapper(unbuffered, "utf-8", "surrogateescape", write_through=True)
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    sys.argv = [FASTDEPLOY, *request.arguments]
    # Otherwise, the usage text would name this module instead of the command.
    sys.modules["__main__"].__package__ = ""
    importlib.import_module("deploy.__main__").main()


if __name__ == "__main__":
    main()
