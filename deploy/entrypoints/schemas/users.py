"""Schemas for users."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from deploy.domain.passwords import MAX_PASSWORD
from deploy.entrypoints.schemas.common import Name, Password, ResponseModel


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

    current: str = Field(max_length=MAX_PASSWORD)
    new: Password


class UserOut(ResponseModel):
    """A user, without the password hash."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    is_admin: bool
    is_active: bool
    created: datetime
