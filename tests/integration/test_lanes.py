"""Lanes: each environment of a service has its own queue, history, and expectations."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from deploy.adapters.database import Database
from deploy.domain.commands import (
    CancelDeployment,
    ReleaseDeployment,
    RequeueDeployment,
)
from deploy.domain.errors import Conflict
from deploy.domain.model import DeploymentState, Held, Lane
from deploy.domain.policy import WORKER
from deploy.domain.rights import EVERYTHING
from deploy.service_layer.queue import why_all_waiting, why_waiting
from deploy.service_layer.reaper import Reaper
from tests.runs import ended, reported
from tests.site import Site

APPROVAL = Held("Waits for an approval")


async def run(site: Site, service_id: int, environment: str, *steps: str, seconds: float = 1, **more: Any) -> int:
    """Run a successful deployment with these steps and return its ID."""
    deployment_id = await site.start(service_id, environment=environment, **more)
    assert await site.claim() == deployment_id
    for step in steps:
        await site.take_in(deployment_id, reported(step))
    site.clock.now += timedelta(seconds=seconds)
    await site.take_in(deployment_id, replace(ended(0), at=site.clock.now))
    return deployment_id


class TestQueue:
    async def test_environments_run_at_the_same_time(self, site: Site) -> None:
        service_id = await site.service()
        first = [await site.start(service_id, environment=name) for name in ("staging", "production")]
        for name in ("staging", "production"):
            await site.start(service_id, environment=name)
        assert [await site.claim() for _ in range(3)] == [*first, None]

    async def test_concurrency_applies_to_each_environment(self, site: Site) -> None:
        service_id = await site.service(concurrency=2)
        ids = [await site.start(service_id, environment=name) for name in ("a", "a", "a", "b")]
        assert [await site.claim() for _ in range(4)] == [ids[0], ids[1], ids[3], None]
        await site.take_in(ids[0], ended(0))
        assert await site.claim() == ids[2]

    @pytest.mark.parametrize(("running", "waiting"), [("", "staging"), ("staging", "")])
    async def test_a_deployment_without_an_environment_excludes_all_others(
        self, site: Site, running: str, waiting: str
    ) -> None:
        service_id = await site.service(concurrency=5)
        first = await site.start(service_id, environment=running)
        assert await site.claim() == first
        second = await site.start(service_id, environment=waiting)
        assert await site.claim() is None
        await site.take_in(first, ended(0))
        assert await site.claim() == second

    async def test_a_deployment_without_an_environment_keeps_its_turn(self, site: Site) -> None:
        service_id = await site.service(concurrency=5)
        names = ("staging", "", "staging", "production")
        ids = [await site.start(service_id, environment=name) for name in names]
        for expected in (ids[:1], ids[1:2], ids[2:]):
            assert [await site.claim() for _ in range(len(expected) + 1)] == [*expected, None]
            for deployment_id in expected:
                await site.take_in(deployment_id, ended(0))

    async def test_services_do_not_wait_for_each_other(self, site: Site) -> None:
        ids = [await site.start(await site.service(name), environment="staging") for name in ("shop", "blog", "mail")]
        assert [await site.claim() for _ in range(4)] == [*ids, None]

    async def test_the_cost_of_a_claim_does_not_depend_on_how_many_wait(self, database: Database) -> None:
        """Measured in pages of memory that PostgreSQL reads, which is the same on every machine."""
        costs = []
        async with database.connection() as connection:
            for waiting in (20, 20_000):
                await connection.execute(
                    "INSERT INTO procrastinate_jobs (queue_name, task_name, lock, args) "
                    "SELECT 'deployments', 'deploy', 'service:' || n % 5 || ':', '{}' FROM generate_series(1, $1) AS n",
                    waiting,
                )
                explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM fastdeploy_runnable_jobs(1)"
                for _ in range(2):  # the first call also reads the system catalogs
                    plan = await connection.fetchval(explain)
                costs.append(plan[0]["Plan"]["Shared Hit Blocks"])
        assert costs[1] < 2 * costs[0]


class TestHistory:
    async def test_expectations_come_from_the_same_environment(self, site: Site) -> None:
        service_id = await site.service()
        await run(site, service_id, "staging", "Migrate", seconds=10)
        await run(site, service_id, "production", "Back up", "Migrate", seconds=90)
        plans = {}
        async with site.open_uow() as uow:
            for name in ("staging", "production", ""):
                plan = await uow.plans.by_successes(Lane(service_id, name), visible=EVERYTHING)
                plans[name] = plan and (plan.expected_seconds, [step.name for step in plan.steps])
        assert plans == {"staging": (10, ["Migrate"]), "production": (90, ["Back up", "Migrate"]), "": None}
        started = await site.deployment(await site.start(service_id, environment="staging"))
        assert started.expected_seconds == 10

    async def test_results_and_the_last_success_are_those_of_the_lane(self, site: Site) -> None:
        service_id = await site.service()
        before = await run(site, service_id, "staging")
        await run(site, service_id, "production")
        last = await run(site, service_id, "staging")
        async with site.open_uow() as uow:
            found = await uow.history.finished(Lane(service_id, "staging"), limit=10, visible=EVERYTHING)
            success = await uow.history.last_success_before(await site.deployment(last), visible=EVERYTHING)
        assert [one.id for one in found] == [before, last]
        assert success is not None
        assert success.id == before

    async def test_previous_values_are_those_of_the_lane(self, site: Site) -> None:
        service_id, ada = await site.service(), await site.user("ada")
        for name in ("staging", "production"):
            await site.start(service_id, environment=name, user_id=ada, context={"env": {"for": name}})
        async with site.open_uow() as uow:
            for name in ("staging", "production"):
                lane = Lane(service_id, name)
                assert await uow.previous_values.last(lane, ada, visible=EVERYTHING) == {"for": name}
            assert await uow.previous_values.last(Lane(service_id), ada, visible=EVERYTHING) is None

    async def test_each_environment_has_a_deployed_service(self, site: Site) -> None:
        service_id = await site.service()
        await run(site, service_id, "staging")
        last = [await run(site, service_id, name) for name in ("production", "staging")]
        async with site.open_uow() as uow:
            found = await uow.deployed_services.list(visible=EVERYTHING)
        assert {(one.environment, one.deployment_id) for one in found} == {
            ("production", last[0]),
            ("staging", last[1]),
        }

    async def test_retention_keeps_the_last_success_of_each_environment(self, site: Site) -> None:
        service_id = await site.service()
        ids = [await run(site, service_id, name) for name in ("staging", "production", "staging", "", "staging")]
        await site.expire(count=1)
        async with site.open_uow() as uow:
            kept = [number for number in ids if await uow.deployments.find(number, visible=EVERYTHING)]
        assert kept == [ids[1], ids[3], ids[4]]


class TestHeldDeployments:
    async def test_a_held_deployment_waits_until_it_is_released(self, site: Site) -> None:
        service_id = await site.service()
        held = await site.start(service_id, held=APPROVAL)
        later = await site.start(service_id)
        assert [await site.claim(), await site.claim()] == [later, None]
        await site.take_in(later, ended(0))
        await site.bus.handle(ReleaseDeployment(deployment_id=held), by=WORKER)
        assert (await site.deployment(held)).held is None
        assert await site.claim() == held

    async def test_clients_see_why_it_is_held(self, site: Site) -> None:
        until = site.clock.now + timedelta(hours=1)
        held = await site.start(await site.service(), held=Held("Starts at night", until))
        deployment = await site.deployment(held)
        assert (deployment.state, deployment.held) == (DeploymentState.QUEUED, Held("Starts at night", until))
        sent = (await site.messages(held))[0]
        assert sent["held"] == {"reason": "Starts at night", "until": until.isoformat().replace("+00:00", "Z")}
        async with site.open_uow() as uow:
            why = await why_waiting(deployment, uow, site.clock.now, 60, visible=EVERYTHING)
            assert await why_all_waiting([deployment], uow, site.clock.now, 60, visible=EVERYTHING) == {held: why}
        assert why == {"reason": "On hold: Starts at night", "position": 0, "blocked_by": None}
        await site.bus.handle(ReleaseDeployment(deployment_id=held), by=WORKER)
        assert (await site.messages(held))[-1]["held"] is None

    async def test_the_reaper_does_not_queue_it(self, site: Site) -> None:
        held = await site.start(await site.service(), held=APPROVAL)
        await Reaper(site.bus, site.open_uow, 60)._check()
        await site.bus.handle(RequeueDeployment(deployment_id=held), by=WORKER)
        assert (await site.deployment(held)).job_id is None
        assert await site.claim() is None

    async def test_retention_keeps_it(self, site: Site) -> None:
        service_id = await site.service()
        held = await site.start(service_id, held=APPROVAL)
        for _ in range(3):
            await run(site, service_id, "")
        await site.expire(days=0.000001, count=1)
        assert (await site.deployment(held)).held == APPROVAL

    async def test_it_can_be_cancelled(self, site: Site) -> None:
        held = await site.start(await site.service(), held=APPROVAL)
        await site.bus.handle(CancelDeployment(deployment_id=held, by="ada"), by=WORKER)
        deployment = await site.deployment(held)
        assert (deployment.state, deployment.held) == (DeploymentState.CANCELLED, None)
        with pytest.raises(Conflict, match="not held"):
            await site.bus.handle(ReleaseDeployment(deployment_id=held), by=WORKER)

    async def test_only_a_held_deployment_can_be_released(self, site: Site) -> None:
        queued = await site.start(await site.service())
        with pytest.raises(Conflict, match="not held"):
            await site.bus.handle(ReleaseDeployment(deployment_id=queued), by=WORKER)
        assert await site.claim() == queued
        assert await site.claim() is None

    async def test_it_counts_as_under_way(self, site: Site) -> None:
        service_id = await site.service()
        held = await site.start(service_id, held=APPROVAL)
        async with site.open_uow() as uow:
            assert [one.id for one in await uow.deployments.active(service_id, visible=EVERYTHING)] == [held]
