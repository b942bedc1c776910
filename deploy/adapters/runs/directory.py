"""The worker's side of a run: its directory, its supervisor, and the records that the supervisor writes.

A run directory ``<root>/<deployment id>/`` (0700) contains `spool` (the records, and the lock that a live supervisor
holds), `control` and `wake` (FIFOs), and `follower` (the lock of the worker that ingests the output).
supervisor/__init__.py describes the protocol.
"""

import contextlib
import fcntl
import json
import os
import re
import select
import shutil
import socket
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from deploy.adapters.runs.fork_server import ForkServer
from deploy.adapters.runs.start import DeployUser, RunError, start_detached, supervisor_command

_LOCK_ATTEMPTS = 20
_TAIL = 128 * 1024  # larger than the longest `exit` record


class RunActive(RunError):
    """The run still has a live supervisor."""


class RunAlreadyStarted(RunError):
    """The run already started, or failed to start. A run only starts once."""


class SpoolCorrupt(RunError):
    """A complete line of the spool is not a valid record."""


class Record(NamedTuple):
    """One line of the spool.

    `number` counts from 1, `at` is seconds since the epoch, and the type of `data` depends on `kind`. This is a named
    tuple because a flood of output creates a million of them, and it is four times as fast as a frozen dataclass.
    """

    number: int
    at: float
    kind: str
    data: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """What a supervisor runs.

    `env` is the complete environment. `files` are written to a folder that only the deploy user can read and that is
    removed afterward (below TMPDIR if `env` sets it). ``%RUN_DIR%`` in `argv` and `env` is replaced with that folder's
    path. `timeout`, and `grace` between the signals, are in seconds. The limits are in bytes: `output_limit` applies
    to the stored output and `line_limit` to the text of one record. `interrupt` sends SIGINT first. `events` opens a
    pipe for JSON lines and sets ``FASTDEPLOY_EVENTS_FD`` to its descriptor number.
    """

    argv: list[str]
    cwd: str
    env: dict[str, str]
    files: dict[str, str]
    timeout: float | None
    grace: float = 5.0
    interrupt: bool = False
    events: bool = False
    output_limit: int
    line_limit: int

    def to_json(self) -> str:
        """Return the settings as one line of JSON for the supervisor."""
        return json.dumps(asdict(self), separators=(",", ":"))


class RunDirectory:
    """The directory of one run. Several processes can call its methods, which never wait for the run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spool = path / "spool"
        self.control = path / "control"
        self.wake = path / "wake"

    @classmethod
    def create(cls, root: Path, deployment_id: int) -> "RunDirectory":
        """Return the run's directory. Create it, or any missing parts of it."""
        run = cls.at(root, deployment_id)
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        run.path.mkdir(mode=0o700, exist_ok=True)
        for fifo in (run.control, run.wake):
            with contextlib.suppress(FileExistsError):
                os.mkfifo(fifo, 0o600)
        # Create this one last, because `exists` checks for it.
        os.close(os.open(run.spool, os.O_WRONLY | os.O_CREAT, 0o600))
        return run

    @classmethod
    def at(cls, root: Path, deployment_id: int) -> "RunDirectory":
        """Return the run's directory, which might not exist."""
        return cls(root / str(deployment_id))

    @staticmethod
    def ids(root: Path) -> list[int]:
        """Return the IDs of the deployments that have a directory below `root`, in ascending order."""
        try:
            names = os.listdir(root)
        except FileNotFoundError:
            return []
        return sorted(int(name) for name in names if name.isascii() and name.isdigit())

    def exists(self) -> bool:
        """Return True if the directory exists and is complete."""
        return self.spool.exists()

    def start(self, spec: RunSpec, *, user: DeployUser | None, python: str | None = None) -> "subprocess.Popen[bytes]":
        """Start a detached supervisor as `user` (None: our own user), with `python` (None: chosen automatically).

        The caller must reap the process.

        Raises:
            RunActive: The run has a live supervisor.
            RunAlreadyStarted: The run already started.
            NoInterpreter: The user cannot run any Python.
            OSError: The system refused to start the process.
        """
        command = supervisor_command(user, python=python)
        with contextlib.ExitStack() as opened:
            spool, control, wake = self._open_ends(opened, spec)
            return start_detached(command, user, stdin=control, stdout=spool, stderr=wake)

    async def start_by(self, fork_server: ForkServer, spec: RunSpec) -> int:
        """Start a supervisor through the fork server, or directly. Return the supervisor's process ID.

        Raise the same errors as `start`. If this is canceled, the run has either started completely or not at all.
        """
        with contextlib.ExitStack() as opened:
            spool, control, wake = self._open_ends(opened, spec)
            pid = await fork_server.fork(control, spool, wake)
            if pid is None:
                # Copies of this descriptor could still be queued for a stopped fork server. They can no longer start
                # anything, but they would hold the lock.
                fcntl.flock(spool, fcntl.LOCK_UN)
                pid = fork_server.start_directly(control, self._lock_spool(opened), wake)
            return pid

    def read(self, offset: int, *, limit: int = 1 << 20) -> tuple[list[Record], int]:
        """Return the records from byte `offset` on, about `limit` bytes, and the offset of the next record.

        Read a record that is longer than `limit` completely. Leave an incomplete record at the end for the next call.
        """
        with open(self.spool, "rb", buffering=0) as file:
            file.seek(offset)
            chunks = [file.read(limit)]
            while chunks[-1] and b"\n" not in chunks[-1]:
                chunks.append(file.read(limit))
        data = b"".join(chunks)
        end = data.rfind(b"\n") + 1
        return self._records(data[:end], offset), offset + end

    def started(self) -> bool:
        """Return True if the spool has a `start` or `exit` record, so the script has started or failed to start."""
        try:
            with open(self.spool, "rb") as file:
                return file.readline(1 << 16).endswith(b"\n")
        except FileNotFoundError:
            return False

    def start_record(self) -> Record | None:
        """Return the `start` record, or None if the script has not started."""
        try:
            with open(self.spool, "rb") as file:
                line = file.readline(1 << 16)
        except FileNotFoundError:
            return None
        if not line.endswith(b"\n"):
            return None
        (record,) = self._records(line, 0)
        return record if record.kind == "start" else None

    def alive(self) -> bool:
        """Return True if the run has a live supervisor, which holds the spool's lock."""
        try:
            spool = os.open(self.spool, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(spool, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(spool)
        return False

    def finished(self) -> bool:
        """Return True if the spool has its last record, `exit`.

        The supervisor can live for a few more milliseconds.
        """
        try:
            with open(self.spool, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
                last = file.read().splitlines()[-1:]
        except FileNotFoundError:
            return False
        return bool(last) and re.match(rb'\[\d+,[\d.]+,"exit",.*\]$', last[0]) is not None

    def send(self, command: dict[str, str]) -> bool:
        """Send a command to the supervisor. Return False if no supervisor is listening.

        Raises:
            ValueError: The command is longer than 4 KiB.
        """
        line = json.dumps(command).encode("ascii") + b"\n"
        if len(line) > select.PIPE_BUF:
            raise ValueError(f"a command of {len(line)} bytes cannot be written atomically")
        try:
            control = os.open(self.control, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return False
        try:
            return os.write(control, line) == len(line)
        except OSError:
            return False
        finally:
            os.close(control)

    def open_wake(self) -> int:
        """Return a non-blocking descriptor that becomes readable when the spool has grown."""
        return os.open(self.wake, os.O_RDWR | os.O_NONBLOCK)

    @staticmethod
    def drain_wake(wake: int) -> None:
        """Drain the descriptor from `open_wake`. Read the spool afterward, not before."""
        with contextlib.suppress(BlockingIOError):
            while len(os.read(wake, 65536)) == 65536:
                pass

    def follow_lock(self) -> int | None:
        """Return a descriptor that holds the follower lock until it is closed, or None if another process has it."""
        try:
            follower = os.open(self.path / "follower", os.O_WRONLY | os.O_CREAT, 0o600)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(follower, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(follower)
            return None
        return follower

    def remove(self) -> None:
        """Remove the directory of a finished run if it exists.

        Raises:
            RunActive: The run is still active.
        """
        if self.alive() and not self.finished():
            raise RunActive(f"The run in {self.path} is still running.")
        while self.path.exists():
            # Another process could be removing it.
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(self.path)

    def _open_ends(self, opened: contextlib.ExitStack, spec: RunSpec) -> tuple[int, int, int]:
        """Return the supervisor's ends of spool, control, and wake, with the settings queued for it."""
        spool = self._lock_spool(opened)
        control = _open(opened, self.control, os.O_RDWR | os.O_NONBLOCK)
        settings = spec.to_json().encode("ascii") + b"\n"
        if len(settings) <= select.PIPE_BUF:
            os.write(control, settings)
        else:
            control = _pack(opened, control, settings)
        return spool, control, _open(opened, self.wake, os.O_RDWR | os.O_NONBLOCK)

    def _lock_spool(self, opened: contextlib.ExitStack) -> int:
        """Return a descriptor of the spool that holds the lock the supervisor will inherit."""
        spool = _open(opened, self.spool, os.O_WRONLY | os.O_APPEND)
        for attempt in range(_LOCK_ATTEMPTS):
            try:
                fcntl.flock(spool, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # A caller of `alive` holds the lock for a few microseconds.
                if attempt + 1 == _LOCK_ATTEMPTS:
                    raise RunActive(f"The run in {self.path} already has a supervisor.") from None
                time.sleep(0.001)
        if self.started():
            raise RunAlreadyStarted(f"The run in {self.path} was already started.")
        os.ftruncate(spool, 0)
        return spool

    def _records(self, data: bytes, offset: int) -> list[Record]:
        """Return the records in `data`, which consists of whole lines and starts at byte `offset` of the spool."""
        try:
            items = json.loads(b"[" + data[:-1].replace(b"\n", b",") + b"]")
            return list(map(Record._make, items))
        except (ValueError, TypeError) as error:
            raise SpoolCorrupt(f"{self.spool} is corrupt between bytes {offset} and {offset + len(data)}.") from error


def _open(opened: contextlib.ExitStack, path: Path, flags: int) -> int:
    descriptor = os.open(path, flags)
    opened.callback(os.close, descriptor)
    return descriptor


def _pack(opened: contextlib.ExitStack, control: int, settings: bytes) -> int:
    """Return a socket that carries `control` and a file with settings that are too long for a FIFO.

    Both stay in the socket for the supervisor even if this process exits. The socket takes the place of `control`,
    because sudo closes all other descriptors.
    """
    file = os.memfd_create("settings of a run")
    opened.callback(os.close, file)
    with open(file, "wb", closefd=False) as written:
        written.write(settings)
    ours, theirs = socket.socketpair()
    opened.enter_context(theirs)
    with ours:
        socket.send_fds(ours, [b"!"], [control, file])
    return theirs.fileno()
