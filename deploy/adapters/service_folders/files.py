"""The checker's way to files: each is asked for at the reader, and counted."""

from __future__ import annotations

import binascii
import hashlib
import json
import socket
from collections.abc import Callable
from typing import Any

from deploy.adapters.supervisor.file_access import FILE, FOLDER, LOOP, MISSING, OUTSIDE, PRIVATE, UNREADABLE

MAX_REQUESTS = 5_000
MAX_BYTES = 32 << 20
_REASONS = {
    FOLDER: "it is a folder, not a file",
    LOOP: "its links form a loop",
    MISSING: "the file does not exist",
    OUTSIDE: "it leads out of the services folder",
    PRIVATE: "it leads to files of fastDeploy itself",
    UNREADABLE: "it cannot be read by the user that runs deployments",
}

Used = Callable[[list[Any], str], None]
"""Called with each request and the SHA-256 of its answer."""


class FileError(Exception):
    """A file cannot be used; the text says why and does not name it."""

    def __init__(self, kind: str, reason: str | None = None) -> None:
        super().__init__(reason or _REASONS.get(kind, "it is not a regular file"))
        self.kind = kind


class TooComplicated(Exception):
    """A folder takes more than its share of files, bytes, nodes, memory or time; the text says of which."""


class Files:
    """Files below the services root, and beside a playbook that was admitted.

    `reader` is the socket of a reader process, `limits` what it gets first. Paths are absolute.
    """

    def __init__(self, reader: socket.socket, limits: list[Any], used: Used | None = None) -> None:
        self._reader = reader
        self._used: Used | None = None
        self._requests = self._bytes = 0
        self._ask("limits", *limits)
        self._used = used

    def begin(self) -> None:
        """Turn to another folder, with all of its share."""
        self._requests = self._bytes = 0
        self._ask("begin")

    def is_file(self, path: str) -> bool:
        """Return True if there is a regular file that may be read.

        Raises:
            FileError: it belongs to the server itself.
        """
        return self._is(FILE, path)

    def is_folder(self, path: str) -> bool:
        """Return True if there is a folder that may be looked at.

        Raises:
            FileError: it belongs to the server itself.
        """
        return self._is(FOLDER, path)

    def kind(self, path: str) -> str:
        """Return what is at `path`: one of the kinds in supervisor/file_access.py."""
        return str(self._ask("look", path)["kind"])

    def real_path(self, path: str) -> str:
        """Return where the links in `path` lead.

        Raises:
            FileError: there is nothing, or it may not be looked at.
        """
        answer = self._ask("look", path)
        if answer["kind"] not in {FILE, FOLDER}:
            raise FileError(answer["kind"])
        return str(answer["path"])

    def look_beside(self, path: str, *, admit: bool = False) -> tuple[str, str]:
        """Return kind and real path of something in the services folder or beside it.

        `admit`: if it is a file, it and the others in its folder may be read from now on.

        Raises:
            FileError: there is nothing, or it may not be read.
        """
        answer = self._ask("beside", path, admit)
        if answer["kind"] not in {FILE, FOLDER}:
            raise FileError(answer["kind"])
        return answer["kind"], str(answer["path"])

    def entries(self, folder: str) -> list[tuple[str, str]]:
        """Return name and kind of what is in a folder; nothing where it may not be looked at."""
        return [(name, kind) for name, kind in self._ask("entries", folder)["names"]]

    def exists(self, path: str) -> bool:
        """Return True if there is a file at `path`, wherever that is; for programs, which are run and not read."""
        return bool(self._ask("exists", path)["exists"])

    def read(self, path: str, limit: int = 1 << 20) -> bytes:
        """Return the content of a file of at most `limit` bytes (whole MiB).

        Raises:
            FileError: there is no such file, it may not be read, or it is larger.
        """
        data, is_whole = self._read(path, limit)
        if not is_whole:
            raise FileError(FILE, f"it is larger than {limit >> 20} MiB")
        return data

    def read_beginning(self, path: str, limit: int) -> bytes:
        """Return the first `limit` bytes of a file.

        Raises:
            FileError: there is no such file, or it may not be read.
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
            raise TooComplicated(f"its files have more than {MAX_BYTES >> 20} MiB")
        return data, answer["size"] <= limit

    def _ask(self, *request: Any) -> dict[str, Any]:
        self._requests += 1
        if self._requests > MAX_REQUESTS:
            raise TooComplicated(f"it takes more than {MAX_REQUESTS} looks at files")
        self._reader.sendall(json.dumps(request).encode("ascii") + b"\n")
        line = self._receive()
        if self._used is not None:
            self._used(list(request), hashlib.sha256(line).hexdigest())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _receive(self) -> bytes:
        """Return one line; nothing follows it, for each request has one answer."""
        line = bytearray()
        while not line.endswith(b"\n"):
            chunk = self._reader.recv(1 << 16)
            if not chunk:
                raise EOFError("The reader of service folders is gone.")
            line += chunk
        return bytes(line)
