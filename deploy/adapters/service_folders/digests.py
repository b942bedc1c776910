"""Compute digests of the files in a service folder, to detect later which files changed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

MAX_FILES, MAX_FOLDERS, MAX_BYTES = 500, 500, 20_000_000
_CHUNK = 1 << 18
_LENGTH = 12


class _LimitExceeded(Exception):
    """The folder exceeds the limits."""


def folder_digests(folder: Path) -> dict[str, str] | None:
    """Return the first 12 hex digits of each file's SHA-256, by its path in the folder.

    Return None if the folder is too large or is a symbolic link that points outside its parent. For a symbolic link in
    the folder, hash its target path. Skip hidden folders (such as `.git`) and unreadable files.

    Raises:
        OSError: The folder itself cannot be read.
    """
    real = os.path.realpath(folder)
    if not real.startswith(os.path.join(os.path.realpath(folder.parent), "")):
        return None
    try:
        return dict(_digests(real))
    except _LimitExceeded:
        return None


def _digests(root: str) -> Iterator[tuple[str, str]]:
    files, left = 0, MAX_BYTES
    for path, name, opened in _files(root):
        files += 1
        if files > MAX_FILES:
            raise _LimitExceeded
        try:
            digest, size = _digest(name, opened, left)
        except OSError:
            continue  # removed in the meantime, or not readable
        left -= size
        if digest is not None:
            yield os.fsencode(os.path.relpath(os.path.join(path, name), root)).decode("utf-8", "replace"), digest


def _files(root: str) -> Iterator[tuple[str, str, int]]:
    """Yield (folder, name, folder descriptor) for each entry that is not a folder. Skip hidden folders.

    If a folder is replaced by a symbolic link during the walk, `fwalk` detects and skips it.
    """

    def fail(error: OSError) -> None:
        if error.filename == root:
            raise error

    for seen, (path, folders, files, opened) in enumerate(os.fwalk(root, onerror=fail, follow_symlinks=False)):
        if seen >= MAX_FOLDERS:
            raise _LimitExceeded
        links = [name for name in folders if _is_link(name, opened)]
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in links)
        for name in (*files, *links):
            yield path, name, opened


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode)
    except OSError:
        return False


def _digest(name: str, folder: int, limit: int) -> tuple[str | None, int]:
    """Return the digest of a file or symbolic link, or None if it is neither, and the number of bytes read."""
    status = os.lstat(name, dir_fd=folder)
    if stat.S_ISLNK(status.st_mode):
        target = b"-> " + os.fsencode(os.readlink(name, dir_fd=folder))
        return hashlib.sha256(target).hexdigest()[:_LENGTH], len(target)
    if not stat.S_ISREG(status.st_mode):
        return None, 0  # a pipe, a socket, or a device
    # The file could have been replaced since then, and reading a pipe would block forever.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(name, flags, dir_fd=folder), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            return None, 0
        if status.st_size > limit:
            raise _LimitExceeded
        digest, size = hashlib.sha256(), 0
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            if size > limit:
                raise _LimitExceeded
    return digest.hexdigest()[:_LENGTH], size
