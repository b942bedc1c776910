"""What a killed server leaves behind: processes that still end, and files that name them."""

import contextlib
import os
import signal
import time
from pathlib import Path

from deploy.adapters.postgres.errors import PostgresError
from deploy.adapters.postgres.sockets import SOCKET_NAME

SHUTDOWN_PATIENCE = 60.0
ORPHAN_PATIENCE = 0.5


def clear_leftovers(cluster: Path, socket_dir: Path) -> None:
    """Wait until no server works on `cluster` any more and remove what would hinder the next one from starting.

    To be called with the data folder's lock: so nobody starts a server meanwhile, and one that lives is ending.
    Raises PostgresError when it does not end.
    """
    pid_file = cluster / "postmaster.pid"
    if pid_file.exists():
        _wait_for_end(cluster, pid_file)
    if pid_file.exists():
        _disown(pid_file)
    for name in (SOCKET_NAME, f"{SOCKET_NAME}.lock"):
        (socket_dir / name).unlink(missing_ok=True)


def _wait_for_end(cluster: Path, pid_file: Path) -> None:
    started = time.monotonic()
    while processes := _processes_in(cluster):
        waited = time.monotonic() - started
        if waited > SHUTDOWN_PATIENCE:
            raise PostgresError(
                f"A PostgreSQL server (process {processes[0]}) of an earlier fastDeploy still works on {cluster} and does "
                f"not end. Stop it with `kill -INT {processes[0]}` and start again."
            )
        if waited > ORPHAN_PATIENCE and _recorded_pid(pid_file) not in processes:
            # Their server is dead, so nobody else tells them to end; a new one must not start beside them.
            _kill(processes)
        time.sleep(0.01)


def _processes_in(cluster: Path) -> list[int]:
    """Return the ids of the PostgreSQL processes on `cluster`: each has it as its working directory."""
    home = cluster.stat()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                place = os.stat(entry / "cwd")
                name = (entry / "comm").read_text().strip()
            except OSError:
                continue
            if (place.st_dev, place.st_ino) == (home.st_dev, home.st_ino) and name == "postgres":
                found.append(int(entry.name))
    return sorted(found)


def _recorded_pid(pid_file: Path) -> int | None:
    try:
        return int(pid_file.read_text().splitlines()[0])
    except (OSError, ValueError, IndexError):
        return None


def _kill(processes: list[int]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _disown(pid_file: Path) -> None:
    """Write this process's id into the stale `pid_file`.

    The recorded one may have been given to a stranger since (a container's new processes have low numbers again), and
    PostgreSQL would take that for a running server; its parent it ignores. The other lines stay: by them it finds
    shared memory that is still in use.
    """
    _, _, rest = pid_file.read_text().partition("\n")
    with open(os.open(pid_file, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW), "w") as file:
        file.write(f"{os.getpid()}\n{rest}")
