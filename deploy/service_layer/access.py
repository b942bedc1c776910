"""Groups and grants: change them, preview a change, and explain the rights of a user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deploy.domain.access import AccessState, Reason, RightsChange, differences, needs_tags, reasons, resolve
from deploy.domain.commands import ChangeAccess
from deploy.domain.model import Service, User
from deploy.domain.policy import Actor
from deploy.domain.rights import ALL_RIGHTS, EVERYTHING, NO_RIGHTS, Rights
from deploy.service_layer.messagebus import MessageBus
from deploy.service_layer.unit_of_work import OpenUnitOfWork, UnitOfWork


@dataclass(frozen=True, slots=True)
class Preview:
    """What a change would do: how the rights of users would change, and the names of the users and services."""

    changes: Sequence[RightsChange]
    users: dict[int, str]
    services: dict[int, str]


@dataclass(frozen=True, slots=True)
class ServiceRights:
    """The rights of a user on a service that the user can view, and why the user has them."""

    service: Service
    reasons: Sequence[Reason]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The rights of a user on every service that the user can view."""

    user: User
    rights: Rights
    services: Sequence[ServiceRights]


class Access:
    """The groups and grants of this site."""

    def __init__(self, open_unit_of_work: OpenUnitOfWork, open_reads: OpenUnitOfWork, bus: MessageBus) -> None:
        self._open_unit_of_work = open_unit_of_work
        self._open_reads = open_reads
        self._bus = bus

    async def preview(self, by: Actor, change: ChangeAccess) -> Preview:
        """Return what a change would do, without changing anything. The change is checked by making it and undoing it.

        Raises:
            NotFound: A user, group, service, or grant of the change does not exist.
            InvalidInput: A grant is invalid.
            Forbidden: The actor is not allowed to make the change.
        """
        await self._bus.rehearse(change, by=by)
        async with self._open_reads() as uow:
            before = await access_state(uow)
            services = {service.id: service.name for service in await uow.services.list(visible=EVERYTHING)}
        users = {user.id: user.name for user in before.users}
        return Preview(list(differences(before, before.after(change))), users, services)

    async def explain(self, user_id: int) -> Explanation:
        """Return the rights of a user and the reasons.

        Raises:
            NotFound: The user does not exist.
        """
        async with self._open_reads() as uow:
            user = await uow.users.get(user_id)
            state = await access_state(uow)
            rights = state.rights(user)
            services = await uow.services.list(visible=rights.visible)
        why = reasons(state, user)
        return Explanation(user, rights, [ServiceRights(service, why.get(service.id, ())) for service in services])


async def access_state(uow: UnitOfWork) -> AccessState:
    """Return all users, groups, and grants, and the tags of all services."""
    return AccessState(
        users=await uow.users.list(),
        groups=await uow.groups.list(),
        members={group_id: frozenset(users) for group_id, users in (await uow.groups.members()).items()},
        grants=await uow.grants.list(),
        tags=await uow.grants.tags(),
    )


async def rights_of_user(user: User, uow: UnitOfWork) -> Rights:
    """Return the rights of a user, with as few statements as possible."""
    if not user.is_active:
        return NO_RIGHTS
    if user.is_admin:
        return ALL_RIGHTS
    grants = await uow.grants.of_user(user.id)
    return resolve(grants, await uow.grants.tags() if needs_tags(grants) else {})
