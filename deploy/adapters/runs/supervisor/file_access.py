"""Access files in service folders, and nowhere else.

Each file is first opened with O_PATH. Then the path that the kernel reports for the open file is checked. As a result,
a link cannot be replaced between the check and the read, and FIFOs and devices are not affected (see open(2) and
proc(5)).
"""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

FILE = "file"
FOLDER = "folder"
OTHER = "other"  # a device, a FIFO, a socket
MISSING = "missing"
OUTSIDE = "outside"
PRIVATE = "private"  # files of the server: its data folder and its settings
UNREADABLE = "unreadable"
LOOP = "loop"

MAX_NAMES = 10_000
MAX_ENTRIES = 1_000
_KINDS = {errno.EACCES: UNREADABLE, errno.EPERM: UNREADABLE, errno.ELOOP: LOOP}


class Access:
    """Gives access to files below `root` and below admitted folders, which are below `outer`.

    Files in `private` are never accessible, unless the root itself is in a private folder.
    """

    def __init__(self, root: str, outer: str, private: Sequence[str]) -> None:
        self._root = os.path.realpath(root)
        self._outer = os.path.realpath(outer)
        self._private = [os.path.realpath(path) for path in private]
        self._admitted: list[str] = []
        self._private_files = self._identities()

    def forget(self) -> None:
        """Reset access to the root only."""
        self._admitted = []

    def names(self) -> tuple[str, list[tuple[str, str]]]:
        """Return the kind of the root, and the sorted name and kind of each entry that could be a service."""
        try:
            with os.scandir(self._root) as entries:
                found = [self._entry(entry) for entry in entries if not entry.name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            return MISSING, []
        except OSError:
            return UNREADABLE, []
        return FOLDER, sorted((name, kind) for name, kind in found if kind not in {FILE, OTHER})[:MAX_NAMES]

    def look(self, path: str) -> tuple[str, str]:
        """Return the kind and the real path of a path. The real path is empty if access is denied."""
        return self._look(path, self._policy(path))

    def entries(self, path: str) -> tuple[str, list[tuple[str, str]]]:
        """Return the kind of a path and, for a folder, the sorted name and kind of its first MAX_ENTRIES entries."""
        kind, real = self.look(path)
        if kind != FOLDER:
            return kind, []
        try:
            names = sorted(os.listdir(real))[:MAX_ENTRIES]
        except OSError:
            return UNREADABLE, []
        return kind, [(name, self.look(os.path.join(real, name))[0]) for name in names]

    def exists(self, path: str) -> bool:
        """Return True if `path` is a file, anywhere. Use it for programs, which are run but not read."""
        return self._look(path, lambda _: "")[0] == FILE

    def look_beside(self, path: str, *, admit: bool) -> tuple[str, str]:
        """Return the kind and real path of a file or folder below `outer`. If `admit` is true, admit the folder of a
        file.

        As in the other methods, deny access to a path that starts in the root and leaves it through a link.
        """
        kind, real = self._look(path, self._refusal_in_root if self._begins_inside(path) else self._refusal_to_admit)
        if admit and kind == FILE and not _is_within(real, self._root):
            self._admitted.append(os.path.dirname(real))
        return kind, real

    def read(self, path: str, limit: int) -> tuple[str, int, bytes]:
        """Return the kind of a path and, for a file, its size and its first `limit` bytes."""
        opened, kind, _ = self._open(path, self._policy(path))
        try:
            if kind != FILE:
                return kind, 0, b""
            size = os.fstat(opened).st_size
            fd = os.open(f"/proc/self/fd/{opened}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            with open(fd, "rb") as file:
                return kind, size, file.read(limit)
        except OSError as error:
            return _KINDS.get(error.errno or 0, UNREADABLE), 0, b""
        finally:
            if opened >= 0:
                os.close(opened)

    def _entry(self, entry: os.DirEntry[str]) -> tuple[str, str]:
        if entry.is_symlink():
            return entry.name, self.look(entry.path)[0]
        return entry.name, FOLDER if entry.is_dir(follow_symlinks=False) else FILE

    def _look(self, path: str, refusal: Policy) -> tuple[str, str]:
        opened, kind, real = self._open(path, refusal)
        if opened >= 0:
            os.close(opened)
        return kind, real

    def _open(self, path: str, refusal: Policy) -> tuple[int, str, str]:
        """Return a descriptor (-1 if access is denied), the kind, and the real path (empty if access is denied)."""
        try:
            opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except ValueError:  # the path contains a NUL
            return -1, MISSING, ""
        except OSError as error:
            # Check a link's target before checking whether it exists, so that no answer reveals which files exist
            # outside.
            refused = "" if error.errno == errno.ELOOP else refusal(os.path.realpath(path))
            return -1, refused or _KINDS.get(error.errno or 0, MISSING), ""
        try:
            real = os.readlink(f"/proc/self/fd/{opened}")
            status = os.fstat(opened)
        except OSError:
            os.close(opened)
            return -1, UNREADABLE, ""
        kind = _kind(status.st_mode)
        is_private = (status.st_dev, status.st_ino) in self._private_files and kind == FILE
        if refused := PRIVATE if is_private else refusal(real):
            os.close(opened)
            return -1, refused, ""
        return opened, kind, real

    def _policy(self, path: str) -> Policy:
        """Return the policy for a path. Links in the root never lead out of it, not even to admitted folders."""
        return self._refusal_in_root if self._begins_inside(path) else self._refusal

    def _begins_inside(self, path: str) -> bool:
        return _is_within(os.path.normpath(path), self._root)

    def _refusal_in_root(self, real: str) -> str:
        if self._is_private(real):
            return PRIVATE
        return "" if _is_within(real, self._root) else OUTSIDE

    def _refusal(self, real: str) -> str:
        if self._is_private(real):
            return PRIVATE
        if _is_within(real, self._root):
            return ""
        return "" if any(_is_visible(real, folder) for folder in self._admitted) else OUTSIDE

    def _refusal_to_admit(self, real: str) -> str:
        if _is_within(real, self._root) or self._is_private(real):
            return self._refusal_in_root(real)
        return "" if _is_visible(real, self._outer) else OUTSIDE

    def _identities(self) -> set[tuple[int, int]]:
        """Return the device and inode of each readable private file: a hard link to it has a different path."""
        found = set()
        for path in self._private:
            try:
                names = [os.path.join(path, name) for name in os.listdir(path)] if os.path.isdir(path) else [path]
            except OSError:
                continue
            for name in names:
                try:
                    status = os.lstat(name)
                except OSError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    found.add((status.st_dev, status.st_ino))
        return found

    def _is_private(self, real: str) -> bool:
        return any(
            _is_within(real, path) and not (_is_within(self._root, path) and _is_within(real, self._root))
            for path in self._private
        )


if TYPE_CHECKING:
    from collections.abc import Callable

    Policy = Callable[[str], str]  # takes a real path; returns the reason for denying access, or an empty string


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _is_visible(path: str, folder: str) -> bool:
    """Return True if a path is in a folder and not in one of its hidden folders."""
    if not _is_within(path, folder):
        return False
    return path == folder or not any(part.startswith(".") for part in os.path.relpath(path, folder).split("/"))


def _kind(mode: int) -> str:
    return FILE if stat.S_ISREG(mode) else FOLDER if stat.S_ISDIR(mode) else OTHER
