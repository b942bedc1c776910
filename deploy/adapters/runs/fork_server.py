"""The worker's side of the fork server, which starts supervisors within a millisecond or two.

The fork server runs as the deploy user, like scripts, so any script can kill or stop it. If that happens, the worker
starts another fork server. Until a fork server is ready, the worker starts supervisors directly.
"""

import asyncio
import logging
import os
import socket
import subprocess
from contextlib import suppress
from typing import IO

from deploy.adapters.runs.start import (
    DeployUser,
    RunError,
    SudoRefused,
    not_started,
    start_detached,
    supervisor_command,
)

log = logging.getLogger(__name__)

READY_TIMEOUT = 30.0  # seconds to wait for a fork server to become ready
ANSWER_TIMEOUT = 2.0  # seconds to wait for an answer before restarting the fork server
END_TIMEOUT = 2.0
STDERR_TAIL = 2000  # bytes of standard error to report
# Backoff between restarts in seconds. The pause doubles until a fork server becomes ready.
FIRST_PAUSE, MAX_PAUSE = 0.05, 60.0


class ForkServer:
    """Starts supervisors as `user` (None: our own user): directly, or through a fork server while `run` is active."""

    def __init__(self, user: DeployUser | None, *, python: str | None = None) -> None:
        self.user = user
        self._python = python
        self.refusal = ""
        """The reason sudo refused to start the fork server as the deploy user, with advice, or an empty string."""
        self._requests: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._direct: list[subprocess.Popen[bytes]] = []

    @property
    def pid(self) -> int | None:
        """Return the process ID of the fork server (or of its sudo), or None while it is not ready."""
        return self._process.pid if self._process is not None and self._requests is not None else None

    async def run(self) -> None:
        """Keep a fork server running until canceled."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self._run_one()
                pause = FIRST_PAUSE
            except (OSError, RunError) as error:
                self.refusal = str(error) if isinstance(error, SudoRefused) else ""
                log.warning(
                    "The fork server is not running%s: %s", "" if self.refusal else ", so runs start slower", error
                )
            await asyncio.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE)

    async def fork(self, control: int, spool: int, wake: int) -> int | None:
        """Fork a supervisor with these descriptors and return its process ID.

        Return None if it did not start; the request can then no longer start one later.
        """
        if self._requests is None:
            return None
        requests = self._requests
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                try:
                    socket.send_fds(requests, [b"!"], [control, spool, wake, theirs.fileno()])
                except OSError:
                    return None  # the fork server is gone or overloaded
            in_time = await _readable(ours, ANSWER_TIMEOUT)
            # From here on, a new process that has not answered yet can no longer answer, so it exits.
            ours.shutdown(socket.SHUT_RD)
            answer = ours.recv(32)
        if not in_time:
            log.warning("The fork server does not respond and will be restarted.")
            with suppress(OSError):
                requests.shutdown(socket.SHUT_RDWR)
        return int(answer) if answer else None

    def start_directly(self, control: int, spool: int, wake: int) -> int:
        """Start a supervisor with these descriptors, without the fork server. Return its process ID.

        Raises:
            NoInterpreter: The deploy user cannot run any Python.
            OSError: The system refused to start the process.
        """
        self.reap()
        command = supervisor_command(self.user, python=self._python)
        self._direct.append(start_detached(command, self.user, stdin=control, stdout=spool, stderr=wake))
        return self._direct[-1].pid

    def reap(self) -> int:
        """Reap directly started supervisors that have exited. Return the number that are still running."""
        self._direct = [process for process in self._direct if process.poll() is None]
        return len(self._direct)

    async def _run_one(self) -> None:
        """Start a fork server and use it until it exits. Raise OSError or RunError if it does not become ready."""
        command = supervisor_command(self.user, "fork_server", python=self._python)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Use a file, because a pipe that is not read could fill up. Keep it in memory, because the disk could be full.
        with open(os.memfd_create("stderr"), "r+b") as stderr, ours:
            ours.setblocking(False)
            with theirs:
                ends = {"stdin": theirs.fileno(), "stdout": subprocess.DEVNULL, "stderr": stderr.fileno()}
                process = start_detached(command, self.user, **ends)
            try:
                if not await _readable(ours, READY_TIMEOUT) or not ours.recv(1):
                    raise not_started(command, _end_of(stderr))
                self._requests, self._process, self.refusal = ours, process, ""
                await _readable(ours)  # becomes readable when the fork server exits
            finally:
                self._requests = self._process = None
                ours.close()
                await _ended(process)


async def _readable(sock: socket.socket, seconds: float | None = None) -> bool:
    """Return True if `sock` becomes readable (data or end of stream) within `seconds`."""
    # Before Python 3.12, `asyncio.wait_for` loses a cancellation that arrives together with the result.
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[bool] = loop.create_future()

    def settle(is_readable: bool) -> None:
        if not ready.done():
            ready.set_result(is_readable)

    loop.add_reader(sock, settle, True)
    timer = loop.call_later(seconds, settle, False) if seconds is not None else None
    try:
        return await ready
    finally:
        loop.remove_reader(sock)
        if timer is not None:
            timer.cancel()


def _end_of(file: IO[bytes]) -> str:
    file.seek(max(0, file.seek(0, os.SEEK_END) - STDERR_TAIL))
    return file.read().decode("utf-8", "replace")


async def _ended(process: "subprocess.Popen[bytes]") -> None:
    """Kill and reap a fork server. It could be stopped (SIGSTOP), and a fork server under sudo cannot be killed."""
    with suppress(PermissionError):
        process.kill()
    with suppress(subprocess.TimeoutExpired):
        await asyncio.to_thread(process.wait, END_TIMEOUT)
