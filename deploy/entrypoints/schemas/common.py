"""What bodies and parameters have in common."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Name = Annotated[str, Field(min_length=1, max_length=64)]
Password = Annotated[str, Field(min_length=8, max_length=1024)]
Origin = Annotated[str, Field(min_length=1, max_length=200)]
LARGEST = 2**63 - 1
Id = Annotated[int, Field(ge=1, le=LARGEST)]


def in_utc(moment: datetime) -> datetime:
    """Return a time in UTC; one that does not say where it is from is in UTC already."""
    try:
        return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)
    except OverflowError as error:
        raise ValueError("This time is out of range.") from error


Moment = Annotated[datetime, AfterValidator(in_utc)]


class Answer(BaseModel):
    """An answer's body. It is built once it is needed, which in the first seconds few are."""

    model_config = ConfigDict(defer_build=True)


class Detail(Answer):
    """A sentence."""

    detail: str


RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
# What a route answers that checks or hashes a password.
TOO_MANY_ATTEMPTS: dict[str, Any] = {
    "model": Detail,
    "description": "Too many wrong passwords, or too many attempts at once.",
    "headers": RETRY_AFTER,
}
OVERLOADED: dict[str, Any] = {
    "model": Detail,
    "description": "Too many passwords are being checked, or the database is away; nothing was changed.",
    "headers": RETRY_AFTER,
}


class Health(Answer):
    """Whether the process works, and if not, why."""

    status: str
    reasons: list[str]
