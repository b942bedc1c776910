"""Change groups and grants, against PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deploy.domain.commands import (
    ChangeAccess,
    CreateGroup,
    DeleteGroup,
    DeleteService,
    Membership,
    NewGrant,
    RenameGroup,
)
from deploy.domain.errors import Conflict, InvalidInput, NotFound
from deploy.domain.events import AccessChanged, GroupCreated
from deploy.domain.model import Permission
from deploy.domain.policy import WORKER
from deploy.domain.rights import EVERYTHING, NO_RIGHTS, Rights
from deploy.service_layer.access import access_state, rights_of_user
from tests.site import Site

VIEW, DEPLOY, MANAGE, SYNC = Permission


async def everyone(site: Site) -> int:
    async with site.open_uow() as uow:
        return next(group.id for group in await uow.groups.list() if group.is_everyone)


async def change(site: Site, **fields: Any) -> None:
    await site.bus.handle(ChangeAccess(by="ada", **fields), by=WORKER)


async def narrow(site: Site) -> None:
    """Remove all grants."""
    async with site.open_uow() as uow:
        given = tuple([grant.id for grant in await uow.grants.list()])
    await change(site, remove=given)


async def group(site: Site, name: str = "crew") -> int:
    events = await site.bus.handle(CreateGroup(name=name), by=WORKER)
    return next(event.group_id for event in events if isinstance(event, GroupCreated))


async def rights(site: Site, user_id: int) -> Rights:
    async with site.open_uow() as uow:
        user = await uow.users.get(user_id)
        found = await rights_of_user(user, uow)
        # What requests use and what previews use must agree.
        assert found == (await access_state(uow)).rights(user)
        return found


async def user(site: Site, name: str = "bob") -> int:
    """Add a user who is not an administrator."""
    await site.user(f"first-{name}")  # the first user is an administrator
    return await site.user(name)


class TestGrants:
    async def test_at_first_everyone_manages_all_services_and_can_sync(self, site: Site) -> None:
        found = await rights(site, await user(site))
        assert found == Rights(MANAGE, can_sync=True)
        assert found.visible == EVERYTHING

    async def test_grants_of_users_groups_and_tags_add_up(self, site: Site) -> None:
        bob, crew = await user(site), await group(site)
        shop = await site.service("shop", tags=["web", "web"])
        blog, wiki = await site.service("blog", tags=["web"]), await site.service("wiki")
        await narrow(site)
        assert await rights(site, bob) == NO_RIGHTS
        await change(
            site,
            add=(
                NewGrant(VIEW, group_id=await everyone(site), service_id=wiki),
                NewGrant(DEPLOY, group_id=crew, tag="web"),
                NewGrant(MANAGE, user_id=bob, service_id=blog, environment="staging"),
            ),
            join=(Membership(crew, bob),),
        )
        found = await rights(site, bob)
        assert dict(found.lanes) == {
            (wiki, None): VIEW,
            (shop, None): DEPLOY,
            (blog, None): DEPLOY,
            (blog, "staging"): MANAGE,
        }
        await change(site, leave=(Membership(crew, bob),))
        assert (await rights(site, bob)).visible.services == frozenset({wiki, blog})

    async def test_a_changed_tag_applies_with_the_sync(self, site: Site) -> None:
        bob = await user(site)
        shop = await site.service("shop", tags=["web"])
        await narrow(site)
        await change(site, add=(NewGrant(VIEW, user_id=bob, tag="web"),))
        assert shop in (await rights(site, bob)).visible
        await site.service("shop", tags=["internal"])
        assert shop not in (await rights(site, bob)).visible

    async def test_grants_end_with_their_service(self, site: Site) -> None:
        bob, shop = await user(site), await site.service("shop", tags=["web"])
        await narrow(site)
        await change(
            site, add=(NewGrant(VIEW, user_id=bob, service_id=shop), NewGrant(VIEW, user_id=bob, tag="other"))
        )
        await site.bus.handle(DeleteService(service_id=shop), by=WORKER)
        await site.service("shop")  # its folder is still there
        assert await rights(site, bob) == NO_RIGHTS
        async with site.open_uow() as uow:
            assert [grant.tag for grant in await uow.grants.list()] == ["other"]

    async def test_adding_a_grant_twice_has_no_effect(self, site: Site) -> None:
        bob, shop = await user(site), await site.service()
        new = NewGrant(VIEW, user_id=bob, service_id=shop)
        for _ in range(2):
            await change(site, add=(new, new))
        async with site.open_uow() as uow:
            assert [grant.user_id for grant in await uow.grants.list()].count(bob) == 1

    async def test_changes_at_the_same_time_do_not_fail(self, busy_site: Site) -> None:
        site = busy_site
        bob, shop, crew = await user(site), await site.service(), await group(site)
        fields = {"add": (NewGrant(VIEW, user_id=bob, service_id=shop),), "join": (Membership(crew, bob),)}
        await asyncio.gather(*(change(site, **fields) for _ in range(8)))
        async with site.open_uow() as uow:
            assert [grant.user_id for grant in await uow.grants.list()].count(bob) == 1

    @pytest.mark.parametrize(
        ("wrong", "text"),
        [
            ({}, "either a user or a group"),
            ({"user_id": 1, "group_id": 1}, "either a user or a group"),
            ({"user_id": 1, "service_id": 1, "tag": "web"}, "Give a service or a tag"),
            ({"user_id": 1, "tag": ""}, "A tag must have"),
            ({"user_id": 1, "tag": "a\0b"}, "A tag must have"),
            ({"user_id": 1, "tag": " web"}, "A tag must have"),
            ({"user_id": 1, "environment": "st age"}, "name of an environment"),
            ({"user_id": 1, "environment": ""}, "name of an environment"),
            ({"user_id": 1, "environment": "x" * 65}, "name of an environment"),
        ],
    )
    async def test_an_invalid_grant_is_rejected(self, site: Site, wrong: dict[str, Any], text: str) -> None:
        with pytest.raises(InvalidInput, match=text):
            await change(site, add=(NewGrant(VIEW, **wrong),))

    @pytest.mark.parametrize("where", [{"service_id": 1}, {"tag": "web"}, {"environment": "staging"}])
    async def test_syncing_cannot_be_limited(self, site: Site, where: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput, match="applies to the whole site"):
            await change(site, add=(NewGrant(SYNC, user_id=1, **where),))

    @pytest.mark.parametrize("missing", ["user_id", "group_id", "service_id"])
    async def test_what_does_not_exist_cannot_be_used(self, site: Site, missing: str) -> None:
        subject: dict[str, Any] = {} if missing == "group_id" else {"user_id": await user(site)}
        with pytest.raises(NotFound):
            await change(site, add=(NewGrant(VIEW, **{**subject, missing: 987654321}),))

    async def test_a_change_happens_as_a_whole_or_not_at_all(self, site: Site) -> None:
        bob = await user(site)
        with pytest.raises(NotFound, match="Grant not found"):
            await change(site, add=(NewGrant(VIEW, user_id=bob),), remove=(987654321,))
        assert await rights(site, bob) == Rights(MANAGE, can_sync=True)

    async def test_a_change_is_announced_and_recorded(self, site: Site) -> None:
        bob, shop = await user(site), await site.service()
        new = NewGrant(DEPLOY, user_id=bob, service_id=shop)
        events = await site.bus.handle(ChangeAccess(add=(new,), by="ada"), by=WORKER)
        assert events[-1] == AccessChanged(None)
        async with site.open_uow() as uow:
            (grant,) = [grant for grant in await uow.grants.list() if grant.user_id == bob]
            (entry,) = await uow.audit.newest(1)
        assert (grant.created_by, grant.created) == ("ada", site.clock.now)
        assert entry.action == "manage access"
        assert entry.details["added"] == [{"permission": "deploy", "user_id": bob, "service_id": shop}]
        await change(site, remove=(grant.id,))
        async with site.open_uow() as uow:
            (entry,) = await uow.audit.newest(1)
        assert entry.details["removed"] == [{"permission": "deploy", "user_id": bob, "service_id": shop}]


class TestGroups:
    @pytest.mark.parametrize("name", ["", " crew", "crew\n", "x" * 65, "a\0b"])
    async def test_an_invalid_name_is_rejected(self, site: Site, name: str) -> None:
        with pytest.raises(InvalidInput, match="name of a group"):
            await site.bus.handle(CreateGroup(name=name), by=WORKER)

    @pytest.mark.parametrize("name", ["crew", "Crew", "Everyone"])
    async def test_names_must_not_look_alike(self, site: Site, name: str) -> None:
        await group(site, "crew")
        other = await group(site, "other")
        for command in (CreateGroup(name=name), RenameGroup(group_id=other, name=name)):
            with pytest.raises(Conflict, match="already exists"):
                await site.bus.handle(command, by=WORKER)

    async def test_a_group_can_be_renamed(self, site: Site) -> None:
        crew = await group(site, "crew")
        await site.bus.handle(RenameGroup(group_id=crew, name="CREW"), by=WORKER)
        async with site.open_uow() as uow:
            assert (await uow.groups.get(crew)).name == "CREW"

    async def test_grants_end_with_their_group(self, site: Site) -> None:
        bob, crew = await user(site), await group(site)
        await narrow(site)
        await change(site, add=(NewGrant(VIEW, group_id=crew),), join=(Membership(crew, bob),))
        events = await site.bus.handle(DeleteGroup(group_id=crew), by=WORKER)
        assert events[-1] == AccessChanged(None)
        assert await rights(site, bob) == NO_RIGHTS
        async with site.open_uow() as uow:
            (entry,) = await uow.audit.newest(1)
        assert entry.details["removed"] == [{"permission": "view", "group_id": crew}]

    async def test_the_group_everyone_stays_as_it_is(self, site: Site) -> None:
        bob, group_id = await user(site), await everyone(site)
        for command in (DeleteGroup(group_id=group_id), RenameGroup(group_id=group_id, name="all")):
            with pytest.raises(Conflict, match="everyone cannot be"):
                await site.bus.handle(command, by=WORKER)
        for fields in ({"join": (Membership(group_id, bob),)}, {"leave": (Membership(group_id, bob),)}):
            with pytest.raises(InvalidInput, match="cannot be changed"):
                await change(site, **fields)

    async def test_members_and_groups_must_exist(self, site: Site) -> None:
        crew = await group(site)
        with pytest.raises(NotFound, match="User not found"):
            await change(site, join=(Membership(crew, 987654321),))
        with pytest.raises(NotFound, match="Group not found"):
            await change(site, join=(Membership(987654321, 1),))
