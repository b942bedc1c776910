"""Run installation commands as root on a copy of this machine's /etc and on empty folders, in a mount namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.folders import shell
from tests.e2e.forked_commands import FASTDEPLOY
from tests.e2e.server import temporary_folder

# Folders that the commands may change. Everything else belongs to this machine.
EMPTY = ("/home", "/opt", "/srv", "/var/lib/fastdeploy")
# Creating an environment and installing the wheel needs a network, so these two programs do what matters here.
PYTHON3 = f"""
[ "$1 $2" = "-m venv" ] || exec /usr/bin/python3 "$@"
mkdir -p "$3/bin"
ln -s {FASTDEPLOY} "$3/bin/fastdeploy"
printf '#!/bin/sh\\nprintf "%%s\\\\n" "$@" > %s\\n' "$3/pip-arguments" > "$3/bin/pip"
chmod 755 "$3/bin/pip"
"""


class ScratchRoot:
    """Folders that replace those of this machine in a mount namespace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run(["cp", "--archive", "/etc", folder / "etc"], check=True)
        for name in EMPTY:
            self.path(name).mkdir(parents=True)
        programs = folder / "programs"
        programs.mkdir()
        (programs / "python3").write_text(shell(PYTHON3))
        (programs / "python3").chmod(0o755)
        mounts = [f"mount --bind {self.path(name)} {name}" for name in ("/etc", *EMPTY[:3])]
        # /var/lib/fastdeploy does not exist on this machine, so mount a writable view of /var/lib.
        self.path("/var/lib/fastdeploy").rmdir()
        layers = f"lowerdir=/var/lib,upperdir={folder / 'var/lib'},workdir={folder / 'work'}"
        (folder / "work").mkdir()
        mounts.append(f"mount -t overlay overlay -o {layers} /var/lib || mount -t tmpfs none /var/lib")
        self.through = [
            "unshare",
            "--mount",
            "sh",
            "-euc",
            " && ".join(f"( {one} )" for one in mounts) + ' && exec "$@"',
            "sh",
        ]

    def path(self, name: str) -> Path:
        """Return where a path of the scratch root is on this machine."""
        return self.folder / name.lstrip("/")

    def run(self, commands: str) -> subprocess.CompletedProcess[str]:
        """Run commands as root."""
        environment = {**os.environ, "PATH": f"{self.folder / 'programs'}:/usr/sbin:/usr/bin:/sbin:/bin"}
        return subprocess.run(
            [*self.through, "sh", "-euc", commands],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )


@contextmanager
def scratch_root() -> Iterator[ScratchRoot]:
    """Yield a scratch root. Skip the test if this machine cannot have one."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "useradd"))):
        pytest.skip("requires root, unshare, and useradd")
    with temporary_folder() as folder:
        root = ScratchRoot(folder)
        if root.run("true").returncode != 0:
            pytest.skip("root cannot create mount namespaces on this machine")
        yield root
