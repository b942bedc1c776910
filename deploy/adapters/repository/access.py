"""Users, their browser sessions, and the records of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.adapters import orm
from deploy.domain.errors import Conflict, NotFound
from deploy.domain.model import BrowserSession, Token, User

THROTTLE_WINDOW = timedelta(minutes=5)
TOUCH_EVERY = timedelta(minutes=1)


class Users:
    """Who may sign in."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, user: User) -> None:
        """Store a new user and give him his id.

        Raises:
            Conflict: the name is taken.
        """
        self._session.add(user)
        try:
            await self._session.flush()
        except IntegrityError as error:
            raise Conflict(f"There is a user named {user.name} already.") from error

    async def get(self, user_id: int) -> User:
        """Return a user.

        Raises:
            NotFound: there is none with that id.
        """
        user = await self._session.get(User, user_id)
        if user is None:
            raise NotFound("User not found")
        return user

    async def find(self, name: str) -> User | None:
        """Return the user of that name, if any."""
        found: User | None = await self._session.scalar(select(User).where(orm.users.c.name == name))
        return found

    async def list(self) -> Sequence[User]:
        """Return all users by name."""
        return (await self._session.scalars(select(User).order_by(orm.users.c.name))).all()

    async def count(self) -> int:
        """Return how many users there are."""
        return await self._session.scalar(select(func.count()).select_from(orm.users)) or 0

    async def administrators_for_update(self) -> Sequence[int]:
        """Return the ids of the administrators who can sign in, locked against changes."""
        can_sign_in = (orm.users.c.is_admin, orm.users.c.is_active)
        query = select(orm.users.c.id).where(*can_sign_in).order_by(orm.users.c.id).with_for_update()
        return (await self._session.scalars(query)).all()


class Sessions:
    """Browsers that are signed in."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, browser: BrowserSession) -> None:
        """Remember a browser."""
        self._session.add(browser)
        await self._session.flush()

    async def find_valid(self, session_id: str, now: datetime) -> tuple[BrowserSession, User] | None:
        """Return the session and its user, unless it is over: expired, user disabled, password changed."""
        query = (
            select(BrowserSession, User)
            .join(orm.users, orm.users.c.id == orm.sessions.c.user_id)
            .where(
                orm.sessions.c.id == session_id,
                orm.sessions.c.expires > now,
                orm.users.c.is_active,
                orm.users.c.epoch == orm.sessions.c.user_epoch,
            )
        )
        row = (await self._session.execute(query)).first()
        return (row[0], row[1]) if row else None

    async def of(self, user_id: int, now: datetime) -> Sequence[BrowserSession]:
        """Return the sessions of a user that are not over, the newest first."""
        query = (
            select(BrowserSession)
            .join(orm.users, orm.users.c.id == orm.sessions.c.user_id)
            .where(
                orm.sessions.c.user_id == user_id,
                orm.sessions.c.expires > now,
                orm.users.c.epoch == orm.sessions.c.user_epoch,
            )
            .order_by(orm.sessions.c.created.desc(), orm.sessions.c.id)
        )
        return (await self._session.scalars(query)).all()

    async def touch(self, browser: BrowserSession, now: datetime) -> None:
        """Remember when a browser was used last, not more than once a minute."""
        if browser.last_used is not None and now - browser.last_used < TOUCH_EVERY:
            return
        due = orm.sessions.c.last_used.is_(None) | (orm.sessions.c.last_used <= now - TOUCH_EVERY)
        statement = update(orm.sessions).where(orm.sessions.c.id == browser.id, due).values(last_used=now)
        await self._session.execute(statement, execution_options={"synchronize_session": False})

    async def end(self, session_ids: Sequence[str]) -> None:
        """Forget these browsers."""
        await self._session.execute(delete(orm.sessions).where(orm.sessions.c.id.in_(session_ids)))

    async def remove(self, session_id: str) -> int | None:
        """Forget a browser, and those whose time is over; return the id of its user, if it was known."""
        gone = (orm.sessions.c.id == session_id) | (orm.sessions.c.expires < func.now())
        statement = delete(orm.sessions).where(gone).returning(orm.sessions.c.id, orm.sessions.c.user_id)
        return {row.id: row.user_id for row in await self._session.execute(statement)}.get(session_id)


class Logins:
    """Wrong passwords of the last minutes."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add_failure(self, account: str, address: str) -> None:
        """Remember one, and forget those that do not count any more."""
        old = orm.login_failures.c.at < func.now() - THROTTLE_WINDOW
        await self._session.execute(delete(orm.login_failures).where(old))
        await self._session.execute(insert(orm.login_failures).values(account=account[:200], address=address))

    async def failures(self, account: str, address: str) -> tuple[int, int]:
        """Return how many there were lately (for the account, from the address)."""
        lately = orm.login_failures.c.at > func.now() - THROTTLE_WINDOW
        count = func.count()
        by_account = select(count).where(orm.login_failures.c.account == account[:200], lately).scalar_subquery()
        by_address = select(count).where(orm.login_failures.c.address == address, lately).scalar_subquery()
        row = (await self._session.execute(select(by_account, by_address))).one()
        return row[0], row[1]


class Tokens:
    """The records of service and config tokens."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def add(self, token: Token) -> None:
        """Record a token."""
        self._session.add(token)
        await self._session.flush()

    async def get(self, token_id: str) -> Token:
        """Return the record of a token.

        Raises:
            NotFound: there is none with that id.
        """
        token = await self._session.get(Token, token_id)
        if token is None:
            raise NotFound("Token not found")
        return token

    async def find_valid(self, token_id: str, now: datetime) -> tuple[Token, User | None] | None:
        """Return a token that still counts, and the user who stands behind it."""
        query = (
            select(Token, User)
            .outerjoin(orm.users, orm.users.c.id == orm.tokens.c.user_id)
            .where(
                orm.tokens.c.id == token_id,
                orm.tokens.c.revoked.is_(None),
                orm.tokens.c.expires > now,
                orm.tokens.c.user_id.is_(None) | orm.users.c.is_active,
            )
        )
        row = (await self._session.execute(query)).first()
        return (row[0], row[1]) if row else None

    async def touch(self, token_id: str, now: datetime) -> None:
        """Remember when a token was used last."""
        await self._session.execute(update(orm.tokens).where(orm.tokens.c.id == token_id).values(last_used=now))

    async def list(
        self, *, user_id: int | None = None, service_id: int | None = None
    ) -> Sequence[tuple[Token, str | None, str | None]]:
        """Return (token, service name or None, user name or None), newest first; of one user or service if given."""
        query = (
            select(Token, orm.services.c.name, orm.users.c.name)
            .outerjoin(orm.services, orm.services.c.id == orm.tokens.c.service_id)
            .outerjoin(orm.users, orm.users.c.id == orm.tokens.c.user_id)
            .order_by(orm.tokens.c.created.desc())
        )
        if user_id is not None:
            query = query.where(orm.tokens.c.user_id == user_id)
        if service_id is not None:
            query = query.where(orm.tokens.c.service_id == service_id)
        return [(token, service, user) for token, service, user in await self._session.execute(query)]
