"""Data folders with a database, copied from a template that is created once per test session.

Creating and migrating a database takes seconds, while copying one takes a tenth of a second. Tests that create
databases start on an empty folder instead.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A file system in memory: creating a database there takes a quarter of the processor time.
MEMORY = Path("/dev/shm")
ENOUGH = 12 << 30  # bytes; databases of tests can grow to a few GiB
# Passed through the environment because it is the same for all processes of a session, and any of them can start
# servers.
_VARIABLE = "FASTDEPLOY_TEST_TEMPLATE"
_FASTDEPLOY = str(Path(sys.executable).with_name("fastdeploy"))


def begin_session() -> None:
    """Create the folder for the session's template. The first test that needs the template fills it."""
    folder = Path(tempfile.mkdtemp(prefix="fastdeploy-template-", dir=quick_root()))
    # As root, the bundled PostgreSQL runs as another user.
    folder.chmod(0o711)
    os.environ[_VARIABLE] = str(folder)


def end_session() -> None:
    """Remove the session's template."""
    if folder := os.environ.pop(_VARIABLE, None):
        shutil.rmtree(folder, ignore_errors=True)


def quick_root() -> Path | None:
    """Return a folder in memory for the folders of servers. Return None if it is unsuitable: use the default then.

    It must have enough space, and scripts must be able to run there, which many containers forbid.
    """
    try:
        found = os.statvfs(MEMORY)
        available = int(re.findall(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)[0])
    except (OSError, IndexError):
        return None
    is_suitable = not found.f_flag & (os.ST_NOEXEC | os.ST_RDONLY) and os.access(MEMORY, os.W_OK)
    return MEMORY if is_suitable and min(found.f_bavail * found.f_frsize, available << 10) >= ENOUGH else None


def is_session() -> bool:
    """Return True in the processes of a test session."""
    return _VARIABLE in os.environ


def copy_data_folder(target: Path) -> bool:
    """Copy the template to `target`, a data folder that does not exist yet.

    The copy has the current schema and no rows. Return False outside of a test session, where there is no template.
    """
    folder = os.environ.get(_VARIABLE)
    if folder is None:
        return False
    template = _template(Path(folder))
    # Keep the owner, and share blocks if the file system supports it.
    subprocess.run(["cp", "--archive", "--reflink=auto", "--", template, target], check=True)
    return True


def _template(folder: Path) -> Path:
    template = folder / "data"
    with _lock(folder / "lock"):
        if not template.exists():
            unfinished = folder / "unfinished"
            environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "DATA_DIR": str(unfinished)}
            subprocess.run(
                [_FASTDEPLOY, "db", "upgrade"], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL
            )
            # Each copy gets its own.
            for path in (unfinished / "lock", unfinished / "postgres.log", unfinished / "secret-key"):
                path.unlink(missing_ok=True)
            shutil.rmtree(unfinished / "run", ignore_errors=True)
            _skip_syncing(unfinished)
            unfinished.rename(template)
    return template


def _skip_syncing(data_dir: Path) -> None:
    """Let PostgreSQL skip syncing. The tests kill its processes, which the data survives, but not the machine."""
    (settings,) = data_dir.glob("pg*/postgresql.auto.conf")
    with settings.open("a") as file:
        file.write("fsync = off\nfull_page_writes = off\n")


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a lock that all workers of a session share."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
