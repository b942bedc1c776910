"""Commands about tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from deploy.domain.commands.rule import ObjectType, Rule
from deploy.domain.policy import Action


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterServiceToken:
    """Record a service token before it is issued."""

    rule: ClassVar[Rule] = Rule(
        Action.MAKE_SERVICE_TOKEN, ObjectType.SERVICE_NAME, audited=("token_id", "origin", "expires")
    )

    token_id: str
    service_name: str
    origin: str
    expires: datetime
    user_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterConfigToken:
    """Record a config token before it is issued."""

    rule: ClassVar[Rule] = Rule(Action.MAKE_CONFIG_TOKEN, ObjectType.SITE, audited=("token_id", "origin", "expires"))

    token_id: str
    origin: str
    expires: datetime
    user_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeToken:
    """Revoke a token."""

    rule: ClassVar[Rule] = Rule(Action.REVOKE_TOKEN, ObjectType.TOKEN, audited=("token_id",))

    token_id: str
