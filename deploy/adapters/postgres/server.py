"""Run the bundled PostgreSQL server as a child of this process."""

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import IO, final

from deploy.adapters.postgres.account import Account, choose_account
from deploy.adapters.postgres.binaries import find_binaries, find_binaries_of, major_version
from deploy.adapters.postgres.client import database_url
from deploy.adapters.postgres.cluster import (
    ROLE,
    Layout,
    change_owner,
    create_cluster,
    give_to_owner,
    prepare_data_dir,
    read_password,
    remove_unfinished,
    set_password,
    write_password,
)
from deploy.adapters.postgres.errors import PostgresError
from deploy.adapters.postgres.leftovers import clear_leftovers
from deploy.adapters.postgres.lock import DataDirLock
from deploy.adapters.postgres.sockets import PORT, ServerState, prepare_socket_dir, probe

# After a crash, the server replays its write-ahead log before it accepts connections.
STARTUP_TIMEOUT = 300.0
QUIT_TIMEOUT = 5.0
MAX_LOG_BYTES = 10_000_000
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})
DEFAULTS: Mapping[str, str] = MappingProxyType(
    {
        "shared_buffers": "64MB",
        "max_connections": "100",
        "max_wal_size": "256MB",
        "jit": "off",
        "timezone": "UTC",
        # Error details can contain row data.
        "log_error_verbosity": "terse",
        "log_checkpoints": "off",
        # Avoids an idle process.
        "max_logical_replication_workers": "0",
    }
)


@final
class PostgresServer:
    """A PostgreSQL server on the files in `data_dir`. Only this user and root can open its socket.

    The server stops when this process ends for any reason.
    """

    def __init__(
        self, data_dir: Path, *, bin_dir: Path | None = None, settings: Mapping[str, str] = NO_SETTINGS
    ) -> None:
        """`bin_dir`: folder of `postgres` and `initdb` (None: search for them); `settings`: as in postgresql.conf."""
        self._layout = Layout(data_dir.resolve())
        self._bin_dir = bin_dir
        self._settings = dict(settings)
        self._lock = DataDirLock(self._layout.lock)
        self._process: subprocess.Popen[bytes] | None = None
        self._url: str | None = None

    @property
    def url(self) -> str:
        """Return the database URL in the format of DATABASE_URL, including the password."""
        if self._url is None:
            raise PostgresError("The bundled PostgreSQL has not been started. Call start() first.")
        return self._url

    @property
    def pid(self) -> int:
        """Return the process ID of the server."""
        if self._process is None:
            raise PostgresError("The bundled PostgreSQL has not been started. Call start() first.")
        return self._process.pid

    def poll(self) -> int | None:
        """Return the server's exit status (negative: the signal), or None if it is running or was never started."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start the server and wait until it is ready. In a new data folder, create the database first.

        Usually block for less than 0.1 s, or 1 s in a new folder. If the last server died, start a new one.

        Raises:
            PostgresError: The server could not be started, or this is not the main thread.
        """
        if threading.current_thread() is not threading.main_thread():
            # When that thread ends, the kernel would stop the server.
            raise PostgresError("The bundled PostgreSQL must be started from the main thread.")
        if self._process is not None and self._process.poll() is None:
            return
        prepare_data_dir(self._layout.data_dir)
        if not self._lock.held:
            self._lock.acquire()
        try:
            self._start()
        except OSError as error:
            self.stop()
            raise PostgresError(
                f"The bundled PostgreSQL could not be started on {self._layout.data_dir}: {error}. Fix this, or set "
                "DATABASE_URL to another PostgreSQL server."
            ) from error
        except BaseException:
            self.stop()
            raise

    def stop(self, timeout: float = 20) -> None:
        """Stop the server and disconnect its clients. After `timeout` seconds, stop it without a clean shutdown."""
        if self._process is not None:
            for how, seconds in ((signal.SIGINT, timeout), (signal.SIGQUIT, QUIT_TIMEOUT)):
                if _ended(self._process, how, seconds):
                    break
            else:
                self._process.kill()
                self._process.wait()
        self._lock.release()

    def __enter__(self) -> "PostgresServer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        layout = self._layout
        give_to_owner(layout, layout.lock)
        remove_unfinished(layout)
        bin_dir, major = _binaries_for(layout, self._bin_dir)
        cluster = layout.cluster(major)
        account = choose_account(bin_dir, layout.data_dir, cluster)
        socket_dir = prepare_socket_dir(layout.run, account)
        password = read_password(layout)
        is_new, no_password = not (cluster / "PG_VERSION").exists(), password is None
        password = password or write_password(layout)
        clear_leftovers(cluster, socket_dir)
        if is_new:
            create_cluster(layout, bin_dir, major, account, password, sync=self._settings.get("fsync") != "off")
        else:
            change_owner(cluster, account)
            if no_password:
                set_password(account, bin_dir, cluster, password)
        self._launch(account, bin_dir, cluster, socket_dir)
        self._wait_until_ready(socket_dir)
        self._url = database_url(password, socket_dir)

    def _launch(self, account: Account, bin_dir: Path, cluster: Path, socket_dir: Path) -> None:
        settings = {
            **DEFAULTS,
            **self._settings,
            "port": str(PORT),
            "listen_addresses": "",
            "unix_socket_directories": str(socket_dir),
            "unix_socket_permissions": "0700",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with _open_log(self._layout) as log:
            self._process = account.spawn(
                [bin_dir / "postgres", "-D", cluster, *options], death_signal=signal.SIGINT, output=log
            )

    def _wait_until_ready(self, socket_dir: Path) -> None:
        deadline = time.monotonic() + STARTUP_TIMEOUT
        while probe(socket_dir, ROLE) is not ServerState.READY:
            status = self.poll()
            if status is not None or time.monotonic() > deadline:
                what = "does not respond" if status is None else f"exited immediately (exit status {status})"
                raise PostgresError(
                    f"The bundled PostgreSQL {what}. See the last lines of {self._layout.log}:\n"
                    f"{_last_lines(self._layout.log)}"
                )
            time.sleep(0.003)


def _binaries_for(layout: Layout, explicit: Path | None) -> tuple[Path, int]:
    """Return the programs to use and their major version, which must match the version of an existing database."""
    major = layout.newest_cluster()
    if major is None:
        bin_dir = find_binaries(explicit)
        return bin_dir, major_version(bin_dir)
    found = find_binaries_of(major, explicit)
    if found is None:
        place = f"in {explicit}" if explicit else "on this machine"
        raise PostgresError(
            f"The database in {layout.cluster(major)} was created by PostgreSQL {major}, which was not found {place}. "
            f"Install PostgreSQL {major}, or restore a backup into a new --data-dir."
        )
    return found, major


def _ended(process: "subprocess.Popen[bytes]", how: signal.Signals, timeout: float) -> bool:
    process.send_signal(how)
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        return False
    return True


def _open_log(layout: Layout) -> IO[bytes]:
    """Open the server's log for appending. Rotate it first if it is too large."""
    if layout.log.exists() and layout.log.stat().st_size > MAX_LOG_BYTES:
        layout.log.replace(layout.log.with_suffix(".log.1"))
    descriptor = os.open(layout.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    give_to_owner(layout, layout.log)
    return open(descriptor, "ab", buffering=0)


def _last_lines(log: Path, count: int = 10) -> str:
    with log.open(encoding="utf-8", errors="replace") as file:
        return "".join(deque(file, maxlen=count)).rstrip()
