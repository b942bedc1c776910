"""Commands about services."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from deploy.domain.commands.rule import ObjectType, Rule
from deploy.domain.policy import Action


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFolder:
    """A valid service folder: its config (`data`) and README."""

    name: str
    data: dict[str, Any]
    readme: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncServices:
    """Sync the services in the database with the valid folders. Do not change services whose folder is in `broken`."""

    rule: ClassVar[Rule] = Rule(Action.SYNC_SERVICES, ObjectType.SITE, audited=("broken",))

    folders: tuple[ServiceFolder, ...]
    broken: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteService:
    """Delete a service from the list. Keep its deployments."""

    rule: ClassVar[Rule] = Rule(Action.DELETE_SERVICE, ObjectType.SERVICE, audited=("service_id",))

    service_id: int
