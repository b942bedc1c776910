"""Grants: which permission a user or a group has, and on which services."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class Permission(str, Enum):
    """What a grant permits. Each of the first three includes the ones before it.

    `sync` is a right of its own. It applies to the whole site.
    """

    VIEW = "view"
    DEPLOY = "deploy"
    MANAGE = "manage"
    SYNC = "sync"

    def includes(self, other: Permission) -> bool:
        """Return True if a holder of this permission also has the other one."""
        if Permission.SYNC in (self, other):
            return self is other
        return _LADDER.index(self) >= _LADDER.index(other)


_LADDER = (Permission.VIEW, Permission.DEPLOY, Permission.MANAGE)


@dataclass(eq=False)
class Grant:
    """A permission of a user or a group (exactly one of them is set).

    It applies to one service, to all services with a tag, or to all services. If `environment` is given, it only
    applies to this environment.
    """

    permission: Permission
    user_id: int | None = None
    group_id: int | None = None
    service_id: int | None = None
    tag: str | None = None
    environment: str | None = None
    created: datetime | None = None
    created_by: str = ""
    id: int = None  # type: ignore[assignment]  # set by the database
