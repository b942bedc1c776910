"""Store browser sessions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import asyncpg

from deploy.adapters.repository.rows import columns_of, session_from, user_from
from deploy.adapters.repository.statement import Statement
from deploy.domain.model import BrowserSession, User

TOUCH_EVERY = timedelta(minutes=1)

_USER = columns_of(User, "u")
_SESSION = columns_of(BrowserSession, "s")
_OF_USER = "FROM sessions AS s JOIN users AS u ON u.id = s.user_id AND u.epoch = s.user_epoch"
_ADD_SESSION = Statement(
    "INSERT INTO sessions (id, user_id, user_epoch, created, expires, last_used, user_agent) "
    "VALUES (:id, :user_id, :user_epoch, :created, :expires, :last_used, :user_agent)"
)
_FIND_SESSION = Statement(
    f"SELECT {_SESSION}, {_USER} {_OF_USER} WHERE s.id = :id AND s.expires > :now AND u.is_active"
)
_LIST_SESSIONS = Statement(
    f"SELECT {_SESSION} {_OF_USER} WHERE s.user_id = :user_id AND s.expires > :now ORDER BY s.created DESC, s.id"
)
_TOUCH_SESSION = Statement(
    "UPDATE sessions SET last_used = :now WHERE id = :id AND (last_used IS NULL OR last_used <= :due)"
)
_END_SESSIONS = Statement("DELETE FROM sessions WHERE id = ANY(:ids) OR expires < now()")


class Sessions:
    """Sessions of signed-in browsers."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def add(self, browser: BrowserSession) -> None:
        """Store a session."""
        await _ADD_SESSION.value(self._driver, **vars(browser))

    async def find_valid(self, session_id: str, now: datetime) -> tuple[BrowserSession, User] | None:
        """Return a session and its user, or None if it expired, the user is disabled, or the password changed."""
        row = await _FIND_SESSION.row(self._driver, id=session_id, now=now)
        if row is None:
            return None
        browser, user = session_from(row)
        return browser, user_from(user)

    async def of(self, user_id: int, now: datetime) -> Sequence[BrowserSession]:
        """Return the valid sessions of a user, newest first."""
        return [session_from(row)[0] for row in await _LIST_SESSIONS.rows(self._driver, user_id=user_id, now=now)]

    async def touch(self, browser: BrowserSession, now: datetime) -> None:
        """Record that a session was used. Write at most once a minute."""
        due = now - TOUCH_EVERY
        if browser.last_used is None or browser.last_used <= due:
            await _TOUCH_SESSION.value(self._driver, id=browser.id, now=now, due=due)

    async def end(self, session_ids: Sequence[str]) -> None:
        """Delete these sessions and all expired ones."""
        await _END_SESSIONS.value(self._driver, ids=list(session_ids))
