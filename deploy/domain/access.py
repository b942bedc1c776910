"""Resolve grants: which rights a user has, why, and how a change of grants would change them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from deploy.domain.commands.access import ChangeAccess
from deploy.domain.model import Grant, Group, Permission, User
from deploy.domain.rights import ALL_RIGHTS, NO_RIGHTS, Granted, Rights, rights_of

Tags = Mapping[int, frozenset[str]]


def granted(grants: Iterable[Grant], tags: Tags) -> Iterator[Granted]:
    """Yield where each grant is valid. `tags` contains the tags of every service, by its ID."""
    for grant in grants:
        if grant.tag is None:
            yield Granted(grant.permission, grant.service_id, grant.environment)
        else:
            for service_id, of_service in tags.items():
                if grant.tag in of_service:
                    yield Granted(grant.permission, service_id, grant.environment)


def needs_tags(grants: Iterable[Grant]) -> bool:
    """Return True if the services that a grant is valid for depend on which services there are."""
    return any(grant.tag or (grant.service_id is None and grant.environment is not None) for grant in grants)


def resolve(grants: Iterable[Grant], tags: Tags) -> Rights:
    """Return the rights that these grants add up to."""
    return rights_of(granted(grants, tags), tags)


@dataclass(frozen=True, slots=True)
class AccessState:
    """All users, groups, and grants, and the tags of all services."""

    users: Sequence[User]
    groups: Sequence[Group]
    members: Mapping[int, frozenset[int]]
    grants: Sequence[Grant]
    tags: Tags

    def of(self, user: User) -> list[Grant]:
        """Return the grants of a user and of the user's groups."""
        everyone = {group.id for group in self.groups if group.is_everyone}
        groups = everyone | {group_id for group_id, members in self.members.items() if user.id in members}
        return [grant for grant in self.grants if grant.user_id == user.id or grant.group_id in groups]

    def rights(self, user: User) -> Rights:
        """Return the rights of a user."""
        if not user.is_active:
            return NO_RIGHTS
        return ALL_RIGHTS if user.is_admin else resolve(self.of(user), self.tags)

    def after(self, change: ChangeAccess) -> AccessState:
        """Return the state after a change."""
        grants = [grant for grant in self.grants if grant.id not in change.remove]
        grants += [Grant(**new._asdict()) for new in change.add]
        members = {group_id: set(users) for group_id, users in self.members.items()}
        for group_id, user_id in change.join:
            members.setdefault(group_id, set()).add(user_id)
        for group_id, user_id in change.leave:
            members.get(group_id, set()).discard(user_id)
        kept = {group_id: frozenset(users) for group_id, users in members.items()}
        return replace(self, grants=grants, members=kept)


class RightsChange(NamedTuple):
    """How a change affects a user on a service, in one environment or (None) in all of them.

    `service_id` None means the site-wide right to sync.
    """

    user_id: int
    service_id: int | None
    environment: str | None
    before: Permission | None
    after: Permission | None


def differences(before: AccessState, after: AccessState) -> Iterator[RightsChange]:
    """Yield every change of a user's rights between two states, by user and service."""
    for user in before.users:
        old, new = before.rights(user), after.rights(user)
        if old == new:
            continue
        if old.can_sync != new.can_sync:
            sync = (Permission.SYNC if rights.can_sync else None for rights in (old, new))
            yield RightsChange(user.id, None, None, *sync)
        of_old, of_new = old.environments(), new.environments()
        for service_id in before.tags:
            named = {*of_old.get(service_id, ()), *of_new.get(service_id, ())}
            for environment in (None, *sorted(named)):
                was, will = old.on(service_id, environment), new.on(service_id, environment)
                if was != will:
                    yield RightsChange(user.id, service_id, environment, was, will)


class Reason(NamedTuple):
    """Why a user has a permission: the grant, and the group that it was given to, if any."""

    grant: Grant
    group: Group | None


def reasons(state: AccessState, user: User) -> dict[int, list[Reason]]:
    """Return the grants that apply to a user on each service, by service ID, the highest permission first."""
    groups = {group.id: group for group in state.groups}
    ladder = list(Permission)
    found: dict[int, list[Reason]] = {service_id: [] for service_id in state.tags}
    for grant in sorted(state.of(user), key=lambda grant: -ladder.index(grant.permission)):
        if grant.permission is Permission.SYNC:
            continue
        reason = Reason(grant, groups.get(grant.group_id) if grant.group_id is not None else None)
        for each in granted([grant], state.tags):
            for service_id in state.tags if each.service_id is None else (each.service_id,):
                if service_id in found:
                    found[service_id].append(reason)
    return found
