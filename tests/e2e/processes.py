"""Run parts of an installation as separate processes, and inspect processes through the kernel."""

import os
import signal
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from deploy.adapters.postgres import PostgresServer
from tests.data_folders import copy_data_folder
from tests.e2e.forked_commands import Command, start_command
from tests.e2e.server import Server, temporary_folder
from tests.e2e.waiting import TIMEOUT, wait_until

SECRET_KEY = "0123456789abcdef" * 4
# Tests only kill its processes, which the data survives. The data would not survive a power failure.
POSTGRES_SETTINGS = {"fsync": "off", "full_page_writes": "off"}


class Process(NamedTuple):
    """A process that was alive.

    Its start time (clock ticks since boot) distinguishes it from later processes with the same ID.
    """

    pid: int
    started: str

    def is_dead(self) -> bool:
        """Return True if it has ended. A zombie counts as ended."""
        return process(self.pid) != self

    def kill(self) -> None:
        """Kill it without giving it a chance to clean up."""
        if not self.is_dead():
            os.kill(self.pid, signal.SIGKILL)
        wait_until(self.is_dead, f"process {self.pid} to exit")


def process(pid: int) -> Process | None:
    """Return the live process with that ID, or None."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else Process(pid, fields[18])


def living(pid: int) -> Process:
    """Return the process with that ID, which must be alive."""
    found = process(pid)
    assert found is not None, f"process {pid} is not alive"
    return found


def parent(pid: int) -> int:
    """Return the ID of a process's parent."""
    return int(status(pid, "PPid"))


def children(pid: int) -> list[int]:
    """Return the IDs of a process's children. Some could have ended since then."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended since then
            found += map(int, (task / "children").read_text().split())
    return found


def arguments(pid: int) -> list[str]:
    """Return the command line of a process, or an empty result if the process is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


def peer_ports(pid: int) -> set[int]:
    """Return the ports at the other end of a process's IPv4 connections."""
    targets = set()
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            targets.add(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[2].partition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in targets}


def forget_peak_memory(pid: int) -> None:
    """Reset the value that `peak_memory` returns."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_memory(pid: int) -> float:
    """Return the peak resident memory of a process in MiB."""
    return int(status(pid, "VmHWM").removesuffix("kB")) / 1024


def status(pid: int, field: str) -> str:
    """Return a field of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{field}:"))


class Worker:
    """`fastdeploy worker` next to a server, on the server's data folder or on its own."""

    def __init__(
        self,
        server: Server,
        *,
        data_dir: Path | None = None,
        options: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir or server.data_dir
        self.log_file = server.folder / f"worker-{uuid.uuid4()}.log"
        self._arguments = ["worker", "--data-dir", str(self.data_dir), *options]
        self._environment = {**server.environment, "API_URL": server.base_url, **(settings or {})}
        self._process: Command | None = None

    def __enter__(self) -> "Worker":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()

    @property
    def pid(self) -> int:
        """The worker's process ID."""
        assert self._process is not None
        return self._process.pid

    @property
    def id(self) -> str:
        """The worker's ID in the list of workers. It belongs to the data folder."""
        return (self.data_dir / "worker-id").read_text().strip()

    def start(self) -> None:
        """Start the worker without waiting until it is ready."""
        with self.log_file.open("ab") as log, open(os.devnull) as nothing:
            self._process = start_command(
                self._arguments,
                folder=self.data_dir.parent,
                environment=self._environment,
                streams=(nothing.fileno(), log.fileno(), log.fileno()),
            )

    def stop(self) -> int:
        """Stop it the way an operator does. Return its exit code."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(TIMEOUT)
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill it without giving it a chance to clean up."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def log(self) -> str:
        """Return its log."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""


class Site:
    """PostgreSQL, a web server without a worker, and any number of workers. Each can be killed separately."""

    def __init__(self, folder: Path, postgres: PostgresServer) -> None:
        self.postgres = postgres
        settings = {"DATABASE_URL": postgres.url, "SECRET_KEY": SECRET_KEY}
        self.server = Server(folder, options=["--no-worker"], settings=settings)
        self.api = self.server.api

    def worker(self, name: str = "", *options: str, **settings: str) -> Worker:
        """Return a worker on the server's data folder, or on a folder called `name`, without starting it."""
        data_dir = self.server.folder / name if name else None
        return Worker(self.server, data_dir=data_dir, options=options, settings=settings)

    def kill_database(self) -> None:
        """Kill PostgreSQL without giving it a chance to clean up. It stays down until it is started."""
        os.kill(self.postgres.pid, signal.SIGKILL)
        wait_until(lambda: self.postgres.poll() is not None, "PostgreSQL to exit")

    def workers(self) -> dict[str, dict[str, Any]]:
        """Return all workers that have ever been seen, by ID."""
        return {worker["id"]: worker for worker in self.api.admin.get("/workers/").raise_for_status().json()}


@contextmanager
def external_postgres() -> Iterator[PostgresServer]:
    """Run a PostgreSQL for servers with DATABASE_URL, on a copy of the session's template."""
    with temporary_folder() as folder:
        copy_data_folder(folder / "postgres")
        with PostgresServer(folder / "postgres", settings=POSTGRES_SETTINGS) as postgres:
            yield postgres


@contextmanager
def running_site() -> Iterator[Site]:
    """Yield a site that is ready and does not have any workers yet."""
    with temporary_folder() as folder:
        copy_data_folder(folder / "postgres")
        with PostgresServer(folder / "postgres", settings=POSTGRES_SETTINGS) as postgres:
            site = Site(folder, postgres)
            with site.server:
                yield site
