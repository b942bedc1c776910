"""Run psql on the configured database. If the bundled PostgreSQL is not running, start it while psql runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from sqlalchemy.engine import make_url

from deploy.adapters.postgres import PostgresError, find_binaries
from deploy.config import ConfigurationError, Settings, prepare_data_dir
from deploy.entrypoints.cli.settings import server_settings
from deploy.entrypoints.serve.foreground import database


def find_psql(settings: Settings) -> str:
    """Return the path of the bundled server's psql, or else of the psql on PATH. Exit if there is none."""
    try:
        own = shutil.which("psql", path=str(find_binaries(settings.postgres_bin_dir)))
    except PostgresError:
        own = None
    found = own or shutil.which("psql")
    return found or sys.exit("psql was not found. Install it (Debian: apt-get install postgresql-client).")


def main(arguments: list[str]) -> int:
    """Run psql with `arguments`. Return its exit code."""
    try:
        settings = server_settings()
    except ConfigurationError as error:
        sys.exit(f"Error: {error}")
    prepare_data_dir(settings)
    with database(settings, attach=True) as (address, _):
        url = make_url(address)
        known = {
            "PGHOST": url.host or url.query.get("host"),
            "PGPORT": url.port or url.query.get("port"),
            "PGUSER": url.username,
            "PGPASSWORD": url.password,
            "PGDATABASE": url.database,
            "PGSSLMODE": url.query.get("sslmode") or url.query.get("ssl"),
            "PGSSLROOTCERT": url.query.get("sslrootcert"),
        }
        env = {**os.environ, **{name: str(value) for name, value in known.items() if value}}
        return subprocess.run([find_psql(settings), *arguments], env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
