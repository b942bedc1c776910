"""Record the servers that a user has started, so that commands can find them.

A server writes `server.json` into its data folder: its working directory, its services folder, and the URL of its
database without the password. The user's state folder (`~/.local/state/fastdeploy/servers`) contains a link to each
data folder. With these, commands find the data from any folder and use the server's settings.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.config import Settings

log = logging.getLogger(__name__)

RECORD = "server.json"
MAX_RECORD_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """How a server was last started. `database` is the URL without the password, or empty for the bundled database."""

    working_dir: str
    services_root: str
    database: str

    @property
    def env_file(self) -> Path:
        """Return the path of the `.env` file of the server."""
        return Path(self.working_dir) / ".env"


def record_of(settings: Settings) -> ServerRecord:
    """Return the record of a server that this process starts with these settings."""
    from deploy.adapters.database import without_password  # noqa: PLC0415 - commands that only read do not need the driver

    return ServerRecord(
        working_dir=os.getcwd(),
        services_root=str(settings.services_root.absolute()),
        database=without_password(settings.database_url),
    )


@contextmanager
def recorded(data_dir: Path, record: ServerRecord) -> Iterator[None]:
    """Record a server so that commands find it, and mark it as running while the block runs.

    Errors are only logged, because the server works without a record.
    """
    data_dir = data_dir.resolve()
    try:
        _write(data_dir, record)
        _link(data_dir)
    except OSError as error:
        log.info("The server could not be recorded; commands need --data-dir to find it: %s", error)
    descriptor = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def read_record(data_dir: Path) -> ServerRecord | None:
    """Return the record of the server on a data folder, or None if this user has not started one there.

    Ignore records of other users: they could make this process read files that those users cannot.
    """
    try:
        descriptor = os.open(data_dir / RECORD, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, encoding="utf-8", errors="surrogateescape") as file:
            if os.fstat(descriptor).st_uid != os.geteuid():
                return None
            fields = json.loads(file.read(MAX_RECORD_BYTES))
        return ServerRecord(**{name: str(fields[name]) for name in ServerRecord.__dataclass_fields__})
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def known_data_dirs() -> list[Path]:
    """Return the existing data folders on which this user has started servers, sorted."""
    folder = _links()
    if folder is None or not _is_ours(folder):
        return []
    found = []
    for link in folder.iterdir():
        with suppress(OSError):
            data_dir = Path(os.readlink(link))
            # Another user could have replaced the folder.
            if _is_ours(link) and _is_ours(data_dir) and read_record(data_dir) is not None:
                found.append(data_dir)
    return sorted(found)


def is_running(data_dir: Path) -> bool:
    """Return True if a server is running on the data folder."""
    try:
        descriptor = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(descriptor)
    return False


def _write(data_dir: Path, record: ServerRecord) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{RECORD}-", dir=data_dir)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        json.dump(asdict(record), file, indent=2)
    if os.geteuid() == 0:
        owner = data_dir.stat()
        os.chown(name, owner.st_uid, owner.st_gid)
    os.replace(name, data_dir / RECORD)


def _link(data_dir: Path) -> None:
    folder = _links()
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not _is_ours(folder):
        return
    _remove_stale(folder)
    link = folder / hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    with suppress(FileExistsError):
        link.symlink_to(data_dir)


def _remove_stale(folder: Path) -> None:
    for link in folder.iterdir():
        with suppress(OSError):
            if link.is_symlink() and not (link / RECORD).exists():
                link.unlink()


def _links() -> Path | None:
    """Return the folder with the links, or None for a user without a home folder."""
    from platformdirs import user_state_path  # noqa: PLC0415 - slow, and rarely needed

    try:
        folder = user_state_path("fastdeploy", appauthor=False) / "servers"
    except RuntimeError:
        return None
    # For such a user, older versions of platformdirs return a relative path.
    return folder if folder.is_absolute() else None


def _is_ours(path: Path) -> bool:
    try:
        return path.lstat().st_uid == os.geteuid()
    except OSError:
        return False
