"""What goes wrong with the bundled PostgreSQL."""


class PostgresError(Exception):
    """The message says what happened and what to do next, for the person at the terminal."""
