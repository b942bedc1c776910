"""Turn a token into an actor, against PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from deploy.adapters.tokens import TokenSigner
from deploy.domain.commands import (
    ChangeUser,
    EndSessions,
    OpenSession,
    RegisterConfigToken,
    RegisterServiceToken,
    RevokeToken,
)
from deploy.domain.errors import NotSignedIn
from deploy.domain.model import TokenKind
from deploy.domain.policy import WORKER, Actor, TokenType
from deploy.service_layer import authentication
from deploy.service_layer.authentication import Authenticator
from deploy.service_layer.unit_of_work import UnitOfWork
from tests.site import Site

HOUR = timedelta(hours=1)
ANY = frozenset(TokenType)
TIMEOUT = 20.0


class Gateway:
    """Creates tokens and authenticates with them."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.signer = TokenSigner("k" * 40)
        self.authenticator = Authenticator(self.signer, site.open_uow, site.clock)

    def token(self, kind: TokenType, subject: object, *, token_id: str | None = None, **extra: Any) -> str:
        return self.signer.sign(
            kind.value, str(subject), now=self.site.clock.now, lifetime=HOUR, token_id=token_id, **extra
        )

    async def registered(
        self, kind: TokenKind, user_id: int | None = None, service: str | None = None, token_id: str = "t1"
    ) -> str:
        """Return a recorded service or config token."""
        expires = self.site.clock.now + HOUR
        command = (
            RegisterConfigToken(token_id=token_id, origin="GitHub", expires=expires, user_id=user_id)
            if service is None
            else RegisterServiceToken(
                token_id=token_id, service_name=service, origin="GitHub", expires=expires, user_id=user_id
            )
        )
        await self.site.bus.handle(command, by=WORKER)
        return self.token(TokenType(kind.value), "x", token_id=token_id)

    async def actor_of(self, token: str, kinds: frozenset[TokenType] = ANY) -> Actor:
        return await self.authenticator.authenticate(token, kinds)

    async def is_rejected(self, token: str, kinds: frozenset[TokenType] = ANY) -> bool:
        """Return True if the token is rejected with the same message as every other rejected token."""
        try:
            await self.actor_of(token, kinds)
        except NotSignedIn as error:
            return str(error) == "Could not validate credentials"
        return False


@pytest.fixture
def gateway(site: Site) -> Gateway:
    return Gateway(site)


class TestUserTokens:
    async def test_a_token_identifies_a_user(self, gateway: Gateway, site: Site) -> None:
        user_id = await site.user("ada")
        actor = await gateway.actor_of(gateway.token(TokenType.USER, user_id, epoch=0))
        assert (actor.kind, actor.name, actor.user_id, actor.is_admin) == (TokenType.USER, "ada", user_id, True)
        assert actor.expires == (site.clock.now + HOUR).timestamp()

    async def test_a_password_change_revokes_tokens(self, gateway: Gateway, site: Site) -> None:
        user_id = await site.user("ada")
        token = gateway.token(TokenType.USER, user_id, epoch=0)
        await gateway.actor_of(token)
        await site.bus.handle(ChangeUser(user_id=user_id, password_hash="new"), by=WORKER)
        gateway.authenticator.invalidate()
        assert await gateway.is_rejected(token)
        assert not await gateway.is_rejected(gateway.token(TokenType.USER, user_id, epoch=1))

    async def test_disabling_a_user_revokes_tokens(self, gateway: Gateway, site: Site) -> None:
        await site.user("ada")
        user_id = await site.user("bob")
        await site.bus.handle(ChangeUser(user_id=user_id, is_active=False), by=WORKER)
        assert await gateway.is_rejected(gateway.token(TokenType.USER, user_id, epoch=1))

    @pytest.mark.parametrize("subject", ["0", "999999999", "ada", "", "1.5", "-1"])
    async def test_an_unknown_subject_is_rejected(self, gateway: Gateway, subject: str) -> None:
        assert await gateway.is_rejected(gateway.token(TokenType.USER, subject, epoch=0))

    @pytest.mark.parametrize("extra", [{}, {"epoch": None}, {"epoch": "0"}, {"epoch": 1}])
    async def test_a_wrong_epoch_is_rejected(self, gateway: Gateway, site: Site, extra: dict[str, Any]) -> None:
        assert await gateway.is_rejected(gateway.token(TokenType.USER, await site.user(), **extra))


class TestForgedClaims:
    """Claims signed with our key, which an attacker would have to know."""

    @pytest.mark.parametrize(
        ("kind", "subject", "extra"),
        [
            (TokenType.DEPLOYMENT, "x", {}),
            (TokenType.DEPLOYMENT, "9" * 5000, {}),
            (TokenType.USER, "9" * 30, {}),
            (TokenType.USER, "9" * 5000, {}),
            (TokenType.USER, "1", {"session": "a\x00b"}),
            (TokenType.USER, "1", {"session": {"a": 1}}),
            (TokenType.SERVICE, "x", {"token_id": "a\x00b"}),
        ],
    )
    async def test_malformed_claims_are_rejected(
        self, gateway: Gateway, kind: TokenType, subject: str, extra: dict[str, Any]
    ) -> None:
        assert await gateway.is_rejected(gateway.token(kind, subject, **extra))


class TestBrowserTokens:
    async def test_a_token_names_its_session_and_ends_with_it(self, gateway: Gateway, site: Site) -> None:
        user_id = await site.user("ada")
        for session_id in ("s1", "s2"):
            await site.bus.handle(
                OpenSession(session_id=session_id, user_id=user_id, expires=site.clock.now + 2 * HOUR), by=WORKER
            )
        first, second = (gateway.token(TokenType.USER, user_id, epoch=0, session=name) for name in ("s1", "s2"))
        assert (await gateway.actor_of(first)).session == "s1"
        await site.bus.handle(EndSessions(user_id=user_id, session_id="s1"), by=WORKER)
        gateway.authenticator.invalidate()
        assert await gateway.is_rejected(first)
        assert not await gateway.is_rejected(second)

    async def test_other_sessions_stay_cached_when_one_is_invalidated(self, gateway: Gateway, site: Site) -> None:
        ada, bob = await site.user("ada"), await site.user("bob")
        tokens = {user_id: gateway.token(TokenType.USER, user_id, epoch=0) for user_id in (ada, bob)}
        for user_id, token in tokens.items():
            await gateway.actor_of(token)
            await site.bus.handle(ChangeUser(user_id=user_id, password_hash="new"), by=WORKER)
        gateway.authenticator.invalidate(ada)
        assert await gateway.is_rejected(tokens[ada])
        assert not await gateway.is_rejected(tokens[bob])

    async def test_a_session_of_another_user_is_rejected(self, gateway: Gateway, site: Site) -> None:
        user_id, other = await site.user("ada"), await site.user("bob")
        await site.bus.handle(OpenSession(session_id="s1", user_id=other, expires=site.clock.now + HOUR), by=WORKER)
        assert await gateway.is_rejected(gateway.token(TokenType.USER, user_id, epoch=0, session="s1"))

    async def test_last_use_is_recorded_once_a_minute(self, gateway: Gateway, site: Site) -> None:
        user_id, first = await site.user("ada"), site.clock.now
        await site.bus.handle(OpenSession(session_id="s1", user_id=user_id, expires=first + HOUR), by=WORKER)
        token, uses = gateway.token(TokenType.USER, user_id, epoch=0, session="s1"), []
        for _ in range(3):
            gateway.authenticator.invalidate()
            await gateway.actor_of(token)
            async with site.open_uow() as uow:
                uses += [browser.last_used for browser in await uow.sessions.of(user_id, site.clock.now)]
            site.clock.advance(31)
        assert uses == [first, first, first + timedelta(seconds=62)]


class TestRecordedTokens:
    async def test_a_service_token_identifies_service_user_and_origin(self, gateway: Gateway, site: Site) -> None:
        user_id, service_id = await site.user("ada"), await site.service("shop")
        actor = await gateway.actor_of(await gateway.registered(TokenKind.SERVICE, user_id, "shop"))
        assert (actor.kind, actor.service_id, actor.origin) == (TokenType.SERVICE, service_id, "GitHub")
        # As that user, but without administrator rights.
        assert (actor.name, actor.user_id, actor.is_admin) == ("ada", user_id, False)

    async def test_a_config_token_does_not_need_a_user(self, gateway: Gateway) -> None:
        actor = await gateway.actor_of(await gateway.registered(TokenKind.CONFIG))
        assert (actor.kind, actor.name, actor.user_id, actor.service_id) == (TokenType.CONFIG, "", None, None)

    async def test_a_token_without_a_record_is_rejected(self, gateway: Gateway) -> None:
        assert await gateway.is_rejected(gateway.token(TokenType.SERVICE, "x", token_id="never recorded"))

    async def test_a_record_of_another_type_is_rejected(self, gateway: Gateway) -> None:
        await gateway.registered(TokenKind.CONFIG)
        assert await gateway.is_rejected(gateway.token(TokenType.SERVICE, "x", token_id="t1"))

    async def test_a_revoked_token_is_rejected(self, gateway: Gateway, site: Site) -> None:
        token = await gateway.registered(TokenKind.CONFIG)
        await gateway.actor_of(token)
        await site.bus.handle(RevokeToken(token_id="t1"), by=WORKER)
        gateway.authenticator.invalidate()
        assert await gateway.is_rejected(token)

    async def test_last_use_of_a_token_is_recorded_once_a_minute(self, gateway: Gateway, site: Site) -> None:
        token = await gateway.registered(TokenKind.CONFIG)
        first = site.clock.now
        uses = []
        for _ in range(3):
            gateway.authenticator.invalidate()
            await gateway.actor_of(token)
            async with site.open_uow() as uow:
                uses.append((await uow.tokens.get("t1")).last_used)
            site.clock.advance(31)
        assert uses == [first, first, first + timedelta(seconds=62)]


class TestDeploymentTokens:
    async def test_a_token_identifies_its_deployment(self, gateway: Gateway) -> None:
        actor = await gateway.actor_of(gateway.token(TokenType.DEPLOYMENT, 7))
        assert (actor.kind, actor.deployment_id, actor.user_id) == (TokenType.DEPLOYMENT, 7, None)

    async def test_other_token_types_are_rejected(self, gateway: Gateway) -> None:
        assert await gateway.is_rejected(gateway.token(TokenType.DEPLOYMENT, 7), ANY - {TokenType.DEPLOYMENT})


class TestCache:
    async def test_a_cached_actor_is_only_valid_for_the_requested_types(self, gateway: Gateway, site: Site) -> None:
        token = gateway.token(TokenType.USER, await site.user(), epoch=0)
        await gateway.actor_of(token)
        assert await gateway.is_rejected(token, frozenset({TokenType.SERVICE}))

    async def test_entries_are_used_for_a_short_time(
        self, gateway: Gateway, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        user_id = await site.user("ada")
        token = gateway.token(TokenType.USER, user_id, epoch=0)
        await gateway.actor_of(token)
        await site.bus.handle(ChangeUser(user_id=user_id, password_hash="new"), by=WORKER)
        assert not await gateway.is_rejected(token)
        monkeypatch.setattr(authentication, "CACHE_SECONDS", 0.0)
        gateway.authenticator.invalidate()
        assert await gateway.is_rejected(token)

    async def test_the_cache_is_bounded(self, gateway: Gateway, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(authentication, "CACHE_SIZE", 3)
        for number in range(10):
            await gateway.actor_of(gateway.token(TokenType.DEPLOYMENT, number))
            assert len(gateway.authenticator._cache) <= 3

    async def test_rejections_are_not_cached(self, gateway: Gateway, site: Site) -> None:
        token = gateway.token(TokenType.CONFIG, "x", token_id="t1")
        assert await gateway.is_rejected(token)
        await gateway.registered(TokenKind.CONFIG)
        assert not await gateway.is_rejected(token)

    async def test_an_invalidation_during_a_lookup_applies(self, gateway: Gateway, site: Site) -> None:
        """The lookup in progress started before the invalidation."""

        @asynccontextmanager
        async def interrupted() -> AsyncIterator[UnitOfWork]:
            async with site.open_uow() as uow:
                yield uow
            authenticator.invalidate()

        authenticator = Authenticator(gateway.signer, interrupted, site.clock)
        token = gateway.token(TokenType.USER, await site.user("ada"), epoch=0)
        await authenticator.authenticate(token, ANY)
        assert not authenticator._cache
