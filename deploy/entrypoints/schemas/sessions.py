"""Schemas for browser sessions."""

from __future__ import annotations

from datetime import datetime

from deploy.entrypoints.schemas.common import ResponseModel


class SessionOut(ResponseModel):
    """A signed-in browser; `current` is true for the one that sent the request."""

    id: str
    created: datetime
    expires: datetime
    last_used: datetime | None
    user_agent: str
    current: bool
