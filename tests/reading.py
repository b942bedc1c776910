"""Provide a real reader of service folders, as the checker uses it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.adapters.runs.start import DeployUser, start_detached, supervisor_command
from deploy.adapters.service_folders.files import Files
from deploy.adapters.service_folders.processes import FolderScope


@contextmanager
def reader_socket(user: DeployUser | None = None) -> Iterator[socket.socket]:
    """Start a reader as `user` (None: as the current user), and stop it afterward."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = start_detached(
            supervisor_command(user, "read_files"),
            user,
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        theirs.close()
        yield ours
        ours.shutdown(socket.SHUT_RDWR)
    assert process.wait(10) == 0


def files_of(reader: socket.socket, root: Path, *private: Path) -> Files:
    """Return the files below `root`, read the way a service folder is."""
    files = Files(reader)
    files.limit(FolderScope(root, private).limits())
    return files
