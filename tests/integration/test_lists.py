"""Lists have a documented order and end at their limit, whatever order the rows were stored in."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from deploy.adapters.database import Database
from deploy.adapters.repository import Listings
from deploy.domain.commands import RegisterConfigToken
from deploy.domain.model import Lane
from deploy.domain.policy import WORKER
from deploy.domain.rights import EVERYTHING
from tests.site import Site


async def services(database: Database) -> list[dict[str, Any]]:
    """Return the list of services as clients receive it."""
    return list(json.loads(await Listings(database).services(visible=EVERYTHING)))


async def test_services_are_listed_by_name(busy_site: Site, database: Database) -> None:
    for name in ("web", "api", "mail", "blog"):
        await busy_site.service(name)
    assert [service["name"] for service in await services(database)] == ["api", "blog", "mail", "web"]
    async with busy_site.open_uow() as uow:
        assert [one.name for one in await uow.services.list(visible=EVERYTHING)] == ["api", "blog", "mail", "web"]


async def test_a_service_is_listed_with_its_newest_deployment_and_its_active_ones(
    busy_site: Site, database: Database
) -> None:
    finished = [await busy_site.succeeded("shop") for _ in range(2)]
    (listed,) = await services(database)
    assert (listed["last_deployment"]["id"], listed["active_deployments"]) == (finished[1], [])
    service_id = await busy_site.service("shop")
    waiting = [await busy_site.start(service_id) for _ in range(3)]
    (listed,) = await services(database)
    assert listed["last_deployment"]["id"] == waiting[-1]
    assert [one["id"] for one in listed["active_deployments"]] == waiting


async def test_users_are_listed_by_name(site: Site) -> None:
    for name in ("zoe", "ada", "mia"):
        await site.user(name)
    async with site.open_uow() as uow:
        assert [user.name for user in await uow.users.list()] == ["ada", "mia", "zoe"]


async def test_tokens_are_listed_newest_first(site: Site) -> None:
    for number in (2, 3, 1):
        created, expires = site.clock.advance(60), site.clock.now + timedelta(days=1)
        assert created < expires
        register = RegisterConfigToken(token_id=f"t{number}", origin="ci", expires=expires, user_id=None)
        await site.bus.handle(register, by=WORKER)
    async with site.open_uow() as uow:
        listed = [token.id for token, *_ in await uow.tokens.list(visible=EVERYTHING)]
    assert listed == ["t1", "t3", "t2"]


async def test_the_history_ends_at_its_limit(site: Site) -> None:
    ids = [await site.succeeded() for _ in range(4)]
    lane = Lane(await site.service())
    async with site.open_uow() as uow:
        for limit in (1, 3, 4, 9):
            found = await uow.history.finished(lane, visible=EVERYTHING, limit=limit)
            assert [one.id for one in found] == ids[-limit:]


async def test_the_last_success_is_the_newest_before_a_deployment(site: Site) -> None:
    ids = [await site.succeeded() for _ in range(3)]
    async with site.open_uow() as uow:
        found = await uow.history.last_success_before(
            await uow.deployments.get(ids[2], visible=EVERYTHING), visible=EVERYTHING
        )
    assert found is not None
    assert found.id == ids[1]


async def test_events_and_output_end_at_their_limit(site: Site) -> None:
    deployment_id = await site.running(steps=("A", "B", "C"))
    async with site.open_uow() as uow:
        every = [event.seq for event in await uow.events.after(deployment_id, 0, limit=100, visible=EVERYTHING)]
        some = [event.seq for event in await uow.events.after(deployment_id, 0, limit=2, visible=EVERYTHING)]
    assert every == sorted(every)
    assert len(every) > 2
    assert some == every[:2]
