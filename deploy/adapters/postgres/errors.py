"""Errors of the bundled PostgreSQL."""


class PostgresError(Exception):
    """An error whose message tells the user what happened and what to do."""
