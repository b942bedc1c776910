"""Rights: what a caller can do on which service, resolved from the grants that apply to the caller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from deploy.domain.model.grants import Permission


@dataclass(frozen=True, slots=True)
class Visible:
    """The services that a caller can view: the services with these IDs, or all services if `services` is None.

    `limited` contains those of them of which the caller can only view the deployments in some environments, and
    `lanes` contains these environments, as pairs of a service ID and an environment.

    Everything that reads, lists, counts, searches, or streams takes it as a required argument. For callers, services
    that they cannot view do not exist, and neither do the deployments of those services.
    """

    services: frozenset[int] | None
    limited: frozenset[int] = frozenset()
    lanes: frozenset[tuple[int, str]] = frozenset()

    def __contains__(self, service_id: int) -> bool:
        return self.services is None or service_id in self.services

    def shows(self, service_id: int, environment: str) -> bool:
        """Return True if the caller can view the deployments of a service in this environment."""
        if service_id in self.limited:
            return (service_id, environment) in self.lanes
        return service_id in self


EVERYTHING = Visible(None)
NOTHING = Visible(frozenset())


class Granted(NamedTuple):
    """A grant that applies to a caller: its permission, and where it is valid.

    `service_id` None means all services, and `environment` None means all environments. The services of a tag are
    listed one by one.
    """

    permission: Permission
    service_id: int | None = None
    environment: str | None = None


def _visible(lanes: Mapping[tuple[int, str | None], Permission]) -> Visible:
    services = frozenset(service_id for service_id, _ in lanes)
    limited = frozenset(service_id for service_id in services if (service_id, None) not in lanes)
    shown = frozenset(
        (service_id, environment)
        for service_id, environment in lanes
        if environment is not None and service_id in limited
    )
    return Visible(services, limited, shown)


@dataclass(frozen=True, slots=True)
class Rights:
    """What a caller can do. `everywhere` is the permission on all services, including those that are added later.

    `lanes` contains further permissions, by service ID and environment. The environment None means all environments of
    the service.
    """

    everywhere: Permission | None = None
    lanes: Mapping[tuple[int, str | None], Permission] = field(default_factory=dict)
    can_sync: bool = False
    visible: Visible = field(init=False)

    def __post_init__(self) -> None:
        # Every request needs it, so it is not computed again each time.
        object.__setattr__(self, "visible", EVERYTHING if self.everywhere else _visible(self.lanes))

    def on(self, service_id: int, environment: str | None = None) -> Permission | None:
        """Return the permission on a service in an environment, or in all of them (None)."""
        found = [self.everywhere, self.lanes.get((service_id, None))]
        if environment is not None:
            found.append(self.lanes.get((service_id, environment)))
        return highest(found)

    def environments(self) -> dict[int, list[str]]:
        """Return the environments with permissions of their own, sorted, by service ID."""
        found: dict[int, list[str]] = {}
        for service_id, environment in self.lanes:
            if environment is not None:
                found.setdefault(service_id, []).append(environment)
        return {service_id: sorted(names) for service_id, names in found.items()}

    def with_permission(self, needed: Permission) -> Visible:
        """Return the services on which these rights include a permission in all environments."""
        if self.everywhere is not None and self.everywhere.includes(needed):
            return EVERYTHING
        lanes = self.lanes.items()
        return Visible(frozenset(lane[0] for lane, held in lanes if lane[1] is None and held.includes(needed)))

    def allow(self, needed: Permission, service_id: int, environment: str | None = None) -> bool:
        """Return True if these rights include a permission on a service in an environment, or in all of them (None).

        A service can be viewed by everyone who can view one of its environments.
        """
        if needed is Permission.VIEW and environment is None:
            return service_id in self.visible
        held = self.on(service_id, environment)
        return held is not None and held.includes(needed)


ALL_RIGHTS = Rights(Permission.MANAGE, can_sync=True)
NO_RIGHTS = Rights()


def highest(permissions: Iterable[Permission | None]) -> Permission | None:
    """Return the permission that includes all others, or None if there is none."""
    found: Permission | None = None
    for permission in permissions:
        if permission is not None and (found is None or permission.includes(found)):
            found = permission
    return found


def rights_of(granted: Iterable[Granted], services: Iterable[int] = ()) -> Rights:
    """Return the rights that grants add up to.

    `services` contains the IDs of all services. Grants on one environment of all services apply to them.
    """
    every = tuple(services)
    everywhere: list[Permission] = []
    lanes: dict[tuple[int, str | None], list[Permission]] = {}
    can_sync = False
    for permission, service_id, environment in granted:
        if permission is Permission.SYNC:
            can_sync = True
        elif service_id is None and environment is None:
            everywhere.append(permission)
        else:
            for each in every if service_id is None else (service_id,):
                lanes.setdefault((each, environment), []).append(permission)
    found = {lane: held_most for lane, held in lanes.items() if (held_most := highest(held)) is not None}
    return Rights(highest(everywhere), found, can_sync)


def viewer_of(services: Iterable[int]) -> Rights:
    """Return the right to view these services."""
    return rights_of(Granted(Permission.VIEW, service_id) for service_id in services)
