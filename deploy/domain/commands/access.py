"""Commands about groups and grants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from deploy.domain.commands.rule import ObjectType, Rule
from deploy.domain.model.grants import Permission
from deploy.domain.policy import Action


class NewGrant(NamedTuple):
    """A grant to add. The fields are those of `model.Grant`."""

    permission: Permission
    user_id: int | None = None
    group_id: int | None = None
    service_id: int | None = None
    tag: str | None = None
    environment: str | None = None


class Membership(NamedTuple):
    """A user who joins or leaves a group."""

    group_id: int
    user_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeAccess:
    """Add and remove grants and members of groups, all of them or none.

    Adding what exists and removing a member who is none have no effect.
    """

    rule: ClassVar[Rule] = Rule(Action.MANAGE_ACCESS, ObjectType.SITE, audited=("join", "leave"))

    add: tuple[NewGrant, ...] = ()
    remove: tuple[int, ...] = ()
    join: tuple[Membership, ...] = ()
    leave: tuple[Membership, ...] = ()
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateGroup:
    """Add a group without members."""

    rule: ClassVar[Rule] = Rule(Action.MANAGE_ACCESS, ObjectType.SITE, audited=("name",))

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameGroup:
    """Change the name of a group."""

    rule: ClassVar[Rule] = Rule(Action.MANAGE_ACCESS, ObjectType.GROUP, audited=("name",))

    group_id: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteGroup:
    """Delete a group, with its grants."""

    rule: ClassVar[Rule] = Rule(Action.MANAGE_ACCESS, ObjectType.GROUP, audited=("group_id",))

    group_id: int
