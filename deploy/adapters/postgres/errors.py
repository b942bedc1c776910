"""Errors of the bundled PostgreSQL."""


class PostgresError(Exception):
    """The bundled PostgreSQL cannot be used. The message says why and what to do."""


class WrongBinDir(PostgresError):
    """The folder that should contain PostgreSQL's programs does not."""
