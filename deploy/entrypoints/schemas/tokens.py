"""Schemas for service and config tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from deploy.domain.model import Token, TokenKind
from deploy.domain.rules import MAX_CONFIG_TOKEN_DAYS, MAX_SERVICE_TOKEN_DAYS
from deploy.entrypoints.schemas.common import Origin, ResponseModel


class ServiceTokenIn(BaseModel):
    """The service, origin and lifetime of a new service token."""

    service: str = Field(max_length=200)
    origin: Origin
    expiration_in_days: int = Field(default=1, ge=1, le=MAX_SERVICE_TOKEN_DAYS)


class ConfigTokenIn(BaseModel):
    """The origin and lifetime of a new config token."""

    origin: Origin = "config"
    expiration_in_days: int = Field(default=30, ge=1, le=MAX_CONFIG_TOKEN_DAYS)


class ServiceToken(ResponseModel):
    """A service token. It is shown only once."""

    service_token: str
    token_type: Literal["bearer"]


class ConfigToken(ResponseModel):
    """A config token. It is shown only once."""

    config_token: str
    token_type: Literal["bearer"]


class TokenOut(ResponseModel):
    """The record of a token, without the token itself."""

    id: str
    kind: TokenKind
    service: str | None
    origin: str
    user: str | None
    created: datetime
    expires: datetime
    last_used: datetime | None
    revoked: datetime | None

    @classmethod
    def of(cls, token: Token, service: str | None, user: str | None) -> TokenOut:
        """Return the record with the names of its service and user."""
        return cls(
            id=token.id,
            kind=token.kind,
            service=service,
            origin=token.origin,
            user=user,
            created=token.created,
            expires=token.expires,
            last_used=token.last_used,
            revoked=token.revoked,
        )
