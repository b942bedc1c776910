"""Convert a DATABASE_URL for asyncpg and for display."""

from __future__ import annotations

import re

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

MAX_PORT = 65_535
# SQLAlchemy supports several hosts only as `host` options, but libpq also accepts them in the address.
_SEVERAL_HOSTS = re.compile(r"(?P<before>[^:/]+://(?:[^:/@]*(?::[^@]*)?@)?)(?P<hosts>[^/?]*,[^/?]*)(?P<after>.*)")


def dsn_of(url: str) -> str:
    """Return a DATABASE_URL (`postgresql+asyncpg://…`) in asyncpg's format.

    Options have their libpq names; `ssl` is asyncpg's own name for `sslmode`.

    Raises:
        ValueError: The URL is invalid.
    """
    parsed = _parsed(url)
    options: dict[str, str] = {}
    for name, value in parsed.query.items():
        own = "sslmode" if name == "ssl" else name
        options[own] = value if isinstance(value, str) else ",".join(value)  # several hosts
    dsn = parsed.set(drivername="postgresql").difference_update_query(list(parsed.query))
    return dsn.update_query_dict(options).render_as_string(hide_password=False)


def without_password(url: str) -> str:
    """Return a DATABASE_URL with the password masked."""
    try:
        return _parsed(url).render_as_string(hide_password=True)
    except ValueError:
        # The password could be anywhere before the last @.
        return re.sub(r"://.*@", "://***@", url, flags=re.DOTALL)


def _parsed(url: str) -> URL:
    several = _SEVERAL_HOSTS.fullmatch(url)
    try:
        parsed = make_url(url if several is None else several["before"] + several["after"])
    except ArgumentError as error:
        raise ValueError("it must look like postgresql+asyncpg://user:password@host:port/database") from error
    except ValueError as error:
        raise ValueError(f"the port must be a number between 0 and {MAX_PORT}") from error
    if parsed.port is not None and not 0 <= parsed.port <= MAX_PORT:
        raise ValueError(f"the port must be a number between 0 and {MAX_PORT} (got {parsed.port})")
    if several is not None:
        parsed = parsed.update_query_dict({"host": several["hosts"].split(",")})
    return parsed.set(password=None) if parsed.password == "" else parsed
