"""Clean up after a killed server: wait for processes that are still shutting down, and remove leftover files."""

import contextlib
import os
import signal
import time
from pathlib import Path

from deploy.adapters.postgres.errors import PostgresError
from deploy.adapters.postgres.sockets import SOCKET_NAME

SHUTDOWN_TIMEOUT = 60.0
ORPHAN_TIMEOUT = 0.5


def clear_leftovers(cluster: Path, socket_dir: Path) -> None:
    """Wait until `cluster` is not in use, and remove files that would keep the next server from starting.

    The caller holds the data folder's lock. No other server can start while this runs, and any live one is shutting
    down.

    Raises:
        PostgresError: The old server does not stop.
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
        if waited > SHUTDOWN_TIMEOUT:
            raise PostgresError(
                f"A PostgreSQL server (process {processes[0]}) of a previous fastDeploy still uses {cluster} and does "
                f"not stop. Stop it with `kill -INT {processes[0]}` and start again."
            )
        if waited > ORPHAN_TIMEOUT and _recorded_pid(pid_file) not in processes:
            # The server that could stop them is dead, and a new server must not start while they are running.
            _kill(processes)
        time.sleep(0.01)


def _processes_in(cluster: Path) -> list[int]:
    """Return the IDs of the PostgreSQL processes whose working directory is `cluster`."""
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
    """Write this process's ID into the stale `pid_file`.

    The recorded ID could belong to another process by now (in a restarted container, IDs start low again), and
    PostgreSQL would treat that process as a running server. It ignores the ID of its parent. Keep the other lines,
    because PostgreSQL uses them to find shared memory that is still in use.
    """
    _, _, rest = pid_file.read_text().partition("\n")
    with open(os.open(pid_file, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW), "w") as file:
        file.write(f"{os.getpid()}\n{rest}")
