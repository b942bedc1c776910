"""Share the database's connections between processes. It imports nothing, so that the server starts fast."""

from __future__ import annotations

POOL_SIZE = 20
# Up to four web server processes have pools of full size. More of them share the same number of connections.
SHARED, SMALLEST_POOL = 4 * POOL_SIZE, 5
# A process also listens for notifications and cancels statements, each on its own connection.
OUTSIDE_OF_POOL = 2
# The bundled server also has room for separate workers, and for psql, backups, and monitoring.
SEPARATE_WORKERS, OTHER_PROGRAMS, FEWEST = 5, 10, 100


def pool_size(processes: int) -> int:
    """Return the size of each process's pool when several web server processes share a database."""
    return max(SMALLEST_POOL, min(POOL_SIZE, SHARED // processes))


def needed_by(processes: int) -> int:
    """Return the number of connections that the processes of one `fastdeploy serve` open at most."""
    return processes * (pool_size(processes) + OUTSIDE_OF_POOL)


def bundled_max_connections(processes: int) -> int:
    """Return the number of connections that the bundled server must allow."""
    return max(FEWEST, needed_by(processes) + SEPARATE_WORKERS * needed_by(1) + OTHER_PROGRAMS)
