"""Build commands of this installation that users can copy into a shell."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path

PROGRAM = "fastdeploy"


def own_command(*words: str) -> str:
    """Return a `fastdeploy` command, quoted for a shell. Use the full path, because few users have it on PATH."""
    return shlex.join([*_program(), *words])


def _program() -> list[str]:
    for folder in (Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))):
        if os.access(folder / PROGRAM, os.X_OK):
            return [str(folder / PROGRAM)]
    if (found := shutil.which(PROGRAM)) is not None:
        return [os.path.abspath(found)]
    return [sys.executable, "-m", "deploy"]
