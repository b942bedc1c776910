"""The temporary folder of a run."""

from __future__ import annotations

import fcntl
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER_PREFIX = "fastdeploy-run-"
STALE_AFTER = 60.0  # seconds


class PrivateFolder:
    """A temporary folder that only this user can read.

    Its lock shows that the run is alive and the folder is not left over.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self.path = os.path.join(base, FOLDER_PREFIX + os.urandom(8).hex())
        os.mkdir(self.path, 0o700)
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def write(self, files: dict[str, str]) -> None:
        """Write files, given as texts by file name. Raise ValueError if a name is outside the folder."""
        for name, text in files.items():
            if name in {"", ".", ".."} or "/" in name:
                raise ValueError(f"{name!r} is not a valid file name")
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._lock)
            with open(fd, "wb") as file:
                file.write(text.encode("utf-8"))

    def remove(self) -> None:
        remove_tree(self.path)
        os.close(self._lock)

    def remove_stale(self) -> None:
        """Remove the folders of killed supervisors, which can contain tokens."""
        try:
            for entry in os.scandir(self._base):
                if entry.name.startswith(FOLDER_PREFIX) and entry.is_dir(follow_symlinks=False):
                    info = entry.stat(follow_symlinks=False)
                    if info.st_uid == os.geteuid() and info.st_mtime < time.time() - STALE_AFTER:
                        remove_unlocked(entry.path)
        except OSError:
            pass  # another process removed it first, or a later run will retry


def remove_unlocked(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_tree(path)
    except BlockingIOError:
        pass  # its run is still alive
    finally:
        os.close(fd)


def remove_tree(path: str) -> None:
    """Remove a folder. Skip files that cannot be removed."""
    for folder, folders, files in os.walk(path, topdown=False):
        for name in files:
            _attempt(os.unlink, os.path.join(folder, name))
        for name in folders:
            child = os.path.join(folder, name)
            _attempt(os.unlink if os.path.islink(child) else os.rmdir, child)
    _attempt(os.rmdir, path)


def _attempt(remove: Callable[[str], None], path: str) -> None:
    try:
        remove(path)
    except OSError:
        pass
