"""Run the reader and the checker as processes, and stop them when they exceed their limits."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from deploy.adapters.runs.start import DeployUser, RunError, not_started, start_detached, supervisor_command

log = logging.getLogger(__name__)

ANSWER_TIMEOUT = 30.0
END_TIMEOUT = 2.0
LINE_LIMIT = 64 << 20
STDERR_TAIL = 2_000  # bytes
# Signals that end a checker that exceeds a limit or crashes.
_SIGNALS = {
    signal.SIGXCPU: "checking it takes too much CPU time",
    signal.SIGKILL: "checking it takes too much memory",
    signal.SIGSEGV: "it crashes the process that checks it",
    signal.SIGABRT: "it crashes the process that checks it",
}
_CHECKER = "import sys; sys.path[:] = sys.argv.pop().split(':'); from deploy.adapters.service_folders import checker; sys.exit(checker.main())"


class FoldersUnavailable(Exception):
    """The services folder cannot be read at the moment. The text says why and what to do."""


@dataclass(frozen=True, slots=True)
class FolderScope:
    """The services root, and private paths of the server that must not be accessible through it."""

    root: Path
    private: tuple[Path, ...] = ()

    def limits(self) -> list[Any]:
        """Return the arguments of the first request to a reader."""
        root = os.path.realpath(self.root)
        return [root, os.path.dirname(root), [str(path) for path in self.private]]


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of checking a folder: the checker's answer, and each request to the reader with its answer's digest.

    If the checker was stopped, `answer` only contains `too_complicated`. `is_final` means that the same files always
    give this answer.
    """

    answer: dict[str, Any]
    used: list[list[Any]]
    is_final: bool = True


class LineSocket:
    """One end of a socket that carries lines of JSON."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._reader, self._writer = streams

    def send(self, value: Any) -> None:
        """Send one line."""
        self._writer.write(json.dumps(value).encode("ascii") + b"\n")

    async def receive(self) -> Any:
        """Return the next line, or None if the socket is closed.

        Raises:
            asyncio.TimeoutError: No line arrived in time.
        """
        try:
            line = await asyncio.wait_for(self._reader.readline(), ANSWER_TIMEOUT)
        except (ConnectionError, ValueError):
            return None
        return json.loads(line) if line.endswith(b"\n") else None

    async def ask(self, *request: Any) -> Any:
        """Send a request and return its answer, or None if the socket closes before an answer arrives."""
        self.send(request)
        with suppress(asyncio.TimeoutError):
            return await self.receive()
        return None

    def close(self) -> None:
        """Close the socket."""
        self._writer.close()


@asynccontextmanager
async def reader(scope: FolderScope, user: DeployUser | None) -> AsyncIterator[LineSocket]:
    """Start a reader as `user` (None: the server's own user) and stop it afterward.

    Raises:
        FoldersUnavailable: The reader cannot be started.
    """
    ours, theirs = socket.socketpair()
    with _stderr_file() as stderr:
        try:
            with theirs:
                process, command = _start_reader(user, theirs, stderr)
        except BaseException:
            ours.close()
            raise
        line = LineSocket(await asyncio.open_connection(sock=ours, limit=LINE_LIMIT))
        try:
            if await line.ask("limits", *scope.limits()) is None:
                raise FoldersUnavailable(
                    f"The services folder cannot be read: {not_started(command, _tail_of(stderr))}"
                )
            yield line
        finally:
            line.close()
            await _end(process)


class Checker:
    """A checker with its own reader.

    `is_gone` is True after the checker has been stopped. `is_worn` is True after it has read a folder that exceeded a
    limit: it may have little memory left, so it should not be used again.
    """

    def __init__(
        self, line: LineSocket, process: subprocess.Popen[bytes], reader: subprocess.Popen[bytes], stderr: IO[bytes]
    ) -> None:
        self._line = line
        self._process = process
        self._reader = reader
        self._stderr = stderr
        self.is_gone = self.is_worn = False

    @property
    def is_alive(self) -> bool:
        """Return True if both processes are running."""
        return self._process.poll() is None and self._reader.poll() is None

    def limit(self, scope: FolderScope) -> None:
        """Set what it gives access to, before the first check of each use."""
        self._line.send({"limits": scope.limits()})

    async def end(self) -> None:
        """Stop both processes."""
        with suppress(RuntimeError):  # the event loop that used it is closed
            self._line.close()
        await _end(self._process)
        await _end(self._reader)
        self._stderr.close()

    async def check(self, request: dict[str, Any]) -> Checked:
        """Send a request to the checker (see checker.py) and return its result.

        Raises:
            FoldersUnavailable: The checker failed for a reason other than the content of the folder.
        """
        self._line.send(request)
        used: list[list[Any]] = []
        try:
            while (answer := await self._line.receive()) is not None and "used" in answer:
                used.append(answer["used"])
        except asyncio.TimeoutError:
            self.is_gone = True
            reason = f"checking it takes longer than {ANSWER_TIMEOUT:g} seconds"
            return Checked({"too_complicated": reason}, used, is_final=False)
        if answer is not None:
            self.is_worn = self.is_worn or "too_complicated" in answer
            return Checked(answer, used)
        self.is_gone = True
        return Checked({"too_complicated": await self._reason()}, used)

    async def _reason(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, END_TIMEOUT)
        code = self._process.returncode
        if code is not None and -code in _SIGNALS:
            return _SIGNALS[signal.Signals(-code)]
        stderr = _tail_of(self._stderr)
        log.error("Cannot check service folders (exit code %s): %s", code, stderr)
        raise FoldersUnavailable("The process that checks service folders failed. See the server log for the reason.")


class Checkers:
    """Starts checkers. Keeps an idle one for `keep_seconds`: starting it takes longer than checking most folders."""

    def __init__(self, keep_seconds: float = 0.0) -> None:
        self._keep_seconds = keep_seconds
        self._kept: _Kept | None = None
        self._starting: StartingChecker | None = None
        self._ending: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def use(self, scope: FolderScope, user: DeployUser | None) -> AsyncIterator[Checker]:
        """Yield a checker with a reader, both as `user` if possible.

        Raises:
            FoldersUnavailable: A process cannot be started.
        """
        checker = await self._take(user) or await StartingChecker(user).connect()
        try:
            checker.limit(scope)
            yield checker
        except BaseException:
            await checker.end()
            raise
        if checker.is_gone or checker.is_worn or self._kept is not None or not self._keep_seconds:
            await checker.end()
        else:
            self._put_aside(checker, user)

    def start_early(self, user: DeployUser | None) -> None:
        """Start the processes for the first use, which no longer has to wait for them. This needs no event loop.

        The caller must call `end_unused`.

        Raises:
            FoldersUnavailable: A process cannot be started.
        """
        self._starting = StartingChecker(user)

    def end_unused(self) -> None:
        """Stop the processes that were started early, if they are still unused."""
        starting, self._starting = self._starting, None
        if starting is not None:
            starting.end()

    def keep(self, seconds: float) -> None:
        """From now on, keep an idle checker for `seconds`. The caller must call `close` at the end."""
        self._keep_seconds = seconds

    async def close(self) -> None:
        """Stop the checker that is kept, and do not keep others."""
        self._keep_seconds = 0.0
        await self._end_kept()

    async def _end_kept(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.timer.cancel()
            await kept.checker.end()

    async def _take(self, user: DeployUser | None) -> Checker | None:
        starting, self._starting = self._starting, None
        if starting is not None:
            if starting.user == user and starting.is_alive:
                return await starting.connect()
            await asyncio.to_thread(starting.end)
        kept = self._kept
        if kept is None:
            return None
        if kept.user == user and kept.checker.is_alive and kept.loop is asyncio.get_running_loop():
            kept.timer.cancel()
            self._kept = None
            return kept.checker
        await self._end_kept()
        return None

    def _put_aside(self, checker: Checker, user: DeployUser | None) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._keep_seconds, self._start_ending)
        self._kept = _Kept(checker, user, loop, timer)

    def _start_ending(self) -> None:
        self._ending = asyncio.ensure_future(self._end_kept())  # the event loop alone does not keep it alive


@dataclass(frozen=True, slots=True)
class _Kept:
    """A checker that waits for its next use, and the timer that ends it."""

    checker: Checker
    user: DeployUser | None
    loop: asyncio.AbstractEventLoop
    timer: asyncio.TimerHandle


class StartingChecker:
    """The processes of a checker for `user`. No event loop uses them yet.

    Raises:
        FoldersUnavailable: A process cannot be started.
    """

    def __init__(self, user: DeployUser | None) -> None:
        self.user = user
        self._stderr = _stderr_file()
        files, reader_end = socket.socketpair()
        self._control, checker_end = socket.socketpair()
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            with files, reader_end, checker_end:
                self._processes.append(_start_reader(user, reader_end, self._stderr)[0])
                self._processes.append(_start_checker(checker_end, files, self._stderr))
        except BaseException:
            self.end()
            raise

    @property
    def is_alive(self) -> bool:
        """Return True if both processes are running."""
        return all(process.poll() is None for process in self._processes)

    async def connect(self) -> Checker:
        """Return the checker, for the running event loop."""
        try:
            line = LineSocket(await asyncio.open_connection(sock=self._control, limit=LINE_LIMIT))
        except BaseException:
            await asyncio.to_thread(self.end)
            raise
        line.send(_account(self.user))
        folder_reader, checker = self._processes
        return Checker(line, checker, folder_reader, self._stderr)

    def end(self) -> None:
        """Stop the processes."""
        self._control.close()
        for process in self._processes:
            _kill(process)
        self._stderr.close()


def _start_reader(
    user: DeployUser | None, end: socket.socket, stderr: IO[bytes]
) -> tuple[subprocess.Popen[bytes], list[str]]:
    try:
        command = supervisor_command(user, "read_files")
        process = start_detached(command, user, stdin=end.fileno(), stdout=subprocess.DEVNULL, stderr=stderr.fileno())
    except (RunError, OSError) as error:
        raise FoldersUnavailable(f"Cannot read the services folder: {error}") from error
    return process, command


def _start_checker(control: socket.socket, files: socket.socket, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "-c", _CHECKER, ":".join(sys.path)]
    try:
        return start_detached(command, None, stdin=control.fileno(), stdout=files.fileno(), stderr=stderr.fileno())
    except OSError as error:
        raise FoldersUnavailable(f"Cannot start the process that checks service folders: {error}") from error


def _account(user: DeployUser | None) -> Sequence[Any] | None:
    """Return the account that a checker switches to, or None. Only root can switch accounts."""
    return (user.uid, user.gid, user.groups) if user is not None and os.geteuid() == 0 else None


def _stderr_file() -> IO[bytes]:
    return open(os.memfd_create("stderr"), "r+b")


def _tail_of(stderr: IO[bytes]) -> str:
    stderr.seek(max(0, stderr.seek(0, os.SEEK_END) - STDERR_TAIL))
    return stderr.read().decode("utf-8", "replace")


async def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop a process whose socket is closed. If sudo started it, it might not be killable, but it exits on its own."""
    await asyncio.to_thread(_kill, process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(PermissionError):
        process.kill()
    with suppress(subprocess.TimeoutExpired):
        process.wait(END_TIMEOUT)
