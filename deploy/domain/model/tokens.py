"""Records of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class TokenKind(str, Enum):
    """The types of tokens that are recorded, so that they can be listed and revoked."""

    SERVICE = "service"
    CONFIG = "config"


@dataclass(eq=False)
class Token:
    """The record of an issued token, not the token itself. `id` is its `jti` claim."""

    id: str
    kind: TokenKind
    origin: str
    created: datetime
    expires: datetime
    user_id: int | None = None
    service_id: int | None = None
    last_used: datetime | None = None
    revoked: datetime | None = None
