"""Step IDs are unique across processes."""

from __future__ import annotations

import asyncio

from deploy.service_layer.ingest.running_deployments import BLOCK, StepIds
from tests.site import Site


async def take(ids: StepIds, site: Site, count: int) -> list[int]:
    async with site.open_uow() as uow:
        return await ids.take(count, uow)


async def test_concurrent_requests_get_different_ids(busy_site: Site) -> None:
    ids = StepIds()
    wanted = [1 + 17 * n % (2 * BLOCK) for n in range(60)]
    taken = await asyncio.gather(*(take(ids, busy_site, count) for count in wanted))
    assert [len(some) for some in taken] == wanted
    every = [number for some in taken for number in some]
    assert len(set(every)) == len(every)


async def test_returned_ids_are_reused(busy_site: Site) -> None:
    ids = StepIds()
    first, *rest = await take(ids, busy_site, 5)
    ids.give_back(rest)
    assert await take(ids, busy_site, 5) == [*rest, first + 5]


async def test_a_request_for_no_ids_gets_none(busy_site: Site) -> None:
    assert await take(StepIds(), busy_site, 0) == []
