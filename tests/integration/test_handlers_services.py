"""Sync service folders to the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from deploy.domain.commands import DeleteService, RegisterServiceToken, ServiceFolder, SyncServices
from deploy.domain.errors import Conflict, NotFound
from deploy.domain.events import AccessChanged, Event, ServiceChanged
from deploy.domain.policy import WORKER
from deploy.domain.rights import EVERYTHING
from tests.site import Site


def folder(name: str, readme: str | None = None, **data: Any) -> ServiceFolder:
    return ServiceFolder(name=name, data=data, readme=readme)


async def sync(site: Site, *folders: ServiceFolder, broken: Sequence[str] = ()) -> list[Event]:
    return await site.bus.handle(SyncServices(folders=folders, broken=frozenset(broken)), by=WORKER)


def changes(events: list[Event]) -> dict[str, str]:
    """Return how each service changed."""
    return {event.name: event.change for event in events if isinstance(event, ServiceChanged)}


async def listed(site: Site) -> list[str]:
    async with site.open_uow() as uow:
        return [service.name for service in await uow.services.list(visible=EVERYTHING)]


class TestSyncServices:
    async def test_new_folders_are_added(self, site: Site) -> None:
        events = await sync(site, folder("shop", "# Shop", description="A shop"), folder("blog"))
        assert changes(events) == {"shop": "added", "blog": "added"}
        assert await listed(site) == ["blog", "shop"]
        async with site.open_uow() as uow:
            service = await uow.services.find("shop", visible=EVERYTHING)
        assert service is not None
        assert (service.data, service.readme) == ({"description": "A shop"}, "# Shop")
        assert (service.updated, service.deleted) == (site.clock.now, None)

    async def test_an_unchanged_folder_changes_nothing(self, site: Site) -> None:
        await sync(site, folder("shop", "# Shop", steps=[{"name": "A"}]))
        assert await sync(site, folder("shop", "# Shop", steps=[{"name": "A"}])) == []

    @pytest.mark.parametrize("changed", [folder("shop", "old", a=2), folder("shop", "new", a=1), folder("shop", a=1)])
    async def test_changes_are_stored(self, site: Site, changed: ServiceFolder) -> None:
        first = await sync(site, folder("shop", "old", a=1))
        site.clock.advance(1)
        events = await sync(site, changed)
        assert changes(events) == {"shop": "changed"}
        assert events[0].service_id == first[0].service_id  # type: ignore[union-attr]
        async with site.open_uow() as uow:
            service = await uow.services.find("shop", visible=EVERYTHING)
        assert service is not None
        assert (service.data, service.readme, service.updated) == (changed.data, changed.readme, site.clock.now)

    async def test_removed_folders_leave_the_list_and_keep_their_row(self, site: Site) -> None:
        service_id = await site.service("shop")
        assert changes(await sync(site)) == {"shop": "removed"}
        assert await listed(site) == []
        async with site.open_uow() as uow:
            with pytest.raises(NotFound):
                await uow.services.get(service_id, visible=EVERYTHING)
            assert [service.name for service in await uow.services.some([service_id], visible=EVERYTHING)] == ["shop"]

    async def test_a_folder_that_returns_is_the_same_service(self, site: Site) -> None:
        service_id = await site.service("shop")
        await sync(site)
        assert changes(await sync(site, folder("shop"))) == {"shop": "added"}
        assert await site.service("shop") == service_id

    @pytest.mark.parametrize("how", ["sync", "delete"])
    async def test_tokens_of_a_removed_service_stay_revoked_when_it_returns(self, site: Site, how: str) -> None:
        service_id, other_id = await site.service("shop"), await site.service("blog")
        expires = site.clock.now + timedelta(days=1)
        for service in ("shop", "blog"):
            command = RegisterServiceToken(
                token_id=f"token of {service}", service_name=service, origin="CI", expires=expires, user_id=None
            )
            await site.bus.handle(command, by=WORKER)
        if how == "sync":
            events = await sync(site, folder("blog"))
        else:
            events = await site.bus.handle(DeleteService(service_id=service_id), by=WORKER)
        assert AccessChanged(None) in events
        await sync(site, folder("shop"), folder("blog"))
        assert await site.service("shop") == service_id
        async with site.open_uow() as uow:
            assert await uow.tokens.find_valid("token of shop", site.clock.now) is None
            found = await uow.tokens.find_valid("token of blog", site.clock.now)
        assert found is not None
        assert found[0].service_id == other_id

    async def test_broken_folders_keep_their_stored_config(self, site: Site) -> None:
        await sync(site, folder("shop", a=1))
        assert await sync(site, broken=["shop", "never seen"]) == []
        assert await listed(site) == ["shop"]

    async def test_a_removed_folder_is_removed_once(self, site: Site) -> None:
        await sync(site, folder("shop"))
        await sync(site)
        assert await sync(site) == []


class TestDeleteService:
    async def test_a_deleted_service_leaves_the_list(self, site: Site) -> None:
        service_id = await site.service()
        events = await site.bus.handle(DeleteService(service_id=service_id), by=WORKER)
        assert changes(events) == {"shop": "removed"}
        assert await listed(site) == []

    async def test_deployments_of_a_deleted_service_are_kept(self, site: Site) -> None:
        deployment_id = await site.succeeded()
        deployment = await site.deployment(deployment_id)
        await site.bus.handle(DeleteService(service_id=deployment.service_id), by=WORKER)
        assert (await site.deployment(deployment_id)).service == "shop"
        async with site.open_uow() as uow:
            assert await uow.deployed_services.list(visible=EVERYTHING) == []

    async def test_deleting_twice_is_not_found(self, site: Site) -> None:
        service_id = await site.service()
        await site.bus.handle(DeleteService(service_id=service_id), by=WORKER)
        with pytest.raises(NotFound, match="Service not found"):
            await site.bus.handle(DeleteService(service_id=service_id), by=WORKER)

    @pytest.mark.parametrize("runs", [False, True])
    async def test_a_service_being_deployed_cannot_be_deleted(self, site: Site, runs: bool) -> None:
        service_id = await site.service()
        await site.start(service_id)
        if runs:
            await site.claim()
        with pytest.raises(Conflict, match="shop is being deployed"):
            await site.bus.handle(DeleteService(service_id=service_id), by=WORKER)

    async def test_the_next_sync_restores_it(self, site: Site) -> None:
        service_id = await site.service()
        await site.bus.handle(DeleteService(service_id=service_id), by=WORKER)
        assert await site.service() == service_id
