"""Find, set up, start and stop the bundled PostgreSQL server."""

from deploy.adapters.postgres.binaries import find_binaries
from deploy.adapters.postgres.client import running_url
from deploy.adapters.postgres.cluster import has_database, prepare_data_dir
from deploy.adapters.postgres.errors import PostgresError, WrongBinDir
from deploy.adapters.postgres.server import PostgresServer

__all__ = [
    "PostgresError",
    "PostgresServer",
    "WrongBinDir",
    "find_binaries",
    "has_database",
    "prepare_data_dir",
    "running_url",
]
