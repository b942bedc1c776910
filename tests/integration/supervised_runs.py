"""Real supervisors with real scripts, for tests: start, look, and leave no process behind."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deploy.adapters.launching import DeployUser
from deploy.adapters.spool import Record, RunDirectory, RunSpec

# Much longer than anything takes: a test that meets it has failed.
PATIENCE = 60.0
PYTHON = os.path.realpath(sys.executable)
ROOT = Path(__file__).resolve().parents[2]
MARK = "FASTDEPLOY_TEST"


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for a condition, however long the machine takes."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "the condition has not come true"
        time.sleep(0.005)


def state_of(pid: int) -> str:
    """The state letter of a process; empty when it is gone. Nobody may reap orphans here: Z and X are dead."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def running(pid: int) -> bool:
    return state_of(pid) not in {"", "Z", "X"}


def processes_with(value: str) -> list[int]:
    """The processes whose environment has that value."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if value.encode() in Path(f"/proc/{entry}/environ").read_bytes():
                    found.append(int(entry))
    return found


class Run:
    """One started run."""

    def __init__(self, directory: RunDirectory, process: "subprocess.Popen[bytes]") -> None:
        self.directory = directory
        self.process = process

    def records(self) -> list[Record]:
        records: list[Record] = []
        offset = 0
        while True:
            more, offset = self.directory.read(offset)
            if not more:
                return records
            records += more

    def outcome(self) -> dict[str, Any]:
        """What the `exit` record says, once the supervisor is gone."""
        self.process.wait(PATIENCE)
        last = self.records()[-1]
        assert last.kind == "exit"
        assert isinstance(last.data, dict)
        return last.data

    def kinds(self) -> list[str]:
        return [record.kind for record in self.records()]

    def lines(self) -> list[str]:
        """The lines of output, put together again from their pieces."""
        lines: list[str] = []
        rest = ""
        for record in self.records():
            if record.kind == "part":
                rest += record.data
            elif record.kind == "out":
                lines.append(rest + record.data)
                rest = ""
        return lines

    def notes(self) -> list[str]:
        return [record.data for record in self.records() if record.kind == "note"]

    def wait_for(self, line: str) -> None:
        wait_until(lambda: line in self.lines())

    def cancel(self, reason: str = "Cancelled by a test.") -> None:
        assert self.directory.send({"cancel": reason})


class Runs:
    """Starts runs below a folder of its own, which every user may enter, and cleans up after them."""

    def __init__(self) -> None:
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
        """A command that runs `text`, without what a virtual environment would add."""
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
        run = Run(directory, directory.start(self.spec(argv, **changes), user=user))
        self.started.append(run)
        return run

    def sh(self, text: str, **changes: Any) -> Run:
        """Run some lines of shell."""
        return self.start(["/bin/sh", "-c", text], **changes)

    def close(self) -> None:
        for run in self.started:
            if run.process.poll() is None:
                run.process.kill()
            run.process.wait(PATIENCE)
        for pid in processes_with(self.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder)


@contextlib.contextmanager
def supervised_runs() -> Iterator[Runs]:
    runs = Runs()
    try:
        yield runs
    finally:
        runs.close()
