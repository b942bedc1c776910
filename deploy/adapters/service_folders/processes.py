"""The reader and the checker as processes of the server, which waits for them, and ends them at their limits."""

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

from deploy.adapters.launching import DeployUser, RunError, not_started, start_detached, supervisor_command

log = logging.getLogger(__name__)

ANSWER_SECONDS = 30.0
END_SECONDS = 2.0
LINE_LIMIT = 64 << 20
LAST_WORDS = 2_000  # bytes
# What the kernel, or a library that is at its end, does to a checker.
_SIGNALS = {
    signal.SIGXCPU: "it takes too much processor time",
    signal.SIGKILL: "it takes too much memory",
    signal.SIGSEGV: "it crashes the program that reads it",
    signal.SIGABRT: "it crashes the program that reads it",
}
_CHECKER = "import sys; sys.path[:] = sys.argv.pop().split(':'); from deploy.adapters.service_folders import checker; sys.exit(checker.main())"


class FoldersUnavailable(Exception):
    """The services folder cannot be read at present; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where service folders are: the root, and paths of the server's own that nothing in it may lead to."""

    root: Path
    private: tuple[Path, ...] = ()

    def limits(self) -> list[Any]:
        """Return what a reader is told first."""
        root = os.path.realpath(self.root)
        return [root, os.path.dirname(root), [str(path) for path in self.private]]


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of a folder: the checker's answer, and each request to the reader with the digest of its answer.

    `answer` has only `too_complicated` if the checker was ended. `is_final`: the same files give the same answer.
    """

    answer: dict[str, Any]
    used: list[list[Any]]
    is_final: bool = True


class Line:
    """One end of a socket on which lines of JSON come and go."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._reader, self._writer = streams

    def send(self, value: Any) -> None:
        """Send one line."""
        self._writer.write(json.dumps(value).encode("ascii") + b"\n")

    async def receive(self) -> Any:
        """Return the next line, None at the end.

        Raises:
            asyncio.TimeoutError: none came.
        """
        try:
            line = await asyncio.wait_for(self._reader.readline(), ANSWER_SECONDS)
        except (ConnectionError, ValueError):
            return None
        return json.loads(line) if line.endswith(b"\n") else None

    async def ask(self, *request: Any) -> Any:
        """Send a request, and return its answer, None if there is none."""
        self.send(request)
        with suppress(asyncio.TimeoutError):
            return await self.receive()
        return None

    def close(self) -> None:
        """Close it."""
        self._writer.close()


@asynccontextmanager
async def reader(place: Place, user: DeployUser | None) -> AsyncIterator[Line]:
    """Start a reader as `user` (None: as ourselves), and end it afterwards.

    Raises:
        FoldersUnavailable: it cannot be started.
    """
    ours, theirs = socket.socketpair()
    with _last_words() as words:
        try:
            with theirs:
                process, command = _start_reader(user, theirs, words)
        except BaseException:
            ours.close()
            raise
        line = Line(await asyncio.open_connection(sock=ours, limit=LINE_LIMIT))
        try:
            if await line.ask("limits", *place.limits()) is None:
                raise FoldersUnavailable(f"The services folder cannot be read: {not_started(command, _read(words))}")
            yield line
        finally:
            line.close()
            await _end(process)


class Checker:
    """One checker with a reader of its own."""

    def __init__(self, line: Line, process: subprocess.Popen[bytes], words: IO[bytes]) -> None:
        self._line = line
        self._process = process
        self._words = words
        self.is_gone = False

    async def check(self, request: dict[str, Any]) -> Checked:
        """Return what comes of a request (see checker.py).

        Raises:
            FoldersUnavailable: not for the content of the folder, but for something else.
        """
        self._line.send(request)
        used: list[list[Any]] = []
        try:
            while (answer := await self._line.receive()) is not None and "used" in answer:
                used.append(answer["used"])
        except asyncio.TimeoutError:
            self.is_gone = True
            reason = f"reading it takes longer than {ANSWER_SECONDS:g} seconds"
            return Checked({"too_complicated": reason}, used, is_final=False)
        if answer is not None:
            return Checked(answer, used)
        self.is_gone = True
        return Checked({"too_complicated": await self._reason()}, used)

    async def _reason(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, END_SECONDS)
        code = self._process.returncode
        if code is not None and -code in _SIGNALS:
            return _SIGNALS[signal.Signals(-code)]
        words = _read(self._words)
        log.error("Service folders cannot be checked (exit code %s): %s", code, words)
        raise FoldersUnavailable(
            "The program that checks service folders has failed; the log of the server has the reason."
        )


@asynccontextmanager
async def checker(place: Place, user: DeployUser | None) -> AsyncIterator[Checker]:
    """Start a checker with a reader, both as `user` where that is possible, and end them afterwards.

    Raises:
        FoldersUnavailable: they cannot be started.
    """
    with _last_words() as words:
        files, reader_end = socket.socketpair()
        control, checker_end = socket.socketpair()
        processes = []
        try:
            with files, reader_end, checker_end:
                processes.append(_start_reader(user, reader_end, words)[0])
                processes.append(_start_checker(checker_end, files, words))
            line = Line(await asyncio.open_connection(sock=control, limit=LINE_LIMIT))
        except BaseException:
            control.close()
            for process in processes:
                await _end(process)
            raise
        try:
            line.send([place.limits(), _account(user)])
            yield Checker(line, processes[1], words)
        finally:
            line.close()
            for process in reversed(processes):
                await _end(process)


def _start_reader(
    user: DeployUser | None, end: socket.socket, words: IO[bytes]
) -> tuple[subprocess.Popen[bytes], list[str]]:
    try:
        command = supervisor_command(user, "read_files")
        process = start_detached(command, user, stdin=end.fileno(), stdout=subprocess.DEVNULL, stderr=words.fileno())
    except (RunError, OSError) as error:
        raise FoldersUnavailable(f"The services folder cannot be read: {error}") from error
    return process, command


def _start_checker(control: socket.socket, files: socket.socket, words: IO[bytes]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "-c", _CHECKER, ":".join(sys.path)]
    try:
        return start_detached(command, None, stdin=control.fileno(), stdout=files.fileno(), stderr=words.fileno())
    except OSError as error:
        raise FoldersUnavailable(f"The program that checks service folders cannot be started: {error}") from error


def _account(user: DeployUser | None) -> Sequence[Any] | None:
    """Return whom a checker becomes; only root can have it do so."""
    return (user.uid, user.gid, user.groups) if user is not None and os.geteuid() == 0 else None


def _last_words() -> IO[bytes]:
    return open(os.memfd_create("last words"), "r+b")


def _read(words: IO[bytes]) -> str:
    words.seek(max(0, words.seek(0, os.SEEK_END) - LAST_WORDS))
    return words.read().decode("utf-8", "replace")


async def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process whose socket is closed. One that sudo started may not be ours to kill, but ends by itself."""
    with suppress(PermissionError):
        process.kill()
    with suppress(subprocess.TimeoutExpired):
        await asyncio.to_thread(process.wait, END_SECONDS)
