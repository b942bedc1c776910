"""Schemas for sign-in."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from deploy.entrypoints.schemas.common import ResponseModel


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


class AccessToken(ResponseModel):
    """A user token."""

    access_token: str
    token_type: Literal["bearer"]


class SessionToken(AccessToken):
    """A user token for the web page, with its lifetime in seconds."""

    expires_in: float
