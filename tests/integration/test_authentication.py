"""From a token to the one who is asking, against PostgreSQL."""

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
PATIENCE = 20.0


class Door:
    """Makes tokens and shows them."""

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
        """Return a service or config token that has a row."""
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

    async def ask(self, token: str, kinds: frozenset[TokenType] = ANY) -> Actor:
        return await self.authenticator.authenticate(token, kinds)

    async def refused(self, token: str, kinds: frozenset[TokenType] = ANY) -> bool:
        """Whether the token does not count, for the one reason that is ever given."""
        try:
            await self.ask(token, kinds)
        except NotSignedIn as error:
            return str(error) == "Could not validate credentials"
        return False


@pytest.fixture
def door(site: Site) -> Door:
    return Door(site)


class TestUserTokens:
    async def test_they_stand_for_a_user(self, door: Door, site: Site) -> None:
        user_id = await site.user("ada")
        actor = await door.ask(door.token(TokenType.USER, user_id, epoch=0))
        assert (actor.kind, actor.name, actor.user_id, actor.is_admin) == (TokenType.USER, "ada", user_id, True)
        assert actor.expires == (site.clock.now + HOUR).timestamp()

    async def test_they_end_with_a_change_of_password(self, door: Door, site: Site) -> None:
        user_id = await site.user("ada")
        token = door.token(TokenType.USER, user_id, epoch=0)
        await door.ask(token)
        await site.bus.handle(ChangeUser(user_id=user_id, password_hash="new"), by=WORKER)
        door.authenticator.forget()
        assert await door.refused(token)
        assert not await door.refused(door.token(TokenType.USER, user_id, epoch=1))

    async def test_they_end_when_the_user_is_disabled(self, door: Door, site: Site) -> None:
        await site.user("ada")
        user_id = await site.user("bob")
        await site.bus.handle(ChangeUser(user_id=user_id, is_active=False), by=WORKER)
        assert await door.refused(door.token(TokenType.USER, user_id, epoch=1))

    @pytest.mark.parametrize("subject", ["0", "999999999", "ada", "", "1.5", "-1"])
    async def test_nobody_is_nobody(self, door: Door, subject: str) -> None:
        assert await door.refused(door.token(TokenType.USER, subject, epoch=0))

    @pytest.mark.parametrize("extra", [{}, {"epoch": None}, {"epoch": "0"}, {"epoch": 1}])
    async def test_the_epoch_counts(self, door: Door, site: Site, extra: dict[str, Any]) -> None:
        assert await door.refused(door.token(TokenType.USER, await site.user(), **extra))


class TestForgedClaims:
    """Signed with our key, which somebody else must have."""

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
    async def test_what_cannot_be_looked_up_is_refused(
        self, door: Door, kind: TokenType, subject: str, extra: dict[str, Any]
    ) -> None:
        assert await door.refused(door.token(kind, subject, **extra))


class TestBrowsersTokens:
    async def test_they_name_their_session_and_end_with_it(self, door: Door, site: Site) -> None:
        user_id = await site.user("ada")
        for session_id in ("s1", "s2"):
            await site.bus.handle(
                OpenSession(session_id=session_id, user_id=user_id, expires=site.clock.now + 2 * HOUR), by=WORKER
            )
        first, second = (door.token(TokenType.USER, user_id, epoch=0, session=name) for name in ("s1", "s2"))
        assert (await door.ask(first)).session == "s1"
        await site.bus.handle(EndSessions(user_id=user_id, session_id="s1"), by=WORKER)
        door.authenticator.forget()
        assert await door.refused(first)
        assert not await door.refused(second)

    async def test_others_are_remembered_when_one_is_forgotten(self, door: Door, site: Site) -> None:
        ada, bob = await site.user("ada"), await site.user("bob")
        tokens = {user_id: door.token(TokenType.USER, user_id, epoch=0) for user_id in (ada, bob)}
        for user_id, token in tokens.items():
            await door.ask(token)
            await site.bus.handle(ChangeUser(user_id=user_id, password_hash="new"), by=WORKER)
        door.authenticator.forget(ada)
        assert await door.refused(tokens[ada])
        assert not await door.refused(tokens[bob])

    async def test_a_session_of_somebody_else_is_none(self, door: Door, site: Site) -> None:
        user_id, other = await site.user("ada"), await site.user("bob")
        await site.bus.handle(OpenSession(session_id="s1", user_id=other, expires=site.clock.now + HOUR), by=WORKER)
        assert await door.refused(door.token(TokenType.USER, user_id, epoch=0, session="s1"))

    async def test_the_last_use_is_noted_once_a_minute(self, door: Door, site: Site) -> None:
        user_id, first = await site.user("ada"), site.clock.now
        await site.bus.handle(OpenSession(session_id="s1", user_id=user_id, expires=first + HOUR), by=WORKER)
        token, uses = door.token(TokenType.USER, user_id, epoch=0, session="s1"), []
        for _ in range(3):
            door.authenticator.forget()
            await door.ask(token)
            async with site.open_uow() as uow:
                uses += [browser.last_used for browser in await uow.sessions.of(user_id, site.clock.now)]
            site.clock.advance(31)
        assert uses == [first, first, first + timedelta(seconds=62)]


class TestRecordedTokens:
    async def test_a_service_token_stands_for_service_user_and_origin(self, door: Door, site: Site) -> None:
        user_id, service_id = await site.user("ada"), await site.service("shop")
        actor = await door.ask(await door.registered(TokenKind.SERVICE, user_id, "shop"))
        assert (actor.kind, actor.service_id, actor.origin) == (TokenType.SERVICE, service_id, "GitHub")
        # As that user, but not with an administrator's rights.
        assert (actor.name, actor.user_id, actor.is_admin) == ("ada", user_id, False)

    async def test_a_config_token_may_stand_for_nobody(self, door: Door) -> None:
        actor = await door.ask(await door.registered(TokenKind.CONFIG))
        assert (actor.kind, actor.name, actor.user_id, actor.service_id) == (TokenType.CONFIG, "", None, None)

    async def test_without_a_row_they_are_worthless(self, door: Door) -> None:
        assert await door.refused(door.token(TokenType.SERVICE, "x", token_id="never recorded"))

    async def test_the_row_is_of_the_same_type(self, door: Door) -> None:
        await door.registered(TokenKind.CONFIG)
        assert await door.refused(door.token(TokenType.SERVICE, "x", token_id="t1"))

    async def test_a_revoked_one_is_worthless(self, door: Door, site: Site) -> None:
        token = await door.registered(TokenKind.CONFIG)
        await door.ask(token)
        await site.bus.handle(RevokeToken(token_id="t1"), by=WORKER)
        door.authenticator.forget()
        assert await door.refused(token)

    async def test_its_last_use_is_noted_once_a_minute(self, door: Door, site: Site) -> None:
        token = await door.registered(TokenKind.CONFIG)
        first = site.clock.now
        uses = []
        for _ in range(3):
            door.authenticator.forget()
            await door.ask(token)
            async with site.open_uow() as uow:
                uses.append((await uow.tokens.get("t1")).last_used)
            site.clock.advance(31)
        assert uses == [first, first, first + timedelta(seconds=62)]


class TestDeploymentTokens:
    async def test_they_stand_for_one_deployment(self, door: Door) -> None:
        actor = await door.ask(door.token(TokenType.DEPLOYMENT, 7))
        assert (actor.kind, actor.deployment_id, actor.user_id) == (TokenType.DEPLOYMENT, 7, None)

    async def test_they_are_good_for_nothing_else(self, door: Door) -> None:
        assert await door.refused(door.token(TokenType.DEPLOYMENT, 7), ANY - {TokenType.DEPLOYMENT})


class TestMemory:
    async def test_an_answer_is_good_for_the_types_that_are_asked_for_only(self, door: Door, site: Site) -> None:
        token = door.token(TokenType.USER, await site.user(), epoch=0)
        await door.ask(token)
        assert await door.refused(token, frozenset({TokenType.SERVICE}))

    async def test_it_is_used_for_a_moment(self, door: Door, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        user_id = await site.user("ada")
        token = door.token(TokenType.USER, user_id, epoch=0)
        await door.ask(token)
        await site.bus.handle(ChangeUser(user_id=user_id, password_hash="new"), by=WORKER)
        assert not await door.refused(token)
        monkeypatch.setattr(authentication, "CACHE_SECONDS", 0.0)
        door.authenticator.forget()
        assert await door.refused(token)

    async def test_it_is_bounded(self, door: Door, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(authentication, "CACHE_SIZE", 3)
        for number in range(10):
            await door.ask(door.token(TokenType.DEPLOYMENT, number))
            assert len(door.authenticator._known) <= 3

    async def test_what_was_refused_is_not_remembered(self, door: Door, site: Site) -> None:
        token = door.token(TokenType.SERVICE, "x", token_id="t1")
        assert await door.refused(token)
        await door.registered(TokenKind.SERVICE)
        assert not await door.refused(token)

    async def test_news_that_comes_while_the_database_is_asked_counts(self, door: Door, site: Site) -> None:
        """The answer that is on its way is older than the news."""

        @asynccontextmanager
        async def interrupted() -> AsyncIterator[UnitOfWork]:
            async with site.open_uow() as uow:
                yield uow
            authenticator.forget()

        authenticator = Authenticator(door.signer, interrupted, site.clock)
        token = door.token(TokenType.USER, await site.user("ada"), epoch=0)
        await authenticator.authenticate(token, ANY)
        assert not authenticator._known
