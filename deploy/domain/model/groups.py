"""Groups of users."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

EVERYONE = "everyone"


@dataclass(eq=False)
class Group:
    """A group of users. All users are members of the group `everyone`; the members of other groups are listed."""

    name: str
    is_everyone: bool = False
    created: datetime | None = None
    id: int = None  # type: ignore[assignment]  # set by the database
