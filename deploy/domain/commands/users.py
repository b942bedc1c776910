"""Commands about users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from deploy.domain.commands.rule import ObjectType, Rule
from deploy.domain.policy import Action


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateUser:
    """Add a user. `password_hash` is an Argon2 hash. If `only_first` is true, fail if any user exists."""

    rule: ClassVar[Rule] = Rule(Action.MANAGE_USERS, ObjectType.SITE, audited=("name", "is_admin"))

    name: str
    password_hash: str
    is_admin: bool = False
    has_generated_password: bool = False
    only_first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeUser:
    """Change the fields of a user that are not None. This ends the user's sessions."""

    rule: ClassVar[Rule] = Rule(Action.MANAGE_USERS, ObjectType.USER, audited=("is_admin", "is_active"))

    user_id: int
    password_hash: str | None = None
    is_admin: bool | None = None
    is_active: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeOwnPassword:
    """Change the password of the user's own account. This ends the user's sessions."""

    rule: ClassVar[Rule] = Rule(Action.CHANGE_OWN_PASSWORD, ObjectType.USER, audited=("user_id",))

    user_id: int
    password_hash: str
