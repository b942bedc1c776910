"""The way to a server that another process has started."""

import os
import time
from pathlib import Path
from urllib.parse import quote

from deploy.adapters.postgres.cluster import DATABASE, ROLE, Layout, read_password
from deploy.adapters.postgres.sockets import PORT, Answer, probe

PATIENCE = 10.0


def running_url(data_dir: Path) -> str | None:
    """Return the address of the database of a server that runs on `data_dir`, started by another process; else None.

    Waits a few seconds for one that is just starting. Raises PostgresError when its password may not be read.
    """
    layout = Layout(data_dir.resolve())
    socket_dir = Path(os.path.realpath(layout.run))
    deadline = time.monotonic() + PATIENCE
    while (answer := probe(socket_dir, ROLE)) is not Answer.NOBODY:
        if answer is Answer.READY:
            password = read_password(layout)
            return None if password is None else database_url(password, socket_dir)
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return None


def database_url(password: str, socket_dir: Path) -> str:
    """Return the address of the database whose socket is in `socket_dir`."""
    return f"postgresql+asyncpg://{ROLE}:{quote(password)}@/{DATABASE}?host={quote(str(socket_dir))}&port={PORT}"
