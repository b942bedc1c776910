"""Run the `fastdeploy` command the way users do: with its own config folder, through a pipe or on a terminal."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.entrypoints.cli.client.credentials import COOKIE
from deploy.entrypoints.cli.client.logins import Login, Logins
from tests.e2e.forked_commands import run_command, start_command
from tests.e2e.server import PASSWORD, USER, Server, clean_environment
from tests.e2e.waiting import TIMEOUT, wait_until

Finished = subprocess.CompletedProcess[str]
# Control sequences for the cursor and colors.
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\r")


class CommandLine:
    """Runs `fastdeploy` as one user. `folder` is their home and working directory."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.environment = clean_environment(
            XDG_CONFIG_HOME=str(folder / "config"), HOME=str(folder), TERM="xterm-256color", LANG="C.UTF-8"
        )
        # PYTHONUNBUFFERED would hide output that is not flushed.
        names = (
            "FASTDEPLOY_URL",
            "FASTDEPLOY_TOKEN",
            "NO_COLOR",
            "FORCE_COLOR",
            "COLUMNS",
            "LINES",
            "PYTHONUNBUFFERED",
        )
        for name in names:
            self.environment.pop(name, None)

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> Finished:
        """Run a command and wait until it exits."""
        variables = {**self.environment, **environment}
        return run_command(arguments, folder=self.folder, environment=variables, stdin=stdin, timeout=TIMEOUT)

    def json(self, *arguments: str, **environment: str) -> Any:
        """Run a command that succeeds, and return the JSON that it prints."""
        finished = self.run(*arguments, "--json", **environment)
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout)

    def login(self) -> None:
        """Sign in as the administrator."""
        finished = self.run("login", self.url, "--username", USER, "--password-stdin", stdin=f"{PASSWORD}\n")
        assert finished.returncode == 0, finished.stderr

    @contextmanager
    def start(self, *arguments: str, **environment: str) -> Iterator["Running"]:
        """Start a command with its output in files."""
        running = Running(self, arguments, {**self.environment, **environment})
        try:
            yield running
        finally:
            running.process.kill()
            running.process.wait()

    @contextmanager
    def terminal(self, *arguments: str, columns: int = 80, **environment: str) -> Iterator["Terminal"]:
        """Start a command on its own terminal."""
        terminal = Terminal(arguments, self.folder, {**self.environment, **environment}, columns)
        try:
            yield terminal
        finally:
            terminal.close()


class Running:
    """A running command and its output so far."""

    def __init__(self, owner: CommandLine, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._stdout, self._stderr = owner.folder / "stdout", owner.folder / "stderr"
        with self._stdout.open("wb") as out, self._stderr.open("wb") as errors, open(os.devnull) as nothing:
            streams = (nothing.fileno(), out.fileno(), errors.fileno())
            self.process = start_command(arguments, folder=owner.folder, environment=environment, streams=streams)

    @property
    def stdout(self) -> str:
        """Return its standard output so far."""
        return self._stdout.read_text()

    @property
    def stderr(self) -> str:
        """Return its standard error so far."""
        return self._stderr.read_text()

    def wait_for(self, text: str) -> None:
        """Wait until it has printed this text."""
        wait_until(lambda: text in self.stdout or self.process.poll() is not None, f"{text!r} to be printed")
        assert text in self.stdout, f"it has exited: {self.stdout}\n{self.stderr}"

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """Return its exit code."""
        return self.process.wait(TIMEOUT)


class Terminal:
    """A command on a pseudo terminal, and everything that it has drawn."""

    def __init__(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], columns: int) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = start_command(
            arguments, folder=folder, environment=environment, streams=(theirs, theirs, theirs), terminal=True
        )
        os.close(theirs)
        self.drawn = ""

    @property
    def text(self) -> str:
        """Return the text that it has drawn, without control sequences."""
        return _CONTROL.sub("", self.drawn)

    def wait_for(self, text: str) -> None:
        """Wait until it has drawn this text."""
        deadline = time.monotonic() + TIMEOUT
        while text not in self.text:
            assert self._read(), f"it exited without {text!r}:\n{self.text}"
            assert time.monotonic() < deadline, f"{text!r} did not appear:\n{self.text}"

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def type_hidden(self, keys: str) -> None:
        """Press keys once the terminal hides them. Keys pressed earlier would be discarded."""
        wait_until(lambda: not termios.tcgetattr(self._ours)[3] & termios.ECHO, "input to be hidden")
        self.type(keys)

    def wait(self) -> int:
        """Read the remaining output and return the exit code."""
        deadline = time.monotonic() + TIMEOUT
        while self._read():
            assert time.monotonic() < deadline, f"it does not exit:\n{self.text}"
        return self.process.wait(TIMEOUT)

    def close(self) -> None:
        """Kill the command and close the terminal."""
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def _read(self) -> bool:
        """Read available output. Return False at the end of the output."""
        if not select.select([self._ours], [], [], 0.2)[0]:
            return True
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # Linux raises this at the end of a terminal
            return False
        self.drawn += data.decode("utf-8", "replace")
        return bool(data)


def line_of(text: str, beginning: str) -> str:
    """Return the only line that starts with this text."""
    (found,) = [line for line in text.splitlines() if line.startswith(beginning)]
    return found


def command_line(server: Server, folder: Path) -> CommandLine:
    """Return the command line of a user who is signed in to this server.

    Store the session without running `fastdeploy login`, which would be slower.
    """
    made = CommandLine(folder, server.base_url)
    answer = server.api.anonymous.post("/session", json={"username": USER, "password": PASSWORD})
    session = answer.raise_for_status().cookies[COOKIE]
    Logins(made.folder / "config" / "fastdeploy" / "logins.json").keep(Login(made.url, USER, session))
    return made
