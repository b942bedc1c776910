"""Start the bundled server in separate processes, and inspect processes through the kernel."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from deploy.adapters.postgres import find_binaries

ROOT = Path(__file__).resolve().parents[2]
STARTER = """
import sys
from pathlib import Path
from deploy.adapters.postgres import PostgresError, PostgresServer
try:
    with PostgresServer(Path(sys.argv[1]), bin_dir=Path(sys.argv[2]), settings={"fsync": "off"}) as server:
        print(server.pid, server.url, flush=True)
        sys.stdin.read()
except PostgresError as error:
    sys.exit(str(error))
"""
FAST = {"fsync": "off"}


class Starter:
    """Another process that starts the server on a folder and stops it on request."""

    def __init__(self, data_dir: Path, *, prefix: Sequence[str] = (), python: str = sys.executable) -> None:
        self.process = subprocess.Popen(
            [*prefix, python, "-c", STARTER, str(data_dir), str(find_binaries())],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_until_ready(self) -> tuple[int, str]:
        """Return the server's process ID and its URL."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        pid, url = line.split(maxsplit=1)
        return int(pid), url.strip()

    def kill(self) -> None:
        """Kill it without giving it a chance to clean up."""
        self.process.kill()
        self.process.communicate(timeout=30)

    def finish(self) -> tuple[int, str]:
        """Stop it. Return its exit code and the end of its output."""
        output = self.process.communicate(timeout=60)[1]
        return self.process.returncode, output


def is_alive(pid: int) -> bool:
    """Return True if a process is running. An unreaped zombie is not running."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def uid_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def wait_for(condition: Callable[[], object], timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.005)


async def ask(url: str, query: str) -> object:
    """Return the first value of the result, or None if there is no result."""
    async with create_async_engine(url, poolclass=NullPool).begin() as connection:
        result = await connection.execute(text(query))
        return result.scalar() if result.returns_rows else None
