"""Give the checker access to files. Every request goes to the reader and counts toward a limit."""

from __future__ import annotations

import binascii
import hashlib
import json
import socket
from collections.abc import Callable
from typing import Any

from deploy.adapters.runs.supervisor.file_access import FILE, FOLDER, LOOP, MISSING, OUTSIDE, PRIVATE, UNREADABLE

MAX_REQUESTS = 5_000
MAX_BYTES = 32 << 20
MAX_PATH = 4095  # bytes; the kernel does not accept longer paths
_REASONS = {
    FOLDER: "it is a folder, not a file",
    LOOP: "its symbolic links form a loop",
    MISSING: "the file does not exist",
    OUTSIDE: "it is outside the services folder",
    PRIVATE: "it is one of fastDeploy's own files",
    UNREADABLE: "the deploy user cannot read it",
}

# The answer for a path that is too long. The server stores every request, and the same path can be requested
# repeatedly.
_NOTHING = {"kind": MISSING, "path": "", "names": [], "exists": False, "size": 0, "data": ""}

Used = Callable[[list[Any], str], None]
"""Callback that receives each request and the SHA-256 of its answer."""


class FileError(Exception):
    """A file cannot be used. The text gives the reason without naming the file."""

    def __init__(self, kind: str, reason: str | None = None) -> None:
        super().__init__(reason or _REASONS.get(kind, "it is not a regular file"))
        self.kind = kind


class TooComplex(Exception):
    """A folder exceeds a limit on files, bytes, nodes, memory, or time. The text says which one."""


class Files:
    """Gives access to files below the services root and next to an admitted playbook.

    `reader` is the socket of a reader process. Call `limit` first. All paths are absolute.
    """

    def __init__(self, reader: socket.socket, used: Used | None = None) -> None:
        self.root = ""
        self._reader = reader
        self._on_use = used
        self._used: Used | None = None
        self._requests = self._bytes = 0

    def limit(self, limits: list[Any]) -> None:
        """Set what the reader gives access to: the services root, its parent folder, and private paths of the server."""
        self.root, self._used = limits[0], None
        self._ask("limits", *limits)
        self._used = self._on_use

    def begin(self) -> None:
        """Start with another folder and reset the limits."""
        self._requests = self._bytes = 0
        self._ask("begin")

    def is_file(self, path: str) -> bool:
        """Return True if `path` is a regular file that can be read.

        Raises:
            FileError: The file belongs to fastDeploy itself.
        """
        return self._is(FILE, path)

    def is_folder(self, path: str) -> bool:
        """Return True if `path` is a folder that can be listed.

        Raises:
            FileError: The folder belongs to fastDeploy itself.
        """
        return self._is(FOLDER, path)

    def kind(self, path: str) -> str:
        """Return the kind of `path`, one of those in runs/supervisor/file_access.py."""
        return str(self._ask("look", path)["kind"])

    def real_path(self, path: str) -> str:
        """Return `path` with symbolic links resolved.

        Raises:
            FileError: `path` does not exist or cannot be accessed.
        """
        answer = self._ask("look", path)
        if answer["kind"] not in {FILE, FOLDER}:
            raise FileError(answer["kind"])
        return str(answer["path"])

    def look_beside(self, path: str, *, admit: bool = False) -> tuple[str, str]:
        """Return the kind and real path of a file or folder in the services folder or next to it.

        If `admit` is true and it is a file, allow reading it and the other files in its folder from now on.

        Raises:
            FileError: `path` does not exist or cannot be read.
        """
        answer = self._ask("beside", path, admit)
        if answer["kind"] not in {FILE, FOLDER}:
            raise FileError(answer["kind"])
        return answer["kind"], str(answer["path"])

    def entries(self, folder: str) -> list[tuple[str, str]]:
        """Return the name and kind of each entry in a folder, or an empty list if the folder cannot be listed."""
        return [(name, kind) for name, kind in self._ask("entries", folder)["names"]]

    def exists(self, path: str) -> bool:
        """Return True if there is a file at `path`, even outside the root.

        Use it for programs, which are run but not read.
        """
        return bool(self._ask("exists", path)["exists"])

    def read(self, path: str, limit: int = 1 << 20) -> bytes:
        """Return the content of a file of at most `limit` bytes (whole MiB).

        Raises:
            FileError: The file does not exist, cannot be read, or is too large.
        """
        data, is_whole = self._read(path, limit)
        if not is_whole:
            raise FileError(FILE, f"it is larger than {limit >> 20} MiB")
        return data

    def read_beginning(self, path: str, limit: int) -> bytes:
        """Return the first `limit` bytes of a file.

        Raises:
            FileError: The file does not exist or cannot be read.
        """
        return self._read(path, limit)[0]

    def _is(self, wanted: str, path: str) -> bool:
        found = self.kind(path)
        if found == PRIVATE:
            raise FileError(found)
        return found == wanted

    def _read(self, path: str, limit: int) -> tuple[bytes, bool]:
        answer = self._ask("read", path, limit)
        if answer["kind"] != FILE:
            raise FileError(answer["kind"])
        data = binascii.a2b_base64(answer["data"])
        self._bytes += len(data)
        if self._bytes > MAX_BYTES:
            raise TooComplex(f"its files are larger than {MAX_BYTES >> 20} MiB in total")
        return data, answer["size"] <= limit

    def _ask(self, *request: Any) -> dict[str, Any]:
        self._requests += 1
        if self._requests > MAX_REQUESTS:
            raise TooComplex(f"checking it takes more than {MAX_REQUESTS} file operations")
        if any(isinstance(part, str) and len(part) > MAX_PATH for part in request):
            return dict(_NOTHING)
        self._reader.sendall(json.dumps(request).encode("ascii") + b"\n")
        line = self._receive()
        if self._used is not None:
            self._used(list(request), hashlib.sha256(line).hexdigest())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _receive(self) -> bytes:
        """Return one line. No data follows it, because each request has exactly one answer."""
        line = bytearray()
        while not line.endswith(b"\n"):
            chunk = self._reader.recv(1 << 16)
            if not chunk:
                raise EOFError("The process that reads service folders has ended.")
            line += chunk
        return bytes(line)
