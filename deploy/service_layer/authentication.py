"""Authentication: turn a token into an actor."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

import asyncpg

from deploy.adapters.repository.sessions import TOUCH_EVERY
from deploy.adapters.tokens import INVALID, Claims, TokenSigner
from deploy.domain.errors import NotFound, NotSignedIn
from deploy.domain.model import User
from deploy.domain.policy import Actor, TokenType, rights_of_token
from deploy.service_layer.access import rights_of_user
from deploy.service_layer.clock import Clock
from deploy.service_layer.unit_of_work import OpenUnitOfWork, UnitOfWork, in_unit_of_work

CACHE_SIZE = 4096
# Seconds. Limits how long stale access is used if a process misses the notification of a revocation.
CACHE_SECONDS = 5.0


class Authenticator:
    """Checks tokens against the database, and caches the results briefly."""

    def __init__(
        self,
        signer: TokenSigner,
        open_unit_of_work: OpenUnitOfWork,
        now: Clock,
    ) -> None:
        self._signer = signer
        self._open_unit_of_work = open_unit_of_work
        self._now = now
        self._cache: dict[str, tuple[float, Actor]] = {}

    async def authenticate(self, token: str, kinds: frozenset[TokenType]) -> Actor:
        """Return the actor of a token that has one of these types.

        Raises:
            NotSignedIn: The token is forged, expired, revoked, or of another type, or its user is disabled.
        """
        cache = self._cache
        until, actor = cache.get(token, (0.0, None))
        if actor is not None and until > time.monotonic() and actor.expires > time.time() and actor.kind in kinds:
            return actor
        claims = self._signer.read(token, frozenset(kind.value for kind in kinds))
        actor = await self._look_up(claims)
        if len(cache) >= CACHE_SIZE:
            cache.clear()
        cache[token] = (time.monotonic() + CACHE_SECONDS, actor)
        return actor

    def invalidate(self, user_id: int | None = None) -> None:
        """Invalidate the cached access of a user, or of all users, because it has changed."""
        others = {token: entry for token, entry in self._cache.items() if entry[1].user_id != user_id}
        # Create a new dict: lookups in progress started before the change, so they must store their results in the old
        # one.
        self._cache = others if user_id is not None else {}

    async def _look_up(self, claims: Claims) -> Actor:
        try:
            return await in_unit_of_work(self._open_unit_of_work, partial(self._actor, claims))
        except (ValueError, asyncpg.DataError) as error:
            # The token is signed with our key but was not issued by us: a claim has a value that the database cannot
            # represent.
            raise NotSignedIn(INVALID) from error

    async def _actor(self, claims: Claims, uow: UnitOfWork) -> Actor:
        kind = TokenType(claims.kind)
        if kind is TokenType.USER:
            return await self._user(claims, uow)
        if kind is TokenType.DEPLOYMENT:
            return Actor(kind=kind, expires=claims.expires, deployment_id=int(claims.subject))
        recorded = await self._recorded(kind, claims, uow)
        return replace(recorded, rights=rights_of_token(recorded))

    async def _user(self, claims: Claims, uow: UnitOfWork) -> Actor:
        session = claims.extra.get("session")
        # A browser's token is valid as long as its session.
        found = None if session is None else await uow.sessions.find_valid(str(session), self._now())
        user = await _account_user(claims, uow) if session is None else found and found[1]
        if not user or str(user.id) != claims.subject or not user.is_active or claims.extra.get("epoch") != user.epoch:
            raise NotSignedIn(INVALID)
        if found is not None:
            await uow.sessions.touch(found[0], self._now())
        signed_in = actor_of(user, expires=claims.expires, session=session)
        return replace(signed_in, rights=await rights_of_user(user, uow))

    async def _recorded(self, kind: TokenType, claims: Claims, uow: UnitOfWork) -> Actor:
        found = await uow.tokens.find_valid(claims.token_id, self._now())
        if found is None or found[0].kind.value != kind.value:
            raise NotSignedIn(INVALID)
        token, user = found
        if token.last_used is None or self._now() - token.last_used > TOUCH_EVERY:
            await uow.tokens.touch(token.id, self._now())
        return Actor(
            kind=kind,
            expires=claims.expires,
            name=user.name if user else "",
            user_id=token.user_id,
            origin=token.origin,
            service_id=token.service_id,
        )


def actor_of(user: User, *, expires: float, session: str | None = None) -> Actor:
    """Return the actor for a user whose identity has been verified."""
    return Actor(
        kind=TokenType.USER,
        expires=expires,
        name=user.name,
        user_id=user.id,
        is_admin=user.is_admin,
        session=session,
    )


async def _account_user(claims: Claims, uow: UnitOfWork) -> User:
    try:
        return await uow.users.get(int(claims.subject))
    except NotFound as error:
        raise NotSignedIn(INVALID) from error
