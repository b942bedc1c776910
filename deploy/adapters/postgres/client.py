"""Find a server that another process started."""

import os
import time
from pathlib import Path
from urllib.parse import quote

from deploy.adapters.postgres.cluster import DATABASE, ROLE, Layout, read_password
from deploy.adapters.postgres.sockets import PORT, ServerState, probe

STARTUP_TIMEOUT = 10.0


def running_url(data_dir: Path) -> str | None:
    """Return the database URL of a server that another process runs on `data_dir`, or None if no server is running.

    Wait up to 10 s for a server that is still starting.

    Raises:
        PostgresError: The server's password cannot be read.
    """
    layout = Layout(data_dir.resolve())
    socket_dir = Path(os.path.realpath(layout.run))
    deadline = time.monotonic() + STARTUP_TIMEOUT
    while (state := probe(socket_dir, ROLE)) is not ServerState.ABSENT:
        if state is ServerState.READY:
            password = read_password(layout)
            return None if password is None else database_url(password, socket_dir)
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return None


def database_url(password: str, socket_dir: Path) -> str:
    """Return the URL of the database whose socket is in `socket_dir`."""
    return f"postgresql+asyncpg://{ROLE}:{quote(password)}@/{DATABASE}?host={quote(str(socket_dir))}&port={PORT}"
