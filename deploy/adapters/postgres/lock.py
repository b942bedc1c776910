"""Lock the data folder so that only one fastDeploy uses it."""

import contextlib
import fcntl
import os
import time
from pathlib import Path

from deploy.adapters.postgres.errors import PostgresError

# Gives a command that is still using the database time to finish.
LOCK_TIMEOUT = 3.0


class DataDirLock:
    """A lock file that contains its owner's process ID. The kernel releases the lock when the owner exits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Return True if this object holds the lock."""
        return self._descriptor is not None

    def acquire(self, timeout: float = LOCK_TIMEOUT) -> None:
        """Acquire the lock, waiting up to `timeout` seconds.

        Raises:
            PostgresError: Another process holds the lock, or the folder is not writable.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise PostgresError(
                f"The data folder {self._path.parent} is not writable: {error.strerror}. "
                "Start fastDeploy as the folder's owner, or choose another --data-dir."
            ) from error
        deadline = time.monotonic() + timeout
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
                os.close(descriptor)
                raise PostgresError(
                    f"Another fastDeploy is using this data folder (pid {holder}): {self._path.parent}. "
                    "Stop it first, or choose another --data-dir."
                )
            time.sleep(0.02)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Release the lock if it is held."""
        if self._descriptor is not None:
            # Truncate the file instead of removing it: a waiting process could have it open.
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
