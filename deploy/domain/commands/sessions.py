"""Commands about sessions of browsers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from deploy.domain.commands.rule import ObjectType, Rule
from deploy.domain.policy import Action


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession:
    """Store a browser session. `session_id` is the hash of its cookie."""

    rule: ClassVar[Rule] = Rule(Action.START_OWN_SESSION, ObjectType.USER, audited=("expires",))

    session_id: str
    user_id: int
    expires: datetime
    user_agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndSessions:
    """Sign out browsers of a user: the session `session_id`, or all sessions except `keep`."""

    rule: ClassVar[Rule] = Rule(Action.END_OWN_SESSIONS, ObjectType.USER, audited=("session_id",))

    user_id: int
    session_id: str | None = None
    keep: str | None = None
