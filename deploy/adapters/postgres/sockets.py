"""Find the server's socket and probe the state of the server."""

import enum
import hashlib
import os
import re
import shutil
import socket
import stat
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deploy.adapters.postgres.account import Account

PORT = 5432
SOCKET_NAME = f".s.PGSQL.{PORT}"
# The kernel accepts 107 bytes.
MAX_SOCKET_PATH = 106
# The server's option and the clients' URLs quote other characters differently.
PLAIN_PATH = re.compile(r"/[A-Za-z0-9_./+@=-]*")
PROTOCOL_3 = 196608


class ServerState(enum.Enum):
    """State of the server behind the socket."""

    ABSENT = "absent"
    STARTING = "starting"
    READY = "ready"


def probe(socket_dir: Path, user: str, timeout: float = 5) -> ServerState:
    """Return the state of the server whose socket is in `socket_dir`. `timeout` is in seconds."""
    parameters = f"user\0{user}\0database\0{user}\0\0".encode()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(timeout)
        try:
            client.connect(str(socket_dir / SOCKET_NAME))
            client.sendall(struct.pack("!ii", 8 + len(parameters), PROTOCOL_3) + parameters)
            # Read everything: the server logs an error if unread data remains.
            reply = client.recv(4096)
        except (OSError, ValueError):
            return ServerState.ABSENT
    # "R" requests the password. "E" is an error: starting, shutting down, or too many clients.
    return {b"R": ServerState.READY, b"E": ServerState.STARTING}.get(reply[:1], ServerState.ABSENT)


def fits(folder: Path) -> bool:
    """Return True if `folder` can hold the socket: its path is short enough and has no special characters."""
    path = str(folder / SOCKET_NAME)
    return PLAIN_PATH.fullmatch(path) is not None and len(path) <= MAX_SOCKET_PATH


def prepare_socket_dir(run: Path, account: Account) -> Path:
    """Return the private folder for the socket.

    The folder is `run` or, if the path of `run` is too long, a temporary folder that `run` links to.
    """
    if fits(run):
        if run.is_symlink():
            run.unlink()
        run.mkdir(mode=0o700, exist_ok=True)
        os.chown(run, *account.owner)
        return run
    folder = Path(os.path.realpath(run))
    # A copied data folder still links to the folder of the original.
    prefix = f"fastdeploy-{hashlib.sha256(os.fsencode(run)).hexdigest()[:8]}-"
    if run.is_symlink() and folder.name.startswith(prefix) and _is_private(folder, account):
        return folder
    folder = _new_temporary_dir(account, prefix)
    if run.is_symlink():
        run.unlink()
    elif run.exists():
        shutil.rmtree(run)
    run.symlink_to(folder)
    return folder


def _is_private(folder: Path, account: Account) -> bool:
    try:
        state = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(state.st_mode) and state.st_uid == account.owner[0] and stat.S_IMODE(state.st_mode) == 0o700


def _new_temporary_dir(account: Account, prefix: str) -> Path:
    for parent in _temporary_dirs(prefix):
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        os.chown(folder, *account.owner)
        return folder
    raise FileNotFoundError("no temporary folder with a short path")


def _temporary_dirs(prefix: str) -> Iterator[Path]:
    for name in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - only ever a parent for mkdtemp
        parent = Path(os.path.realpath(name))
        if fits(parent / f"{prefix}12345678") and parent.stat().st_mode & stat.S_IXOTH:
            yield parent
