"""Start and observe real supervisors with real scripts, for tests, and leave no processes behind."""

import asyncio
import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from deploy.adapters.runs.directory import Record, RunDirectory, RunSpec
from deploy.adapters.runs.fork_server import ForkServer
from deploy.adapters.runs.start import DeployUser
from deploy.domain.masking import Mask
from deploy.service_layer.ingest.entries import sentence

# Seconds. Much longer than any condition takes. A test that reaches this timeout has failed.
TIMEOUT = 60.0
PYTHON = os.path.realpath(sys.executable)
ROOT = Path(__file__).resolve().parents[2]
MARK = "FASTDEPLOY_TEST"
Result = TypeVar("Result")


def python_of(version: str) -> str | None:
    """Return the Python of that version, or None if it is not installed."""
    if sys.version.startswith(version + "."):
        return PYTHON
    found = subprocess.run([ROOT / "scripts" / "python-for", version], capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for a condition. Fail after TIMEOUT."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.005)


def state_of(pid: int) -> str:
    """Return a process's state letter, or an empty string if it is gone.

    Orphans can stay unreaped here, so Z and X count as dead.
    """
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def running(pid: int) -> bool:
    return state_of(pid) not in {"", "Z", "X"}


def parent_of(pid: int) -> int:
    """Return the parent of a process, or 0 if the process is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def processes_with(value: str) -> list[int]:
    """Return the processes whose environment contains that value."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if value.encode() in Path(f"/proc/{entry}/environ").read_bytes():
                    found.append(int(entry))
    return found


class Forked:
    """A supervisor that is not our child, with the parts of `Popen` that tests need."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self._descriptor: int | None = os.pidfd_open(pid)
        except ProcessLookupError:
            self._descriptor = None

    def poll(self) -> int | None:
        return 0 if self._ended(0) else None

    def wait(self, timeout: float) -> None:
        assert self._ended(timeout), f"process {self.pid} has not exited"

    def send_signal(self, number: int) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def _ended(self, seconds: float) -> bool:
        if self._descriptor is not None and select.select([self._descriptor], [], [], seconds)[0]:
            os.close(self._descriptor)
            self._descriptor = None
        return self._descriptor is None


class ForkServers:
    """Fork servers, one per user, on an event loop in their own thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._kept: dict[str, tuple[ForkServer, asyncio.Task[None]]] = {}

    def call(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT)

    def keep(self, user: DeployUser | None = None) -> ForkServer:
        """Return that user's fork server once it is ready."""
        name = user.name if user else ""
        if name not in self._kept:
            self._kept[name] = self.call(self._begin(ForkServer(user)))
        server, _ = self._kept[name]
        wait_until(lambda: server.pid is not None)
        return server

    def start(self, directory: RunDirectory, spec: RunSpec, user: DeployUser | None = None) -> Forked:
        server = self.keep(user)
        process = Forked(self.call(directory.start_by(server, spec)))
        assert parent_of(process.pid) in {server.pid, 0}
        return process

    def close(self) -> None:
        for server, task in self._kept.values():
            self.call(self._end(task))
            wait_until(lambda server=server: server.reap() == 0)  # type: ignore[misc]
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    @staticmethod
    async def _begin(server: ForkServer) -> tuple[ForkServer, "asyncio.Task[None]"]:
        return server, asyncio.create_task(server.run())

    @staticmethod
    async def _end(task: "asyncio.Task[None]") -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Run:
    """One started run."""

    def __init__(self, directory: RunDirectory, process: "subprocess.Popen[bytes] | Forked") -> None:
        self.directory = directory
        self.process = process

    def records(self) -> list[Record]:
        """Return the records that are available now.

        If a script prints faster than we read, do not wait for the rest.
        """
        records: list[Record] = []
        offset, size = 0, self.directory.spool.stat().st_size
        while offset < size:
            more, offset = self.directory.read(offset)
            if not more:
                break
            records += more
        return records

    def outcome(self) -> dict[str, Any]:
        """Return the data of the `exit` record once the supervisor is gone."""
        self.process.wait(TIMEOUT)
        last = self.records()[-1]
        assert last.kind == "exit"
        assert isinstance(last.data, dict)
        return {**last.data, "message": sentence(last.data["message"], Mask(()))}

    def kinds(self) -> list[str]:
        # Whether a line is open for long enough to be recorded depends on the machine.
        return [record.kind for record in self.records() if record.kind != "open"]

    def lines(self) -> list[str]:
        """Return the lines of output, joined from their parts."""
        lines: list[str] = []
        rest = ""
        for record in self.records():
            if record.kind == "part":
                rest += record.data
            elif record.kind in ("out", "log"):
                lines.append(rest + record.data)
                rest = ""
        return lines

    def notes(self) -> list[str]:
        return [sentence(record.data, Mask(())) for record in self.records() if record.kind == "note"]

    def wait_for(self, line: str) -> None:
        wait_until(lambda: line in self.lines())

    def cancel(self, reason: str = "Cancelled by a test.") -> None:
        assert self.directory.send({"cancel": reason})


class Runs:
    """Starts runs below a folder that every user can enter, and cleans up after them."""

    def __init__(self, fork_servers: ForkServers | None = None) -> None:
        self._fork_servers = fork_servers
        self.folder = Path(tempfile.mkdtemp(prefix="fastdeploy-test-"))
        self.folder.chmod(0o755)
        self.temporary = self.folder / "tmp"
        self.temporary.mkdir()
        self.temporary.chmod(0o1777)
        self.root = self.folder / "runs"
        self.mark = uuid.uuid4().hex
        self.started: list[Run] = []

    def script(self, text: str, name: str = "deploy.sh", *, interpreter: str = "/bin/sh", mode: int = 0o755) -> str:
        """Write an executable script and return its path."""
        path = self.folder / name
        path.write_text(f"#!{interpreter}\n{text}")
        path.chmod(mode)
        return str(path)

    def python(self, text: str) -> list[str]:
        """Return a command that runs `text` without the additions of a virtual environment."""
        path = self.folder / f"{uuid.uuid4().hex}.py"
        path.write_text(text)
        return [PYTHON, "-I", "-S", str(path)]

    def spec(self, argv: list[str], **changes: Any) -> RunSpec:
        settings: dict[str, Any] = {
            "argv": argv,
            "cwd": str(self.folder),
            "env": {},
            "files": {},
            "timeout": None,
            "grace": 0.3,
            "output_limit": 1 << 30,
            "line_limit": 1 << 20,
        } | changes
        common = {"PATH": "/usr/bin:/bin", "TMPDIR": str(self.temporary), MARK: self.mark}
        return RunSpec(**settings | {"env": common | settings["env"]})

    def start(self, argv: list[str], *, user: DeployUser | None = None, **changes: Any) -> Run:
        directory = RunDirectory.create(self.root, len(self.started) + 1)
        spec = self.spec(argv, **changes)
        servers = self._fork_servers
        run = Run(directory, servers.start(directory, spec, user) if servers else directory.start(spec, user=user))
        self.started.append(run)
        return run

    def sh(self, text: str, **changes: Any) -> Run:
        """Run some lines of shell script."""
        return self.start(["/bin/sh", "-c", text], **changes)

    def close(self) -> None:
        for run in self.started:
            if run.process.poll() is None:
                run.process.kill()
            run.process.wait(TIMEOUT)
        for pid in processes_with(self.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder)


@contextlib.contextmanager
def fork_servers() -> Iterator[ForkServers]:
    servers = ForkServers()
    try:
        yield servers
    finally:
        servers.close()


@contextlib.contextmanager
def supervised_runs(way: str = "directly") -> Iterator[Runs]:
    """Yield runs that are started `directly`, or `forked` by a fork server."""
    with contextlib.ExitStack() as stack:
        runs = Runs(stack.enter_context(fork_servers()) if way == "forked" else None)
        stack.callback(runs.close)
        yield runs
