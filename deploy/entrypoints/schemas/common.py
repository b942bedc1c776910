"""Types and responses shared by several routes."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from deploy.domain.passwords import MAX_PASSWORD, MIN_PASSWORD
from deploy.domain.rules import MAX_ORIGIN, MAX_USERNAME

Name = Annotated[str, Field(min_length=1, max_length=MAX_USERNAME)]
Password = Annotated[str, Field(min_length=MIN_PASSWORD, max_length=MAX_PASSWORD)]
Origin = Annotated[str, Field(min_length=1, max_length=MAX_ORIGIN)]
MAX_ID = 2**63 - 1
Id = Annotated[int, Field(ge=1, le=MAX_ID)]


def in_utc(moment: datetime) -> datetime:
    """Return a time in UTC. Treat a time without an offset as UTC."""
    try:
        return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)
    except OverflowError as error:
        raise ValueError("The time is out of range.") from error


Moment = Annotated[datetime, AfterValidator(in_utc)]


class ResponseModel(BaseModel):
    """Base class of response bodies. Models are built on first use, which speeds up the start."""

    model_config = ConfigDict(defer_build=True)


class Detail(ResponseModel):
    """A message."""

    detail: str


RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
# Responses of routes that check or hash a password.
TOO_MANY_ATTEMPTS: dict[str, Any] = {
    "model": Detail,
    "description": "Too many wrong passwords, or too many simultaneous attempts.",
    "headers": RETRY_AFTER,
}
OVERLOADED: dict[str, Any] = {
    "model": Detail,
    "description": "Too many passwords are being checked, or the database cannot be reached. Nothing was changed.",
    "headers": RETRY_AFTER,
}


TOO_MANY_WAITING: dict[str, Any] = {
    "model": Detail,
    "description": "Too many deployments of the service, or of the user, are waiting.",
    "headers": RETRY_AFTER,
}


class Health(ResponseModel):
    """The health of the process; `reasons` says why it is unavailable."""

    status: str
    reasons: list[str]
