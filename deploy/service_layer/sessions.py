"""Sessions of browsers, and the user tokens that they renew."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from deploy.adapters.tokens import TokenSigner, hash_secret, new_secret
from deploy.domain.commands import EndSessions, OpenSession
from deploy.domain.errors import NotSignedIn
from deploy.domain.model import BrowserSession, User
from deploy.domain.policy import TokenType
from deploy.service_layer.authentication import actor_of
from deploy.service_layer.clock import Clock
from deploy.service_layer.messagebus import MessageBus
from deploy.service_layer.unit_of_work import OpenUnitOfWork, UnitOfWork, in_unit_of_work


class BrowserSessions:
    """Opens, renews, and ends the sessions of browsers, and signs user tokens.

    `lifetime` is the lifetime of a session, `token_lifetime` that of a user token.
    """

    def __init__(
        self,
        open_unit_of_work: OpenUnitOfWork,
        bus: MessageBus,
        signer: TokenSigner,
        now: Clock,
        *,
        lifetime: timedelta,
        token_lifetime: timedelta,
    ) -> None:
        self._open_unit_of_work = open_unit_of_work
        self._bus = bus
        self._signer = signer
        self._now = now
        self.lifetime = lifetime
        self.token_lifetime = token_lifetime

    def user_token(self, user: User, **more: str) -> str:
        """Return a new user token. With `session`, it ends with that session."""
        return self._signer.sign(
            TokenType.USER.value,
            str(user.id),
            now=self._now(),
            lifetime=self.token_lifetime,
            name=user.name,
            epoch=user.epoch,
            **more,
        )

    async def open(self, user: User, user_agent: str) -> tuple[str, str]:
        """Open a session for a user who has signed in. Return its secret, for a cookie, and a user token."""
        secret = new_secret()
        session_id, expires = hash_secret(secret), self._now() + self.lifetime
        await self._bus.handle(
            OpenSession(session_id=session_id, user_id=user.id, expires=expires, user_agent=user_agent),
            by=actor_of(user, expires=expires.timestamp(), session=session_id),
        )
        return secret, self.user_token(user, session=session_id)

    async def renew(self, secret: str) -> str:
        """Return a new user token for the session with this secret.

        Raises:
            NotSignedIn: The session has ended.
        """
        found = await in_unit_of_work(self._open_unit_of_work, partial(self._use, secret))
        if found is None:
            raise NotSignedIn("Your session has ended. Sign in again.")
        browser, user = found
        return self.user_token(user, session=browser.id)

    async def close(self, secret: str) -> None:
        """End the session with this secret, if it has not ended."""
        session_id = hash_secret(secret)
        found = await in_unit_of_work(
            self._open_unit_of_work, lambda uow: uow.sessions.find_valid(session_id, self._now())
        )
        if found is not None:
            browser, user = found
            actor = actor_of(user, expires=browser.expires.timestamp(), session=browser.id)
            await self._bus.handle(EndSessions(user_id=user.id, session_id=browser.id), by=actor)

    async def _use(self, secret: str, uow: UnitOfWork) -> tuple[BrowserSession, User] | None:
        found = await uow.sessions.find_valid(hash_secret(secret), self._now())
        if found is not None:
            await uow.sessions.touch(found[0], self._now())
        return found
