"""Run a real server as a separate process, with the bundled PostgreSQL, on its own folders.

`python -m tests.e2e.server [--port P]` runs a throwaway server with the example services until its parent exits.
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2

from deploy.config import Settings
from tests.data_folders import copy_data_folder, quick_root
from tests.e2e.api import Api
from tests.e2e.folders import Puppet, puppet, write_service
from tests.e2e.forked_commands import Command, run_command, start_command
from tests.e2e.waiting import TIMEOUT, wait_until

ROOT = Path(__file__).resolve().parents[2]
USER = "admin"
PASSWORD = "correct horse battery staple"
# Below the range that the kernel assigns to clients. Otherwise, a client could take our port between two starts.
PORTS = range(20_000, 32_000)
SHOWN = 20_000


def free_port() -> int:
    """Return an unused port of the loopback interface."""
    while True:
        port = PORTS[secrets.randbelow(len(PORTS))]
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) != 0:
                return port


class Server:
    """`fastdeploy serve` on the folders below `folder`.

    `options` are passed to `fastdeploy serve`, and `settings` to its environment. `through` is a command that starts
    the server and then becomes it. The administrator is USER with PASSWORD. If the server was started from the main
    thread, it ends when this process ends, no matter how. Its database is a copy of the session's template, unless it
    must start `blank`, as on a new machine. It is a fork of a process that has loaded its modules, unless `forked` is
    False, because the test inspects its memory, arguments, or environment.
    """

    def __init__(
        self,
        folder: Path,
        *,
        options: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        port: int | None = None,
        through: Sequence[str] = (),
        blank: bool = False,
        forked: bool = True,
    ) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.services_dir = folder / "services"
        self.log_file = folder / "server.log"
        self.options = list(options)
        self.through = list(through)
        # A copy would belong to the current user instead of the user that `through` changes to.
        self.blank = blank or bool(through)
        self.forked = forked
        self.port = port or free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.api = Api(self.base_url, USER, PASSWORD)
        self.process: Command | None = None
        self._services = 0
        self.services_dir.mkdir(parents=True, exist_ok=True)
        self.environment = clean_environment(
            DATA_DIR=str(self.data_dir),
            SERVICES_ROOT=str(self.services_dir),
            INITIAL_USER_NAME=USER,
            INITIAL_USER_PASSWORD=PASSWORD,
            # The folder where a server records its data folder for commands. Do not use the home folder of the user
            # running the tests.
            XDG_STATE_HOME=str(folder / "state"),
            **(settings or {}),
        )

    def __enter__(self) -> "Server":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self.api.close()

    @property
    def pid(self) -> int:
        """The process ID of the server."""
        assert self.process is not None, "the server has not been started"
        return self.process.pid

    def start(self, *, wait: bool = True) -> None:
        """Start the server and wait until it is ready."""
        self.prepare()
        arguments = ["serve", "--port", str(self.port), *self.options]
        with self.log_file.open("ab") as log, open(os.devnull) as nothing:
            self.process = start_command(
                arguments,
                folder=self.folder,
                environment=self.environment,
                streams=(nothing.fileno(), log.fileno(), log.fileno()),
                through=self.through,
                forked=self.forked,
            )
        if wait:
            self.wait_until_ready()

    def prepare(self) -> None:
        """Copy the session's template to a new data folder. Starting a server also does this."""
        has_own_database = "DATABASE_URL" not in self.environment
        is_named = str(self.data_dir) in (self.environment.get("DATA_DIR"), *self.options)
        if has_own_database and is_named and not self.data_dir.exists() and not self.blank:
            copy_data_folder(self.data_dir)

    def wait_until_ready(self) -> None:
        """Wait until the server serves requests."""
        wait_until(self.is_ready, "the server to be ready")

    def is_ready(self) -> bool:
        """Return True if the server serves requests."""
        assert self.process is not None
        assert self.process.poll() is None, f"the server has exited ({self.process.poll()}):\n{self.log()}"
        try:
            return self.api.anonymous.get("/health/ready").status_code == 200
        except httpx2.TransportError:
            return False

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Stop it the way an operator does. Return its exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(by)
        try:
            return self.process.wait(TIMEOUT)
        finally:
            self.process.kill()
            self.process.wait()

    def kill(self) -> None:
        """Kill it without giving it a chance to clean up."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        """Return the end of its log."""
        return self.log_file.read_text(errors="replace")[-SHOWN:] if self.log_file.exists() else ""

    def cli(self, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run `fastdeploy …` with the same folders and settings."""
        return run_command(arguments, folder=self.folder, environment=self.environment, stdin=stdin, timeout=TIMEOUT)

    def new_name(self, prefix: str = "service") -> str:
        """Return an unused service name."""
        self._services += 1
        return f"{prefix}-{self._services}"

    def add_service(
        self,
        script: str | None = None,
        *,
        files: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> str:
        """Write a service folder, sync it, and return the service's name."""
        name = name or self.new_name()
        write_service(self.services_dir, name, script=script, files=files, config=config)
        synced = self.api.sync()
        assert name not in [problem["folder"] for problem in synced["problems"]], synced["problems"]
        return name

    @contextmanager
    def puppet(self, config: Mapping[str, Any] | None = None) -> Iterator[tuple[str, Puppet]]:
        """Add a service whose script the test controls. Yield its name and its puppet."""
        name = self.new_name("puppet")
        with puppet(self.services_dir, name, config) as strings:
            self.api.sync()
            yield name, strings


def clean_environment(**settings: str) -> dict[str, str]:
    """Return the current environment with these settings instead of its own fastDeploy settings."""
    known = {name.upper() for name in Settings.model_fields} | {"SSH_AUTH_SOCK"}
    return {name: value for name, value in os.environ.items() if name not in known} | settings


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder that every user can enter.

    When root runs the tests, the bundled PostgreSQL runs as another user.
    """
    folder = Path(tempfile.mkdtemp(prefix="fastdeploy-e2e-", dir=quick_root()))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a throwaway server with the example services.

    Print its address and credentials as JSON on the first line.
    """
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, default=None)
    parser.add_argument("--services-dir", type=Path, default=ROOT / "services", help="copied, not touched")
    parser.add_argument("options", nargs="*", help="for `fastdeploy serve`")
    given = parser.parse_args(arguments)
    for by in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(by, lambda *_: sys.exit(0))
    with temporary_folder() as folder:
        shutil.copytree(given.services_dir, folder / "services")
        with Server(folder, options=given.options, port=given.port) as server:
            credentials = {"base_url": server.base_url, "username": USER, "password": PASSWORD, "folder": str(folder)}
            print(json.dumps(credentials), flush=True)  # noqa: T201
            parent = os.getppid()
            while os.getppid() == parent and server.process is not None and server.process.poll() is None:
                signal.sigtimedwait([signal.SIGCHLD], 0.5)
            sys.stderr.write(server.log())
    return 0


if __name__ == "__main__":
    sys.exit(main())
