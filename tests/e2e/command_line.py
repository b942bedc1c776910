"""The `fastdeploy` command as a user runs it: with a config folder of its own, through a pipe or on a terminal."""

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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

from deploy.entrypoints.cli.client.logins import Login, Logins
from tests.e2e.server import FASTDEPLOY, PASSWORD, USER, Server, clean_environment
from tests.e2e.waiting import PATIENCE, wait_until

Finished = subprocess.CompletedProcess[str]
# What moves the cursor and sets colors; the text in between is what somebody sees.
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\r")


class CommandLine:
    """Runs `fastdeploy` for one user of one machine: `folder` holds his config and is where he is."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.environment = clean_environment(
            XDG_CONFIG_HOME=str(folder / "config"), HOME=str(folder), TERM="xterm-256color", LANG="C.UTF-8"
        )
        for name in ("FASTDEPLOY_URL", "FASTDEPLOY_TOKEN", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
            self.environment.pop(name, None)

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> Finished:
        """Run a command to its end."""
        return subprocess.run(
            [FASTDEPLOY, *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

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
        """Start a command; its output goes into files."""
        running = Running(self, [FASTDEPLOY, *arguments], {**self.environment, **environment})
        try:
            yield running
        finally:
            running.process.kill()
            running.process.wait()

    @contextmanager
    def terminal(self, *arguments: str, columns: int = 80, **environment: str) -> Iterator["Terminal"]:
        """Start a command on a terminal of its own."""
        terminal = Terminal([FASTDEPLOY, *arguments], self.folder, {**self.environment, **environment}, columns)
        try:
            yield terminal
        finally:
            terminal.close()


class Running:
    """A command that runs; what it has printed so far."""

    def __init__(self, owner: CommandLine, command: list[str], environment: Mapping[str, str]) -> None:
        self._stdout, self._stderr = owner.folder / "stdout", owner.folder / "stderr"
        with self._stdout.open("wb") as out, self._stderr.open("wb") as errors:
            self.process = subprocess.Popen(
                command, cwd=owner.folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=errors
            )

    @property
    def stdout(self) -> str:
        """What it has printed."""
        return self._stdout.read_text()

    @property
    def stderr(self) -> str:
        """What it has said besides."""
        return self._stderr.read_text()

    def wait_for(self, text: str) -> None:
        """Wait until it has printed this."""
        wait_until(lambda: text in self.stdout or self.process.poll() is not None, f"{text!r} being printed")
        assert text in self.stdout, f"it has ended: {self.stdout}\n{self.stderr}"

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """Return its exit code."""
        return self.process.wait(PATIENCE)


class Terminal:
    """A command on a pseudo terminal: everything it has drawn."""

    def __init__(self, command: list[str], folder: Path, environment: Mapping[str, str], columns: int) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen(
            ["setsid", "--ctty", "--wait", *command],
            cwd=folder,
            env=dict(environment),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.drawn = ""

    @property
    def text(self) -> str:
        """What it has drawn, without what moves the cursor."""
        return _CONTROL.sub("", self.drawn)

    def wait_for(self, text: str) -> None:
        """Wait until it has drawn this."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.text:
            assert self._read(), f"it has ended without {text!r}:\n{self.text}"
            assert time.monotonic() < deadline, f"{text!r} has not come:\n{self.text}"

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def type_hidden(self, keys: str) -> None:
        """Press keys once nothing is shown of them: what was typed before is thrown away."""
        wait_until(lambda: not termios.tcgetattr(self._ours)[3] & termios.ECHO, "what is typed being hidden")
        self.type(keys)

    def wait(self) -> int:
        """Return its exit code, once everything it has drawn has been read."""
        deadline = time.monotonic() + PATIENCE
        while self._read():
            assert time.monotonic() < deadline, f"it does not end:\n{self.text}"
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def _read(self) -> bool:
        """Read what has come, after a moment at most; return whether more may come."""
        if not select.select([self._ours], [], [], 0.2)[0]:
            return True
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # how Linux tells the end of a terminal
            return False
        self.drawn += data.decode("utf-8", "replace")
        return bool(data)


def line_of(text: str, beginning: str) -> str:
    """Return the one line that begins so."""
    (found,) = [line for line in text.splitlines() if line.startswith(beginning)]
    return found


def command_line(server: Server, folder: Path) -> CommandLine:
    """Return the command line of a user who has signed in at this server.

    Stores a session as `fastdeploy login` does, without starting a process for it: most tests are about other commands.
    """
    made = CommandLine(folder, server.base_url)
    answer = server.api.anonymous.post("/session", json={"username": USER, "password": PASSWORD})
    (session,) = SimpleCookie(answer.raise_for_status().headers["set-cookie"]).values()
    Logins(made.folder / "config" / "fastdeploy" / "logins.json").keep(Login(made.url, USER, session.value))
    return made
