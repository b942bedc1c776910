"""Sessions of browsers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(eq=False)
class BrowserSession:
    """A signed-in browser. Only a hash of its cookie is stored."""

    id: str
    user_id: int
    user_epoch: int
    created: datetime
    expires: datetime
    user_agent: str = ""
    last_used: datetime | None = None
