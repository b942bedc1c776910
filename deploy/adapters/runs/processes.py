"""The worker's view of a run's processes: whether its supervisor can react, and how to end all of them without it."""

import asyncio
import json
import os
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deploy.adapters.runs.start import DeployUser, RunError, start_detached, supervisor_command

HELPER_TIMEOUT = 30.0  # seconds
_STOPPED, _DEAD = frozenset("Tt"), frozenset("ZX")  # state letters in /proc/<pid>/stat

Action = Literal["resume", "spare", "all"]
"""Continue a stopped supervisor, kill everything but the supervisor, or kill everything (supervisor/end.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProcesses:
    """The processes of a run, as its `start` record describes them. A process is its ID and its start time.

    `deadline` is the monotonic time at which the supervisor stops the run. `stop_seconds` is the number of seconds it then
    takes until it kills the last process.
    """

    supervisor: str
    keeper: str
    script: str
    folder: str
    timeout: float | None
    deadline: float | None
    stop_seconds: float

    @classmethod
    def of(cls, start: Any, at: float) -> "RunProcesses | None":
        """Return the processes that the data of a `start` record from the time `at` describes.

        Return None if an earlier version wrote the record, or the machine has been restarted since.
        """
        if not isinstance(start, dict) or not start.get("script") or not start.get("supervisor"):
            return None
        if at < time.time() - time.clock_gettime(time.CLOCK_BOOTTIME):
            return None
        return cls(
            supervisor=str(start["supervisor"]),
            keeper=str(start.get("keeper") or ""),
            script=str(start["script"]),
            folder=str(start.get("folder") or ""),
            timeout=_number(start.get("timeout")),
            deadline=_number(start.get("deadline")),
            stop_seconds=_number(start.get("stop_seconds")) or 0.0,
        )

    @property
    def can_react(self) -> bool:
        """Return True if supervisor and keeper are not stopped, and the supervisor is alive."""
        return _state(self.supervisor) not in {"", *_STOPPED} and _state(self.keeper) not in _STOPPED

    @property
    def has_supervisor(self) -> bool:
        """Return True if the supervisor is alive, even if it is stopped."""
        return _state(self.supervisor) != ""


def _number(text: object) -> float | None:
    return float(text) if isinstance(text, str) else None


def _state(process: str) -> str:
    """Return the state letter of a process, `?` if other users' processes are hidden, or nothing if it is dead."""
    pid, _, started = process.partition(" ")
    if not pid:
        return ""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return "?" if _exists(int(pid)) else ""
    state = fields[0].decode()
    return "" if fields[19].decode() != started or state in _DEAD else state


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return False  # it can be signaled, so it cannot be hidden


async def control_processes(processes: RunProcesses, action: Action, user: DeployUser | None) -> str:
    """End or resume the processes of a run of `user`. Return the names of those that could not be killed.

    Root does this itself, so scripts cannot prevent it. Other accounts have to do it as the deploy user, whose scripts
    could stop the helper, so the caller must try again.

    Raises:
        RunError: The helper cannot be started.
    """
    request = {name: getattr(processes, name) for name in ("supervisor", "keeper", "script", "folder")}
    try:
        return await asyncio.to_thread(_run, json.dumps({"do": action, **request}), user)
    except OSError as error:
        raise RunError(f"The processes of the run could not be ended: {error}.") from error


def _run(request: str, user: DeployUser | None) -> str:
    user = None if os.geteuid() == 0 else user
    command = supervisor_command(user, "end")
    with open(os.memfd_create("request"), "w+b", buffering=0) as stdin, open(os.memfd_create("left"), "r+b") as stdout:
        stdin.write(request.encode())
        stdin.seek(0)
        ends = {"stdin": stdin.fileno(), "stdout": stdout.fileno(), "stderr": subprocess.DEVNULL}
        process = start_detached(command, user, **ends)
        try:
            process.wait(HELPER_TIMEOUT)
        except subprocess.TimeoutExpired:
            with suppress(PermissionError):
                process.kill()
        stdout.seek(0)
        return stdout.read().decode("utf-8", "replace")
