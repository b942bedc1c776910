"""Users."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(eq=False)
class User:
    """A user. Incrementing `epoch` ends all their sessions.

    `has_generated_password` is True if the server generated the password at its first start and it has not been
    changed.
    """

    name: str
    password_hash: str
    is_admin: bool = False
    is_active: bool = True
    epoch: int = 0
    has_generated_password: bool = False
    created: datetime | None = None
    id: int = None  # type: ignore[assignment]  # set by the database
