"""What the files of a service folder are, in short: digests by which a later look tells what has changed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

FILES, FOLDERS, BYTES = 500, 500, 20_000_000
_CHUNK = 1 << 18
_LENGTH = 12


class _TooMuch(Exception):
    """The folder is larger than what is looked at."""


def folder_digests(folder: Path) -> dict[str, str] | None:
    """Return the first 12 hex digits of each file's SHA-256, by its path in the folder; None: the folder is too large.

    A link counts by the text of its target, hidden folders (.git, say) do not count, nor does what cannot be read.

    Raises:
        OSError: the folder itself cannot be read.
    """
    try:
        return dict(_digests(str(folder)))
    except _TooMuch:
        return None


def _digests(root: str) -> Iterator[tuple[str, str]]:
    files, left = 0, BYTES
    for entry in _entries(root):
        files += 1
        if files > FILES:
            raise _TooMuch
        try:
            digest, size = _digest(entry, left)
        except OSError:
            continue  # gone meanwhile, or not for us
        left -= size
        name = os.path.relpath(entry.path, root)
        if digest is not None:
            yield os.fsencode(name).decode("utf-8", "replace"), digest


def _entries(root: str) -> Iterator[os.DirEntry[str]]:
    """Yield everything but folders, below all folders that are not hidden."""
    folders, seen = [root], 0
    while folders:
        folder = folders.pop()
        seen += 1
        if seen > FOLDERS:
            raise _TooMuch
        try:
            with os.scandir(folder) as entries:
                found = list(entries)
        except OSError:
            if folder == root:
                raise
            continue
        for entry in found:
            if not entry.is_dir(follow_symlinks=False):
                yield entry
            elif not entry.name.startswith("."):
                folders.append(entry.path)


def _digest(entry: os.DirEntry[str], limit: int) -> tuple[str | None, int]:
    """Return the digest of a file or a link (None: it is neither), and the bytes that it took."""
    if entry.is_symlink():
        target = b"-> " + os.fsencode(os.readlink(entry.path))
        return hashlib.sha256(target).hexdigest()[:_LENGTH], len(target)
    if not entry.is_file(follow_symlinks=False):
        return None, 0  # a pipe, a socket, a device
    # It may have become something else that moment: reading a pipe would never end.
    with open(os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            return None, 0
        if status.st_size > limit:
            raise _TooMuch
        digest, size = hashlib.sha256(), 0
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            if size > limit:
                raise _TooMuch
    return digest.hexdigest()[:_LENGTH], size
