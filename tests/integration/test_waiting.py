"""The reasons deployments are waiting are the same for many at once as for each alone."""

from __future__ import annotations

import random

import pytest

from deploy.domain.commands import CancelDeployment, ClaimDeployments
from deploy.domain.events import DeploymentClaimed
from deploy.domain.model import DeploymentState
from deploy.domain.policy import WORKER
from deploy.domain.rights import EVERYTHING
from deploy.service_layer.queue import why_all_waiting, why_waiting
from tests.runs import ended
from tests.site import Site, unfinished

# A service does not usually have deployments with and without an environment.
ENVIRONMENTS = ("", "staging", "staging", "production", "production")


async def claim_all(site: Site) -> None:
    """Claim all deployments that can run. They are those that do not wait for others."""
    async with site.open_uow() as uow:
        found = await unfinished(uow)
        reasons = await why_all_waiting(found, uow, site.clock.now, 60, visible=EVERYTHING)
    free = {number for number, why in reasons.items() if why["blocked_by"] is None}
    events = await site.bus.handle(ClaimDeployments(worker_id="w1", limit=100), by=WORKER)
    assert {event.deployment.id for event in events if isinstance(event, DeploymentClaimed)} == free


async def both_agree(site: Site) -> int:
    """Compare both results. Return the number of deployments that wait for others."""
    async with site.open_uow() as uow:
        found = await unfinished(uow)
        reasons = await why_all_waiting(found, uow, site.clock.now, 60, visible=EVERYTHING)
        alone = {one.id: await why_waiting(one, uow, site.clock.now, 60, visible=EVERYTHING) for one in found}
    assert reasons == {number: why for number, why in alone.items() if why is not None}
    return sum(why["blocked_by"] is not None for why in reasons.values())


@pytest.mark.parametrize("seed", range(6))
async def test_both_results_agree_after_random_events(site: Site, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    await site.beat()
    services = [await site.service(name, concurrency=lanes) for name, lanes in (("shop", 1), ("blog", 2), ("mail", 3))]
    blocked = 0
    for _ in range(40):
        async with site.open_uow() as uow:
            found = await unfinished(uow)
        running = [one.id for one in found if one.state is DeploymentState.RUNNING]
        does = chance.choice(["start", "start", "start", "claim", "end", "cancel"])
        if does == "start":
            await site.start(chance.choice(services), environment=chance.choice(ENVIRONMENTS))
        elif does == "claim":
            await claim_all(site)
        elif does == "end" and running:
            await site.take_in(chance.choice(running), ended(0))
        elif does == "cancel" and found:
            await site.bus.handle(CancelDeployment(deployment_id=chance.choice(found).id, by="ada"), by=WORKER)
        blocked += await both_agree(site)
    assert blocked


async def test_without_a_worker_all_deployments_wait_for_one(site: Site) -> None:
    service_id = await site.service()
    for _ in range(3):
        await site.start(service_id)
    assert await both_agree(site) == 2
    await site.beat()
    assert await both_agree(site) == 2


async def test_an_empty_queue_has_no_waiting_deployments(site: Site) -> None:
    assert await both_agree(site) == 0
    await site.running()
    assert await both_agree(site) == 0
