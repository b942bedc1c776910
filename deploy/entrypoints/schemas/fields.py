"""What fields have in common, in bodies and in paths."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated

from pydantic import AfterValidator, Field

Name = Annotated[str, Field(min_length=1, max_length=64)]
Password = Annotated[str, Field(min_length=8, max_length=1024)]
Origin = Annotated[str, Field(min_length=1, max_length=200)]
Id = Annotated[int, Field(ge=1, le=2**63 - 1)]
LARGEST = 2**63 - 1


def in_utc(moment: datetime) -> datetime:
    """Return a time in UTC; one that does not say where it is from is in UTC already."""
    try:
        return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)
    except OverflowError as error:
        raise ValueError("This time is out of range.") from error


Moment = Annotated[datetime, AfterValidator(in_utc)]
