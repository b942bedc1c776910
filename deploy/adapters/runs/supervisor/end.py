"""End or resume the processes of a run whose supervisor does not react.

This is a separate program, like the supervisor. It runs as the deploy user, or as root if the worker does (see
../processes.py). Descriptor 0 delivers one object, ``{"do", "supervisor", "keeper", "script", "folder"}``, where a
process is its ID and its start time, and `do` is one of:

- `resume`: continue a stopped supervisor and keeper;
- `spare`: kill all processes of the run except these two;
- `all`: kill all processes of the run.

A process belongs to the run if it descends from the supervisor or the keeper, is in the script's session, or has the
run's private folder in its environment. Descriptor 1 receives the names of the processes that could not be killed.
"""

from __future__ import annotations

import os
import time

from .framing import decoded
from .plain_json import from_json
from .processes import descendants, read_stat, send_signal
from .system import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

REQUEST_LIMIT = 65536
ENVIRONMENT_LIMIT = 1 << 20
KILL_TIMEOUT = 5.0  # seconds
KILL_INTERVAL = 0.02
STOP_PASSES = 50


def main() -> int:
    """Do what descriptor 0 says."""
    request = from_json(decoded(os.read(0, REQUEST_LIMIT)))
    own = living(request, "supervisor") | living(request, "keeper")
    if request["do"] == "resume":
        signal_each(own, signal.SIGCONT)
        return 0
    left = kill_members(request, own, spare=request["do"] == "spare")
    os.write(1, ", ".join(left[:10]).encode("utf-8", "backslashreplace"))
    return 0


def living(request: dict[str, Any], name: str) -> dict[int, int]:
    """Return the start time of a named process, by its ID, or nothing if it is gone."""
    if not request.get(name):
        return {}
    pid, started = map(int, request[name].split())
    stat = read_stat(pid)
    return {pid: started} if stat is not None and stat[1] == started else {}


def kill_members(request: dict[str, Any], own: dict[int, int], *, spare: bool) -> list[str]:
    """Kill the processes of a run. Return the names of those that are left."""
    give_up = time.monotonic() + KILL_TIMEOUT
    while True:
        stopped: dict[int, int] = {} if spare else dict(own)
        signal_each(stopped, signal.SIGSTOP)
        for _ in range(STOP_PASSES):  # they cannot fork anymore once all of them are stopped
            found = {pid: at for pid, at in members(request, own).items() if stopped.get(pid) != at}
            if not found:
                break
            signal_each(found, signal.SIGSTOP)
            stopped.update(found)
        signal_each(stopped, signal.SIGKILL)
        left = [f"{stat[2]} ({pid})" for pid in stopped if (stat := read_stat(pid)) and stat[1] == stopped[pid]]
        if not left or time.monotonic() > give_up:
            return left
        time.sleep(KILL_INTERVAL)


def members(request: dict[str, Any], own: dict[int, int]) -> dict[int, int]:
    """Return the start times of the processes of a run by their IDs, without its supervisor and keeper."""
    found: dict[int, int] = {}
    for pid in own:
        found |= descendants(pid)
    script, started = map(int, request["script"].split())
    leader = read_stat(script)
    session = script if leader is None or leader[1] == started else 0
    mark = (request.get("folder") or "").encode()
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) not in found and belongs(int(entry), session, mark):
            stat = read_stat(int(entry))
            if stat is not None:
                found[int(entry)] = stat[1]
    return {pid: at for pid, at in found.items() if own.get(pid) != at and pid != os.getpid()}


def belongs(pid: int, session: int, mark: bytes) -> bool:
    """Return True if a process is in this session, or has `mark` in its environment."""
    try:
        if session and os.getsid(pid) == session:
            return True
        with open(f"/proc/{pid}/environ", "rb") as file:
            return bool(mark) and mark in file.read(ENVIRONMENT_LIMIT)
    except OSError:
        return False  # it is gone, or belongs to another user


def signal_each(processes: dict[int, int], number: int) -> None:
    for pid, started in processes.items():
        try:
            send_signal(pid, started, number)
        except OSError:
            pass  # runs as another user (sudo); it is reported if it keeps running


if __name__ == "__main__":
    os._exit(main())
