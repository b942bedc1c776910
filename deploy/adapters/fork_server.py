"""The worker's side of the fork server: supervisors within a millisecond or two, whatever happens to it.

The fork server has the rights of the deploy user, as scripts have, so any script may kill it, or make it stand still.
Then supervisors are started directly, as they are before the first one is ready, and another one is started.
"""

import asyncio
import logging
import os
import socket
import subprocess
from contextlib import suppress
from typing import IO

from deploy.adapters.launching import (
    DeployUser,
    RunError,
    SudoRefused,
    not_started,
    start_detached,
    supervisor_command,
)

log = logging.getLogger(__name__)

READY_PATIENCE = 30.0  # seconds until one that does not say that it is ready is given up
ANSWER_PATIENCE = 2.0  # seconds until a request is given up, and the fork server with it
END_PATIENCE = 2.0
SAID_LIMIT = 2000  # bytes of its last words
# Between one and the next: the pause doubles as long as none serves.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 60.0


class ForkServer:
    """Starts supervisors as `user` (None: as ourselves). `run` keeps a fork server; without it, all start directly."""

    def __init__(self, user: DeployUser | None, *, python: str | None = None) -> None:
        self._user = user
        self._python = python
        self.refusal = ""
        """What sudo said when it refused to start one as the deploy user, and what to do; empty when it does not."""
        self._requests: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._direct: list[subprocess.Popen[bytes]] = []

    @property
    def pid(self) -> int | None:
        """The process id of the fork server (under sudo, that of sudo); None while none is ready."""
        return self._process.pid if self._process is not None and self._requests is not None else None

    async def run(self) -> None:
        """Keep one until cancelled."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self._keep()
                pause = FIRST_PAUSE
            except (OSError, RunError) as error:
                self.refusal = str(error) if isinstance(error, SudoRefused) else ""
                log.warning("There is no fork server%s: %s", "" if self.refusal else ", so runs start slower", error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def fork(self, control: int, spool: int, wake: int) -> int | None:
        """Have a supervisor made with these descriptors; its process id.

        None when there is no such supervisor, and none can come of this request later.
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
                    return None  # it is gone, or has too much to do
            in_time = await _readable(ours, ANSWER_PATIENCE)
            # A new process that has not answered by now cannot do so any more, and ends. One that has goes on.
            ours.shutdown(socket.SHUT_RD)
            answer = ours.recv(32)
        if not in_time:
            log.warning("The fork server does not answer: another one will be started.")
            with suppress(OSError):
                requests.shutdown(socket.SHUT_RDWR)
        return int(answer) if answer else None

    def start_directly(self, control: int, spool: int, wake: int) -> int:
        """Start a supervisor with these descriptors without the fork server; its process id.

        Raises NoInterpreter, and OSError when the system refuses the process.
        """
        self.reap()
        command = supervisor_command(self._user, python=self._python)
        self._direct.append(start_detached(command, self._user, stdin=control, stdout=spool, stderr=wake))
        return self._direct[-1].pid

    def reap(self) -> int:
        """Take note of supervisors started directly that have ended; how many are left."""
        self._direct = [process for process in self._direct if process.poll() is None]
        return len(self._direct)

    async def _keep(self) -> None:
        """Start a fork server, and use it until it is gone. OSError or RunError when it does not get ready."""
        command = supervisor_command(self._user, "fork_server", python=self._python)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # A file, since nobody reads along: a pipe could fill up. In memory, since there may be no room on the disk.
        with open(os.memfd_create("last words"), "r+b") as said, ours:
            ours.setblocking(False)
            with theirs:
                ends = {"stdin": theirs.fileno(), "stdout": subprocess.DEVNULL, "stderr": said.fileno()}
                process = start_detached(command, self._user, **ends)
            try:
                if not await _readable(ours, READY_PATIENCE) or not ours.recv(1):
                    raise not_started(command, _end_of(said))
                self._requests, self._process, self.refusal = ours, process, ""
                await _readable(ours)  # it says no more: this is its end
            finally:
                self._requests = self._process = None
                ours.close()
                await _ended(process)


async def _readable(sock: socket.socket, seconds: float | None = None) -> bool:
    """Wait until something, or its end, can be read from `sock`: whether that is so within that time."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sock, ready.set)
    try:
        await asyncio.wait_for(ready.wait(), seconds)
    except asyncio.TimeoutError:
        return False
    finally:
        loop.remove_reader(sock)
    return True


def _end_of(file: IO[bytes]) -> str:
    file.seek(max(0, file.seek(0, os.SEEK_END) - SAID_LIMIT))
    return file.read().decode("utf-8", "replace")


async def _ended(process: "subprocess.Popen[bytes]") -> None:
    """Reap a fork server that was told to end; it may stand still, and sudo's we may not kill."""
    with suppress(PermissionError):
        process.kill()
    with suppress(subprocess.TimeoutExpired):
        await asyncio.to_thread(process.wait, END_PATIENCE)
