"""Create audit entries: who did what, and to which object."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deploy.domain.commands import Command, ObjectType
from deploy.domain.events import DeploymentQueued, Event, GrantChanged, GroupCreated, ServiceChanged, UserCreated
from deploy.domain.policy import Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One action in the audit log.

    `actor` is a username, or the part of this installation that acted. `actor_type` is the type of the token, or
    `system`. `details` does not contain secrets.
    """

    actor_type: str
    actor: str
    user_id: int | None
    action: str
    object_type: str
    object_id: str
    details: dict[str, Any]


def entry_of(command: Command, by: Actor, events: list[Event]) -> AuditEntry:
    """Return the audit entry for an executed command."""
    rule = command.rule
    details = {name: _plain(getattr(command, name)) for name in rule.audited}
    return AuditEntry(
        actor_type="system" if by.kind is None else by.kind.value,
        actor=by.name,
        user_id=by.user_id,
        action=rule.action.value,
        object_type="" if rule.on is ObjectType.SITE else rule.on.name.lower().removesuffix("_name"),
        object_id="" if rule.on is ObjectType.SITE else str(getattr(command, rule.on.value)),
        details={name: value for name, value in (details | _results(events)).items() if value is not None},
    )


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return sorted(value) if isinstance(value, frozenset) else value


def _results(events: list[Event]) -> dict[str, Any]:
    """Return the objects that the command created or changed."""
    results: dict[str, Any] = {}
    for event in events:
        if isinstance(event, UserCreated):
            results["user_id"] = event.user_id
        elif isinstance(event, GroupCreated):
            results["group_id"] = event.group_id
        elif isinstance(event, GrantChanged):
            results.setdefault(event.change, []).append(event.grant)
        elif isinstance(event, DeploymentQueued):
            results["deployment_id"] = event.deployment.id
        elif isinstance(event, ServiceChanged):
            results.setdefault(event.change, []).append(event.name)
    return results
