"""Bodies of requests."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from deploy.domain.model import StepState
from deploy.entrypoints.schemas.fields import Moment, Name, Origin, Password


class SignIn(BaseModel):
    """Name and password."""

    username: str = Field(max_length=1024)
    password: str = Field(max_length=1024)


class SignInForm(BaseModel):
    """Name and password, as OAuth 2 sends them; what else it knows is ignored."""

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
    """What to change of a user; null leaves it as it is."""

    password: Password | None = None
    is_admin: bool | None = None
    is_active: bool | None = None


class PasswordChange(BaseModel):
    """A user's own new password."""

    current: str = Field(max_length=1024)
    new: Password


class ServiceTokenIn(BaseModel):
    """For which service, who uses it, for how long."""

    service: str = Field(max_length=200)
    origin: Origin
    expiration_in_days: int = Field(default=1, ge=1, le=180)


class ConfigTokenIn(BaseModel):
    """Who uses it, for how long."""

    origin: Origin = "config"
    expiration_in_days: int = Field(default=30, ge=1, le=3650)


class DeploymentIn(BaseModel):
    """What the run gets to know."""

    env: dict[str, Any] = Field(default_factory=dict, max_length=1000)


class UserDeploymentIn(DeploymentIn):
    """What the run gets to know, and where the user asks from; `confirm` is the service's name, where it asks for it."""

    origin: Origin = "frontend"
    confirm: str | None = Field(default=None, max_length=200)


class RetryIn(BaseModel):
    """What a retry needs besides what is stored: the secret inputs, and the service's name where it asks for it."""

    env: dict[str, Any] = Field(default_factory=dict, max_length=1000)
    confirm: str | None = Field(default=None, max_length=200)


class StepIn(BaseModel):
    """A step, as a script reports it."""

    name: str = Field(min_length=1, max_length=500)
    state: StepState = StepState.SUCCESS
    started: Moment | None = None
    finished: Moment | None = None
    message: str | None = Field(default="", max_length=65_536)
