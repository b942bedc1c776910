"""Manage users, sessions, and tokens, against PostgreSQL."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from deploy.domain.commands import (
    ChangeUser,
    CreateUser,
    EndSessions,
    OpenSession,
    RegisterConfigToken,
    RegisterServiceToken,
    RevokeToken,
)
from deploy.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from deploy.domain.events import AccessChanged
from deploy.domain.model import Permission, TokenKind, User
from deploy.domain.policy import WORKER, Actor, TokenType
from deploy.domain.rights import EVERYTHING
from tests.rights import of_service
from tests.site import Site

DAY = timedelta(days=1)


def user_actor(user_id: int) -> Actor:
    return Actor(kind=TokenType.USER, expires=0, user_id=user_id)


async def read_user(site: Site, user_id: int) -> User:
    async with site.open_uow() as uow:
        return await uow.users.get(user_id)


async def waits_for_lock(site: Site, task: asyncio.Task[int]) -> None:
    """Wait until the task waits for a lock. Fail if it does not."""
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'users'::regclass"
    waiting = 0
    while not waiting:
        assert not task.done()
        async with site.open_uow() as uow:
            waiting = await uow.workers._driver.fetchval(query)


class TestSimilarNames:
    @pytest.mark.parametrize(
        ("taken", "wanted"),
        [
            ("ada", "Ada"),
            ("Ada", "ADA"),
            ("file", "\ufb01le"),
            ("ada", "\uff41da"),
            ("stra\u00dfe", "STRASSE"),
            ("I", "i"),
        ],
    )
    async def test_a_name_that_looks_like_another_is_rejected(self, site: Site, taken: str, wanted: str) -> None:
        await site.user(taken)
        with pytest.raises(Conflict, match=f"The name {wanted} looks like that of the user {taken}"):
            await site.user(wanted)

    async def test_the_same_name_is_taken(self, site: Site) -> None:
        await site.user("ada")
        with pytest.raises(Conflict, match="A user named ada already exists"):
            await site.user("ada")

    async def test_users_of_an_earlier_version_keep_similar_names(self, site: Site) -> None:
        first = await site.user("ada")
        async with site.open_uow() as uow:
            await uow.users.add(User(name="Ada", password_hash="hash", created=site.clock.now))
        async with site.open_uow() as uow:
            found = await uow.users.find("Ada"), await uow.users.find("ada")
        assert found[0] is not None
        assert found[1] is not None
        assert found[1].id == first
        await site.bus.handle(ChangeUser(user_id=found[0].id, password_hash="new"), by=WORKER)


class TestDemotion:
    async def test_a_former_administrator_loses_the_config_tokens(self, site: Site) -> None:
        ada, bob = await site.user("ada"), await site.user("bob", is_admin=True)
        for token_id, user_id in (("of ada", ada), ("of bob", bob), ("of no user", None)):
            command = RegisterConfigToken(
                token_id=token_id, origin="CI", expires=site.clock.now + DAY, user_id=user_id
            )
            await site.bus.handle(command, by=WORKER)
        await site.bus.handle(ChangeUser(user_id=bob, is_admin=False), by=WORKER)
        await site.bus.handle(ChangeUser(user_id=bob, is_admin=True), by=WORKER)
        async with site.open_uow() as uow:
            found = {
                token_id: await uow.tokens.find_valid(token_id, site.clock.now) is not None
                for token_id in ("of ada", "of bob", "of no user")
            }
        assert found == {"of ada": True, "of bob": False, "of no user": True}


class TestCreateUser:
    async def test_the_first_user_is_an_administrator(self, site: Site) -> None:
        first, second = await site.user("ada"), await site.user("bob")
        assert (await read_user(site, first)).is_admin
        assert not (await read_user(site, second)).is_admin

    async def test_other_users_can_become_administrators(self, site: Site) -> None:
        await site.user("ada")
        assert (await read_user(site, await site.user("bob", is_admin=True))).is_admin

    async def test_a_new_user_is_stored(self, site: Site) -> None:
        user = await read_user(site, await site.user("ada"))
        assert (user.name, user.password_hash, user.is_active, user.epoch) == ("ada", "hash", True, 0)
        assert user.created == site.clock.now

    async def test_the_first_user_is_only_created_without_users(self, site: Site) -> None:
        await site.user("ada", only_first=True)
        with pytest.raises(Conflict, match="A user already exists"):
            await site.user("bob", only_first=True)

    async def test_of_two_concurrent_first_users_one_is_created(self, busy_site: Site) -> None:
        async with busy_site.open_uow() as uow:
            await uow.users.lock()
            await uow.users.add(User(name="ada", password_hash="hash"))
            second = asyncio.create_task(busy_site.user("bob", only_first=True))
            await waits_for_lock(busy_site, second)
        with pytest.raises(Conflict):
            await second

    async def test_a_generated_password_is_flagged_until_it_is_changed(self, site: Site) -> None:
        user_id = await site.user("ada", has_generated_password=True)
        await site.bus.handle(ChangeUser(user_id=user_id, is_admin=True), by=WORKER)
        assert (await read_user(site, user_id)).has_generated_password
        await site.bus.handle(ChangeUser(user_id=user_id, password_hash="another"), by=WORKER)
        assert not (await read_user(site, user_id)).has_generated_password

    async def test_a_name_is_taken_once(self, site: Site) -> None:
        await site.user("ada")
        with pytest.raises(Conflict, match="A user named ada already exists"):
            await site.user("ada")

    @pytest.mark.parametrize("name", ["ada", "Ada.Lovelace", "a@b.org", "x" * 64, "jürgen", "a+b-c_d"])
    async def test_valid_names_are_accepted(self, site: Site, name: str) -> None:
        assert (await read_user(site, await site.user(name))).name == name

    @pytest.mark.parametrize("name", ["", " ", "a b", "x" * 65, "a/b", "ada\n", "a\x00", "<b>"])
    async def test_invalid_names_are_rejected(self, site: Site, name: str) -> None:
        with pytest.raises(InvalidInput, match="1 to 64 characters"):
            await site.user(name)


class TestChangeUser:
    async def test_a_new_password_ends_sessions(self, site: Site) -> None:
        user_id = await site.user()
        await site.bus.handle(OpenSession(session_id="s1", user_id=user_id, expires=site.clock.now + DAY), by=WORKER)
        events = await site.bus.handle(ChangeUser(user_id=user_id, password_hash="new"), by=WORKER)
        assert events == [AccessChanged(user_id)]
        user = await read_user(site, user_id)
        assert (user.password_hash, user.epoch) == ("new", 1)
        async with site.open_uow() as uow:
            assert await uow.sessions.find_valid("s1", site.clock.now) is None

    async def test_other_fields_stay_unchanged(self, site: Site) -> None:
        await site.user("ada")
        user_id = await site.user("bob")
        await site.bus.handle(ChangeUser(user_id=user_id, is_admin=True), by=WORKER)
        user = await read_user(site, user_id)
        assert (user.password_hash, user.is_admin, user.is_active) == ("hash", True, True)

    @pytest.mark.parametrize("change", [{"is_admin": False}, {"is_active": False}])
    async def test_the_only_administrator_cannot_be_removed(self, site: Site, change: dict[str, Any]) -> None:
        user_id = await site.user("ada")
        await site.user("bob")
        with pytest.raises(Conflict, match="ada is the only administrator"):
            await site.bus.handle(ChangeUser(user_id=user_id, **change), by=WORKER)
        user = await read_user(site, user_id)
        assert (user.is_admin, user.is_active, user.epoch) == (True, True, 0)

    @pytest.mark.parametrize("change", [{"is_admin": False}, {"is_active": False}])
    async def test_one_of_two_administrators_can_be_removed(self, site: Site, change: dict[str, Any]) -> None:
        user_id = await site.user("ada")
        await site.user("bob", is_admin=True)
        await site.bus.handle(ChangeUser(user_id=user_id, **change), by=WORKER)
        user = await read_user(site, user_id)
        assert {"is_admin": user.is_admin, "is_active": user.is_active} == {
            "is_admin": True,
            "is_active": True,
            **change,
        }

    async def test_a_disabled_administrator_does_not_count(self, site: Site) -> None:
        ada, bob = await site.user("ada"), await site.user("bob", is_admin=True)
        await site.bus.handle(ChangeUser(user_id=bob, is_active=False), by=WORKER)
        with pytest.raises(Conflict):
            await site.bus.handle(ChangeUser(user_id=ada, is_active=False), by=WORKER)

    async def test_other_users_can_be_disabled(self, site: Site) -> None:
        await site.user("ada")
        user_id = await site.user("bob")
        await site.bus.handle(ChangeUser(user_id=user_id, is_active=False), by=WORKER)
        assert not (await read_user(site, user_id)).is_active

    async def test_a_missing_user_is_not_found(self, site: Site) -> None:
        with pytest.raises(NotFound, match="User not found"):
            await site.bus.handle(ChangeUser(user_id=1, is_active=False), by=WORKER)


class TestOpenSession:
    async def test_a_session_is_valid_until_it_expires(self, site: Site) -> None:
        user_id = await site.user()
        command = OpenSession(session_id="s1", user_id=user_id, expires=site.clock.now + DAY, user_agent="x" * 500)
        await site.bus.handle(command, by=WORKER)
        async with site.open_uow() as uow:
            found = await uow.sessions.find_valid("s1", site.clock.now)
            assert found is not None
            browser, user = found
            assert (browser.user_agent, user.id) == ("x" * 200, user_id)
            assert await uow.sessions.find_valid("s1", site.clock.now + DAY) is None
            assert await uow.sessions.find_valid("s2", site.clock.now) is None

    async def test_a_session_requires_a_user(self, site: Site) -> None:
        with pytest.raises(NotFound):
            await site.bus.handle(OpenSession(session_id="s1", user_id=1, expires=site.clock.now + DAY), by=WORKER)

    async def test_a_session_ends_when_its_user_is_disabled(self, site: Site) -> None:
        await site.user("ada")
        user_id = await site.user("bob")
        await site.bus.handle(OpenSession(session_id="s1", user_id=user_id, expires=site.clock.now + DAY), by=WORKER)
        await site.bus.handle(ChangeUser(user_id=user_id, is_active=False), by=WORKER)
        async with site.open_uow() as uow:
            assert await uow.sessions.find_valid("s1", site.clock.now) is None


class TestEndSessions:
    async def valid(self, site: Site, *session_ids: str) -> list[str]:
        async with site.open_uow() as uow:
            return [name for name in session_ids if await uow.sessions.find_valid(name, site.clock.now)]

    async def signed_in(self, site: Site, name: str, *session_ids: str) -> int:
        user_id = await site.user(name)
        for session_id in session_ids:
            await site.bus.handle(
                OpenSession(session_id=session_id, user_id=user_id, expires=site.clock.now + DAY), by=WORKER
            )
        return user_id

    async def test_ending_one_session_keeps_the_others(self, site: Site) -> None:
        user_id = await self.signed_in(site, "ada", "a1", "a2")
        assert await site.bus.handle(EndSessions(user_id=user_id, session_id="a1"), by=WORKER) == [
            AccessChanged(user_id)
        ]
        assert await self.valid(site, "a1", "a2") == ["a2"]

    async def test_all_sessions_except_the_current_one_can_be_ended(self, site: Site) -> None:
        user_id = await self.signed_in(site, "ada", "a1", "a2", "a3")
        await self.signed_in(site, "bob", "b1")
        assert await site.bus.handle(EndSessions(user_id=user_id, keep="a2"), by=WORKER) == [AccessChanged(user_id)]
        assert await self.valid(site, "a1", "a2", "a3", "b1") == ["a2", "b1"]
        assert await site.bus.handle(EndSessions(user_id=user_id, keep="a2"), by=WORKER) == []

    async def test_all_sessions_can_be_ended_without_a_current_one(self, site: Site) -> None:
        user_id = await self.signed_in(site, "ada", "a1", "a2")
        await site.bus.handle(EndSessions(user_id=user_id), by=WORKER)
        assert await self.valid(site, "a1", "a2") == []

    async def test_sessions_of_another_user_are_not_found(self, site: Site) -> None:
        user_id = await self.signed_in(site, "ada", "a1")
        await self.signed_in(site, "bob", "b1")
        for session_id in ("b1", "gone", ""):
            with pytest.raises(NotFound, match="Session not found"):
                await site.bus.handle(EndSessions(user_id=user_id, session_id=session_id), by=WORKER)
        assert await self.valid(site, "a1", "b1") == ["a1", "b1"]

    async def test_expired_sessions_are_not_listed(self, site: Site) -> None:
        user_id = await self.signed_in(site, "ada", "a1")
        await site.bus.handle(OpenSession(session_id="old", user_id=user_id, expires=site.clock.now - DAY), by=WORKER)
        async with site.open_uow() as uow:
            assert [browser.id for browser in await uow.sessions.of(user_id, site.clock.now)] == ["a1"]
        await site.bus.handle(ChangeUser(user_id=user_id, password_hash="new"), by=WORKER)
        async with site.open_uow() as uow:
            assert await uow.sessions.of(user_id, site.clock.now) == []


class TestRegisterToken:
    async def test_a_service_token_belongs_to_its_service_and_user(self, site: Site) -> None:
        service_id, user_id = await site.service(), await site.user()
        await register(site, user_id=user_id, service_name="shop")
        async with site.open_uow() as uow:
            token = await uow.tokens.get("t1")
            found = await uow.tokens.find_valid("t1", site.clock.now)
        assert (token.service_id, token.user_id, token.origin) == (service_id, user_id, "GitHub")
        assert (token.kind, token.created, token.revoked) == (TokenKind.SERVICE, site.clock.now, None)
        assert found is not None
        assert found[1] is not None
        assert found[1].name == "ada"

    async def test_a_config_token_does_not_need_a_user(self, site: Site) -> None:
        await register(site, kind=TokenKind.CONFIG)
        async with site.open_uow() as uow:
            found = await uow.tokens.find_valid("t1", site.clock.now)
        assert found is not None
        assert found[1] is None

    @pytest.mark.parametrize("name", ["gone", "", "Shop"])
    async def test_a_missing_service_is_not_found(self, site: Site, name: str) -> None:
        await site.service()
        with pytest.raises(NotFound, match="Service not found"):
            await register(site, service_name=name)

    async def test_an_expired_token_is_not_valid(self, site: Site) -> None:
        await register(site, kind=TokenKind.CONFIG)
        async with site.open_uow() as uow:
            assert await uow.tokens.find_valid("t1", site.clock.now + DAY) is None

    async def test_a_token_is_not_valid_while_its_user_is_disabled(self, site: Site) -> None:
        await site.user("ada")
        await site.service()
        user_id = await site.user("bob")
        await register(site, user_id=user_id, service_name="shop")
        await site.bus.handle(ChangeUser(user_id=user_id, is_active=False), by=WORKER)
        async with site.open_uow() as uow:
            assert await uow.tokens.find_valid("t1", site.clock.now) is None


class TestRevokeToken:
    async def test_a_revoked_token_is_not_valid(self, site: Site) -> None:
        await register(site, kind=TokenKind.CONFIG)
        assert await site.bus.handle(RevokeToken(token_id="t1"), by=WORKER) == [AccessChanged(None)]
        async with site.open_uow() as uow:
            assert await uow.tokens.find_valid("t1", site.clock.now) is None
            assert (await uow.tokens.get("t1")).revoked == site.clock.now

    async def test_only_the_first_revocation_counts(self, site: Site) -> None:
        await register(site, kind=TokenKind.CONFIG)
        await site.bus.handle(RevokeToken(token_id="t1"), by=WORKER)
        first = site.clock.now
        site.clock.advance(60)
        await site.bus.handle(RevokeToken(token_id="t1"), by=WORKER)
        async with site.open_uow() as uow:
            assert (await uow.tokens.get("t1")).revoked == first

    async def test_users_revoke_only_their_own_tokens(self, site: Site) -> None:
        ada, bob = await site.user("ada"), await site.user("bob")
        viewer = of_service(await site.service(), Permission.VIEW)
        await register(site, user_id=ada, service_name="shop")
        with pytest.raises(Forbidden):
            await site.bus.handle(RevokeToken(token_id="t1"), by=replace(user_actor(bob), rights=viewer))
        async with site.open_uow() as uow:
            assert await uow.tokens.find_valid("t1", site.clock.now) is not None
        await site.bus.handle(RevokeToken(token_id="t1"), by=replace(user_actor(ada), rights=viewer))
        async with site.open_uow() as uow:
            assert await uow.tokens.find_valid("t1", site.clock.now) is None

    async def test_a_missing_token_is_not_found(self, site: Site) -> None:
        with pytest.raises(NotFound, match="Token not found"):
            await site.bus.handle(RevokeToken(token_id="gone"), by=WORKER)


class TestTokenList:
    async def test_tokens_are_listed_newest_first_with_names(self, site: Site) -> None:
        user_id = await site.user()
        service_id = await site.service()
        await register(site, "t1", user_id=user_id, service_name="shop")
        site.clock.advance(1)
        await register(site, "t2", kind=TokenKind.CONFIG)
        async with site.open_uow() as uow:
            everything = await uow.tokens.list(visible=EVERYTHING)
            of_user = await uow.tokens.list(user_id=user_id, visible=EVERYTHING)
            of_service = await uow.tokens.list(service_id=service_id, visible=EVERYTHING)
        listed = [(token.id, service, user) for token, service, user in everything]
        assert listed == [("t2", None, None), ("t1", "shop", "ada")]
        assert [token.id for token, _, _ in of_user] == [token.id for token, _, _ in of_service] == ["t1"]

    async def test_last_use_is_recorded(self, site: Site) -> None:
        await register(site, kind=TokenKind.CONFIG)
        async with site.open_uow() as uow:
            await uow.tokens.touch("t1", site.clock.now)
        async with site.open_uow() as uow:
            assert (await uow.tokens.get("t1")).last_used == site.clock.now


async def register(
    site: Site,
    token_id: str = "t1",
    *,
    kind: TokenKind = TokenKind.SERVICE,
    user_id: int | None = None,
    service_name: str | None = None,
) -> None:
    """Record a token that is valid for a day."""
    expires = site.clock.now + DAY
    command = (
        RegisterConfigToken(token_id=token_id, origin="GitHub", expires=expires, user_id=user_id)
        if kind is TokenKind.CONFIG
        else RegisterServiceToken(
            token_id=token_id, service_name=service_name or "", origin="GitHub", expires=expires, user_id=user_id
        )
    )
    await site.bus.handle(command, by=WORKER)


async def test_users_are_listed_by_name(site: Site) -> None:
    for name in ("bob", "ada"):
        await site.bus.handle(CreateUser(name=name, password_hash="hash"), by=WORKER)
    async with site.open_uow() as uow:
        assert [user.name for user in await uow.users.list()] == ["ada", "bob"]
        assert await uow.users.count() == 2
