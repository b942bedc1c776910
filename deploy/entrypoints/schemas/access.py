"""Schemas for tokens, users and sessions."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from deploy.domain.model import TokenKind
from deploy.entrypoints.schemas.common import Answer, Name, Origin, Password


class SignIn(BaseModel):
    """A username and password."""

    username: str = Field(max_length=1024)
    password: str = Field(max_length=1024)


class SignInForm(BaseModel):
    """A username and password as OAuth 2.0 form fields; other OAuth fields are ignored."""

    model_config = ConfigDict(json_schema_extra={"required": ["username", "password"]})

    grant_type: Literal["password"] | None = None
    username: str = ""
    password: str = Field(default="", json_schema_extra={"format": "password"})


class UserIn(BaseModel):
    """A new user."""

    name: Name
    password: Password
    is_admin: bool = False


class UserChange(BaseModel):
    """Changes to a user; null leaves a field unchanged."""

    password: Password | None = None
    is_admin: bool | None = None
    is_active: bool | None = None


class PasswordChange(BaseModel):
    """The current and the new password of the signed-in user."""

    current: str = Field(max_length=1024)
    new: Password


class ServiceTokenIn(BaseModel):
    """The service, origin and lifetime of a new service token."""

    service: str = Field(max_length=200)
    origin: Origin
    expiration_in_days: int = Field(default=1, ge=1, le=180)


class ConfigTokenIn(BaseModel):
    """The origin and lifetime of a new config token."""

    origin: Origin = "config"
    expiration_in_days: int = Field(default=30, ge=1, le=3650)


class AccessToken(Answer):
    """A user token."""

    access_token: str
    token_type: Literal["bearer"]


class SessionToken(AccessToken):
    """A user token for the web page, with its lifetime in seconds."""

    expires_in: float


class ServiceToken(Answer):
    """A service token. It is shown only once."""

    service_token: str
    token_type: Literal["bearer"]


class ConfigToken(Answer):
    """A config token. It is shown only once."""

    config_token: str
    token_type: Literal["bearer"]


class TokenOut(Answer):
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


class UserOut(Answer):
    """A user, without the password hash."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    is_admin: bool
    is_active: bool
    created: datetime


class SessionOut(Answer):
    """A signed-in browser; `current` is true for the one that sent the request."""

    id: str
    created: datetime
    expires: datetime
    last_used: datetime | None
    user_agent: str
    current: bool
