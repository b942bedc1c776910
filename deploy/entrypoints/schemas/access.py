"""Schemas for groups, grants, and rights."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from deploy.domain.access import AccessState, Reason
from deploy.domain.commands import ChangeAccess, Membership, NewGrant
from deploy.domain.model import Permission
from deploy.domain.rules import MAX_ENVIRONMENT, MAX_GROUP_NAME
from deploy.domain.service_config import MAX_TAG
from deploy.entrypoints.schemas.common import Id, ResponseModel
from deploy.service_layer.access import Explanation, Preview, ServiceRights

MAX_CHANGES = 1000
# Changes of rights in a preview. `total` counts all of them.
SHOWN_CHANGES = 500
GroupName = Annotated[str, Field(min_length=1, max_length=MAX_GROUP_NAME)]


class GrantIn(BaseModel):
    """A new grant, for either a user or a group.

    It is valid for one service, for all services with a tag, or for all services; and in one environment, or in all of
    them.
    """

    permission: Permission
    user_id: Id | None = None
    group_id: Id | None = None
    service_id: Id | None = None
    tag: Annotated[str, Field(min_length=1, max_length=MAX_TAG)] | None = None
    environment: Annotated[str, Field(min_length=1, max_length=MAX_ENVIRONMENT)] | None = None


class MemberIn(BaseModel):
    """A member of a group."""

    group_id: Id
    user_id: Id


class AccessChangeIn(BaseModel):
    """Grants to add, the IDs of grants to remove, and members who join or leave groups. All of it happens, or nothing."""

    add: list[GrantIn] = Field(default=[], max_length=MAX_CHANGES)
    remove: list[Id] = Field(default=[], max_length=MAX_CHANGES)
    join: list[MemberIn] = Field(default=[], max_length=MAX_CHANGES)
    leave: list[MemberIn] = Field(default=[], max_length=MAX_CHANGES)

    def command(self, by: str) -> ChangeAccess:
        """Return the command for this change."""
        return ChangeAccess(
            add=tuple(NewGrant(**grant.model_dump()) for grant in self.add),
            remove=tuple(self.remove),
            join=tuple(Membership(member.group_id, member.user_id) for member in self.join),
            leave=tuple(Membership(member.group_id, member.user_id) for member in self.leave),
            by=by,
        )


class GroupIn(BaseModel):
    """The name of a group."""

    name: GroupName


class GrantOut(ResponseModel):
    """A grant of a user or of a group."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    permission: Permission
    user_id: int | None
    group_id: int | None
    service_id: int | None
    tag: str | None
    environment: str | None
    created: datetime
    created_by: str


class GroupOut(ResponseModel):
    """A group, and the IDs of its members. All users are members of `everyone`; they are not listed."""

    id: int
    name: str
    is_everyone: bool
    members: list[int]


class AccessOut(ResponseModel):
    """All groups and grants, and the tags that services have."""

    groups: list[GroupOut]
    grants: list[GrantOut]
    tags: list[str]

    @classmethod
    def of(cls, state: AccessState) -> AccessOut:
        """Return the groups and grants."""
        groups = [
            GroupOut(
                id=group.id,
                name=group.name,
                is_everyone=group.is_everyone,
                members=sorted(state.members.get(group.id, ())),
            )
            for group in state.groups
        ]
        tags = sorted({tag for tags in state.tags.values() for tag in tags})
        return cls(groups=groups, grants=[GrantOut.model_validate(grant) for grant in state.grants], tags=tags)


class RightsChangeOut(ResponseModel):
    """How a change affects a user on a service.

    `environment` null means all environments, and `service` null means the permission to sync. `before` or `after` null
    means no permission.
    """

    user_id: int
    user: str
    service_id: int | None
    service: str | None
    environment: str | None
    before: Permission | None
    after: Permission | None


class PreviewOut(ResponseModel):
    """The first changes of rights, by user and service, and how many there are in total."""

    changes: list[RightsChangeOut]
    total: int

    @classmethod
    def of(cls, preview: Preview) -> PreviewOut:
        """Return the changes with names."""
        shown = [
            RightsChangeOut(
                **change._asdict(),
                user=preview.users[change.user_id],
                service=preview.services.get(change.service_id) if change.service_id is not None else None,
            )
            for change in preview.changes[:SHOWN_CHANGES]
        ]
        return cls(changes=shown, total=len(preview.changes))


class ReasonOut(ResponseModel):
    """A grant that gives a permission, and the group that it was given to. `group` null means the user."""

    grant_id: int
    permission: Permission
    group: str | None
    tag: str | None
    environment: str | None
    all_services: bool

    @classmethod
    def of(cls, reason: Reason) -> ReasonOut:
        """Return the grant."""
        grant = reason.grant
        return cls(
            grant_id=grant.id,
            permission=grant.permission,
            group=reason.group.name if reason.group is not None else None,
            tag=grant.tag,
            environment=grant.environment,
            all_services=grant.service_id is None and grant.tag is None,
        )


class ServiceRightsOut(ResponseModel):
    """The permission on a service in all environments (null if there is none), and those in single environments."""

    id: int
    name: str
    permission: Permission | None
    environments: dict[str, Permission]
    reasons: list[ReasonOut]


class RightsOut(ResponseModel):
    """What a user can do: the services that the user can view, and the permissions on each of them."""

    user_id: int
    user: str
    is_admin: bool
    is_active: bool
    can_sync: bool
    services: list[ServiceRightsOut]

    @classmethod
    def of(cls, found: Explanation) -> RightsOut:
        """Return the rights of a user."""
        environments = found.rights.environments()

        def of_service(each: ServiceRights) -> ServiceRightsOut:
            service_id = each.service.id
            held = {name: found.rights.on(service_id, name) for name in environments.get(service_id, ())}
            return ServiceRightsOut(
                id=service_id,
                name=each.service.name,
                permission=found.rights.on(service_id),
                environments={name: permission for name, permission in held.items() if permission is not None},
                reasons=[ReasonOut.of(reason) for reason in each.reasons],
            )

        return cls(
            user_id=found.user.id,
            user=found.user.name,
            is_admin=found.user.is_admin,
            is_active=found.user.is_active,
            can_sync=found.rights.can_sync,
            services=[of_service(each) for each in found.services],
        )
