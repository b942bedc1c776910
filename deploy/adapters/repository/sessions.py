"""Store browser sessions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ARRAY, Text, any_, bindparam, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.adapters.orm import sessions, users
from deploy.adapters.repository.mapped import columns_in_field_order, current
from deploy.domain.fields import names_of
from deploy.domain.model import BrowserSession, User

TOUCH_EVERY = timedelta(minutes=1)

_WIDTH = len(names_of(BrowserSession))
# A changed password increments the user's epoch, which ends their sessions.
_OF_USER = sessions.join(users, (users.c.id == sessions.c.user_id) & (users.c.epoch == sessions.c.user_epoch))
_FIND_VALID = (
    select(*columns_in_field_order(BrowserSession), *columns_in_field_order(User))
    .select_from(_OF_USER)
    .where(sessions.c.id == bindparam("id"), sessions.c.expires > bindparam("now"), users.c.is_active)
)
_LIST = current(
    select(BrowserSession)
    .select_from(_OF_USER)
    .where(sessions.c.user_id == bindparam("user_id"), sessions.c.expires > bindparam("now"))
    .order_by(sessions.c.created.desc(), sessions.c.id)
)
_TOUCH = (
    update(sessions)
    .where(
        sessions.c.id == bindparam("session_id"),
        or_(sessions.c.last_used.is_(None), sessions.c.last_used <= bindparam("due")),
    )
    .values(last_used=bindparam("now"))
)
_END = delete(sessions).where(
    or_(sessions.c.id == any_(bindparam("ids", type_=ARRAY(Text))), sessions.c.expires < func.now())
)


class Sessions:
    """Sessions of signed-in browsers."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, browser: BrowserSession) -> None:
        """Store a session."""
        self._session.add(browser)
        await self._session.flush()

    async def find_valid(self, session_id: str, now: datetime) -> tuple[BrowserSession, User] | None:
        """Return a session and its user, or None if it expired, the user is disabled, or the password changed.

        Changes to these objects are not stored.
        """
        row = (await self._session.execute(_FIND_VALID, {"id": session_id, "now": now})).first()
        return None if row is None else (BrowserSession(*row[:_WIDTH]), User(*row[_WIDTH:]))

    async def of(self, user_id: int, now: datetime) -> Sequence[BrowserSession]:
        """Return the valid sessions of a user, newest first."""
        return (await self._session.scalars(_LIST, {"user_id": user_id, "now": now})).all()

    async def touch(self, browser: BrowserSession, now: datetime) -> None:
        """Record that a session was used. Write at most once a minute."""
        due = now - TOUCH_EVERY
        if browser.last_used is None or browser.last_used <= due:
            await self._session.execute(_TOUCH, {"session_id": browser.id, "now": now, "due": due})

    async def end(self, session_ids: Sequence[str]) -> None:
        """Delete these sessions and all expired ones."""
        await self._session.execute(_END, {"ids": list(session_ids)})
