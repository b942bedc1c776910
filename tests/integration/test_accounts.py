"""Rules that every entry point shares: they hold even if a caller forgets to check its input."""

from __future__ import annotations

from datetime import timedelta

import pytest

from deploy.adapters.tokens import KeyedHash, Passwords, TokenSigner
from deploy.domain.commands import RegisterConfigToken, RegisterServiceToken
from deploy.domain.errors import InvalidInput
from deploy.domain.passwords import InvalidPassword
from deploy.domain.policy import WORKER, Actor, TokenType
from deploy.service_layer.sign_in import SignIn
from deploy.service_layer.tokens import TokenIssuer
from deploy.service_layer.users import Accounts
from tests.hashing import observed_passwords
from tests.site import Site

GOOD = "a good password"
KEY = "k" * 40


@pytest.fixture
def passwords() -> Passwords:
    return observed_passwords()[0]


@pytest.fixture
def accounts(site: Site, passwords: Passwords) -> Accounts:
    return Accounts(site.open_uow, site.bus, passwords)


class TestPasswords:
    @pytest.mark.parametrize("password", ["short", "", "x" * 1025])
    async def test_a_new_password_follows_the_rules_wherever_it_comes_from(
        self, site: Site, accounts: Accounts, passwords: Passwords, password: str
    ) -> None:
        user_id = (await accounts.create(WORKER, "ada", GOOD)).id
        sign_in = SignIn(site.open_uow, site.bus, passwords, TokenSigner(KEY), KeyedHash(KEY), site.clock)
        actor = Actor(kind=TokenType.USER, expires=0, user_id=user_id)
        for attempt in (
            accounts.create(WORKER, "bob", password),
            accounts.change(WORKER, user_id, password=password),
            sign_in.change_password(actor, GOOD, password, "192.0.2.1"),
        ):
            with pytest.raises(InvalidPassword, match=r"use at (least|most)"):
                await attempt

    async def test_the_password_of_the_first_user_follows_the_rules(self, accounts: Accounts) -> None:
        with pytest.raises(InvalidPassword):
            await accounts.create_first(WORKER, "ada", "short", is_generated=False)

    async def test_a_password_is_checked_before_it_is_hashed(
        self, site: Site, accounts: Accounts, passwords: Passwords
    ) -> None:
        user = await accounts.create(WORKER, "ada", GOOD)
        changed = await accounts.change(WORKER, user.id, password="another password")
        assert await passwords.verify("another password", changed.password_hash)
        assert not await passwords.verify(GOOD, changed.password_hash)


class TestFirstUser:
    async def test_it_is_created_only_once(self, accounts: Accounts) -> None:
        assert await accounts.create_first(WORKER, "ada", GOOD, is_generated=True)
        assert not await accounts.create_first(WORKER, "bob", GOOD, is_generated=True)
        user = await accounts.create(WORKER, "eve", GOOD)
        assert (user.is_admin, user.has_generated_password) == (False, False)


class TestTokens:
    @pytest.mark.parametrize("days", [-1, 0, 180.001, 3650])
    async def test_a_service_token_lives_for_180_days_at_most(self, site: Site, days: float) -> None:
        await site.service("shop")
        expires = site.clock.now + timedelta(days=days)
        command = RegisterServiceToken(token_id="t", service_name="shop", origin="CI", expires=expires, user_id=None)
        with pytest.raises(InvalidInput, match="must expire after 1 to 180 days"):
            await site.bus.handle(command, by=WORKER)

    @pytest.mark.parametrize("days", [0, 3651])
    async def test_a_config_token_lives_for_3650_days_at_most(self, site: Site, days: int) -> None:
        expires = site.clock.now + timedelta(days=days)
        command = RegisterConfigToken(token_id="t", origin="CI", expires=expires, user_id=None)
        with pytest.raises(InvalidInput, match="must expire after 1 to 3650 days"):
            await site.bus.handle(command, by=WORKER)

    @pytest.mark.parametrize("origin", ["", "x" * 201])
    async def test_a_token_has_an_origin(self, site: Site, origin: str) -> None:
        command = RegisterConfigToken(
            token_id="t", origin=origin, expires=site.clock.now + timedelta(days=1), user_id=None
        )
        with pytest.raises(InvalidInput, match="origin must have 1 to 200 characters"):
            await site.bus.handle(command, by=WORKER)

    async def test_only_administrators_see_the_tokens_of_other_users(self, site: Site) -> None:
        ada, bob = await site.user("ada"), await site.user("bob")
        issuer = TokenIssuer(site.open_uow, site.bus, TokenSigner(KEY), site.clock)
        for user_id, origin in ((ada, "of ada"), (bob, "of bob")):
            command = RegisterConfigToken(
                token_id=origin, origin=origin, expires=site.clock.now + timedelta(days=1), user_id=user_id
            )
            await site.bus.handle(command, by=WORKER)
        user = Actor(kind=TokenType.USER, expires=0, user_id=bob)
        administrator = Actor(kind=TokenType.USER, expires=0, user_id=ada, is_admin=True)
        assert [token.origin for token, _, _ in await issuer.list(user)] == ["of bob"]
        for actor in (administrator, WORKER):
            assert {token.origin for token, _, _ in await issuer.list(actor)} == {"of ada", "of bob"}
