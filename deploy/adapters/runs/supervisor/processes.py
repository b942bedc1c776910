"""Find the processes below the supervisor through /proc, and send signals to all of them."""

from __future__ import annotations

import os

from .framing import decoded
from .system import signal

PF_EXITING = 0x4  # linux/sched.h: the process is exiting and no longer runs its program's code
STOP_PASSES = 50  # number of times to reread a tree that grows while it is being stopped


def read_stat(pid: int) -> tuple[int, int, str, bool] | None:
    """Return the parent, start time (clock ticks since boot), and name of a process, and True if it is exiting.

    Return None if the process is dead or does not exist.
    """
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        data = os.read(fd, 1024)
    except OSError:
        return None
    finally:
        os.close(fd)
    name, _, rest = data.rpartition(b")")
    fields = rest.split()
    is_alone = fields[17] == b"1"  # a process with other threads could still be running
    if fields[0] in b"ZX" and is_alone:
        return None
    is_exiting = is_alone and bool(int(fields[6]) & PF_EXITING)
    return int(fields[1]), int(fields[19]), decoded(name.partition(b"(")[2]), is_exiting


def descendants(root: int) -> dict[int, int]:
    """Return the start times of all descendants of `root`, by process ID."""
    children: dict[int, list[tuple[int, int]]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            stat = read_stat(int(entry))
            if stat is not None:
                children.setdefault(stat[0], []).append((int(entry), stat[1]))
    found: dict[int, int] = {}
    pending = [root]
    while pending:
        for pid, started in children.pop(pending.pop(), []):
            found[pid] = started
            pending.append(pid)
    return found


def send_signal(pid: int, started: int, number: int) -> None:
    """Signal the process with this ID and start time, but never a later process with the same ID.

    Raise PermissionError if this is not permitted.
    """
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):  # kernel older than 5.3
        kill(pid, number)
        return
    try:
        stat = read_stat(pid)
        if stat is not None and stat[1] == started:
            signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(fd)


def kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def signal_all(processes: dict[int, int], number: int) -> None:
    for pid, started in processes.items():
        try:
            send_signal(pid, started, number)
        except PermissionError:
            pass  # runs as another user (sudo); it is reported if it keeps running


def terminate_tree() -> None:
    """Send SIGTERM to all processes below this one, and resume stopped ones."""
    signaled: dict[int, int] = {}
    for _ in range(STOP_PASSES):
        found = {pid: at for pid, at in descendants(os.getpid()).items() if signaled.get(pid) != at}
        if not found:
            return
        signal_all(found, signal.SIGTERM)
        signal_all(found, signal.SIGCONT)
        signaled.update(found)


def kill_tree() -> None:
    """Stop all processes below this one so that they cannot fork, then kill them."""
    stopped: dict[int, int] = {}
    for _ in range(STOP_PASSES):
        found = {pid: at for pid, at in descendants(os.getpid()).items() if stopped.get(pid) != at}
        if not found:
            break
        signal_all(found, signal.SIGSTOP)
        stopped.update(found)
    signal_all(stopped, signal.SIGKILL)


def left_running() -> str:
    """Return the names of the processes below this one for a message, or an empty string."""
    names = []
    for pid in sorted(descendants(os.getpid())):
        stat = read_stat(pid)
        # A process closes its output before it is dead, so it could still be exiting.
        if stat is not None and not stat[3]:
            names.append(f"{stat[2]} ({pid})")
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more
