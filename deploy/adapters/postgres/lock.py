"""One fastDeploy on a data folder."""

import contextlib
import fcntl
import os
import time
from pathlib import Path

from deploy.adapters.postgres.errors import PostgresError

# A command that has just used the database is given the time to finish.
PATIENCE = 3.0


class DataDirLock:
    """A lock file that holds its owner's process id; the kernel frees it however the owner ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Tell whether this object holds the lock."""
        return self._descriptor is not None

    def acquire(self, patience: float = PATIENCE) -> None:
        """Take the lock, waiting `patience` seconds at most. Raises PostgresError when somebody else keeps it."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise PostgresError(
                f"The data folder {self._path.parent} cannot be written: {error.strerror}. "
                "Start fastDeploy as the folder's owner, or choose another --data-dir."
            ) from error
        deadline = time.monotonic() + patience
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
                os.close(descriptor)
                raise PostgresError(
                    f"another fastDeploy is running on this data folder (pid {holder}): {self._path.parent}. "
                    "Stop it first, or choose another --data-dir."
                )
            time.sleep(0.02)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; nothing happens when it isn't held."""
        if self._descriptor is not None:
            # Emptied, not removed: a waiting process may have it open already.
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
