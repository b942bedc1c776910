"""Read from the repository: paging, filters, cursors, and the reasons deployments are waiting."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from deploy.adapters.database import Database
from deploy.adapters.repository import Change, EventReader, Listings, StoredEvent, Version
from deploy.adapters.repository.deployments import Filter
from deploy.domain.commands import CancelDeployment, FinishDeployment
from deploy.domain.errors import NotFound
from deploy.domain.model import DeploymentState, Lane, Step, StepState
from deploy.domain.policy import WORKER
from deploy.domain.rights import EVERYTHING
from deploy.service_layer.queue import alive, why_waiting
from deploy.service_layer.unit_of_work import UnitOfWork
from tests.runs import at, ended, line, reported
from tests.site import Site, unfinished


async def listed(database: Database, limit: int = 100, **more: Any) -> list[int]:
    """Return the IDs of a page of deployments."""
    return [
        deployment["id"]
        for deployment in json.loads(await Listings(database).deployments(limit=limit, **more, visible=EVERYTHING))
    ]


async def stored(uow: UnitOfWork, deployment_id: int, **more: Any) -> None:
    """Store a change that does not touch the deployment's row."""
    deployment = await uow.deployments.get(deployment_id, visible=EVERYTHING)
    assert await uow.batches.store(Change(deployment=deployment, version=Version.of(deployment), **more))


class TestList:
    async def test_deployments_are_listed_newest_first_in_pages(self, busy_site: Site, database: Database) -> None:
        service_id = await busy_site.service()
        ids = [await busy_site.start(service_id) for _ in range(7)][::-1]
        assert await listed(database) == ids
        assert await listed(database, limit=3) == ids[:3]
        assert await listed(database, limit=3, before=ids[2]) == ids[3:6]
        assert await listed(database, limit=3, before=ids[5]) == ids[6:]
        assert await listed(database, before=ids[-1]) == []

    async def test_deployments_can_be_filtered(self, busy_site: Site, database: Database) -> None:
        site = busy_site
        shop, blog = await site.service("shop"), await site.service("blog")
        first = await site.start(shop, user="ada", origin="GitHub")
        site.clock.advance(60)
        second = await site.start(shop, user="bob", origin="frontend")
        third = await site.start(blog, user="ada", origin="frontend")
        await site.bus.handle(CancelDeployment(deployment_id=second, by="bob"), by=WORKER)

        async def found(**only: Any) -> list[int]:
            return await listed(database, only=Filter(**only))

        assert await found() == [third, second, first]
        assert await found(service_id=shop) == [second, first]
        assert await found(states=(DeploymentState.QUEUED,)) == [third, first]
        assert await found(states=(DeploymentState.CANCELLED,)) == [second]
        assert await found(states=(DeploymentState.CANCELLED, DeploymentState.QUEUED)) == [third, second, first]
        assert await found(user="ada") == [third, first]
        assert await found(origin="frontend") == [third, second]
        assert await found(service_id=shop, user="ada", origin="GitHub", states=(DeploymentState.QUEUED,)) == [first]
        assert await found(service_id=blog, user="bob") == []
        assert await found(user="' OR true --") == []
        created = (await site.deployment(second)).created
        assert await found(since=created) == [third, second]
        assert await found(until=created) == [first]
        assert await found(since=created, until=created) == []


class TestGet:
    async def test_a_missing_deployment_is_not_found(self, site: Site) -> None:
        async with site.open_uow() as uow:
            with pytest.raises(NotFound, match="Deployment not found"):
                await uow.deployments.get(1, visible=EVERYTHING)
            assert await uow.deployments.find(1, visible=EVERYTHING) is None


class TestOpen:
    async def test_open_deployments_are_listed_oldest_first(self, site: Site) -> None:
        done = await site.succeeded()
        shop = (await site.deployment(done)).service_id
        blog = await site.service("blog")
        first, second, third = await site.start(shop), await site.start(blog), await site.start(shop)
        assert await site.claim("w1") == first
        assert await site.claim("w2") == second
        async with site.open_uow() as uow:
            assert [found.id for found in await unfinished(uow)] == [first, second, third]
            assert [found.id for found in await uow.deployments.active(shop, visible=EVERYTHING)] == [
                first,
                third,
            ]
            assert [found.id for found in await uow.deployments.running_on("w2")] == [second]
            assert await uow.deployments.running_on("w3") == []


class TestLatest:
    async def test_the_newest_of_each_service_is_listed(self, site: Site) -> None:
        _, second = await site.succeeded("shop"), await site.running("shop")
        third = await site.succeeded("blog")
        empty = await site.service("empty")
        shop, blog = [(await site.deployment(deployment_id)).service_id for deployment_id in (second, third)]
        async with site.open_uow() as uow:
            found = await uow.deployments.latest_by_service([shop, blog, empty, 10**9], visible=EVERYTHING)
            assert {service_id: deployment.id for service_id, deployment in found.items()} == {
                shop: second,
                blog: third,
            }
            assert await uow.deployments.latest_by_service([], visible=EVERYTHING) == {}


class TestCursors:
    async def test_cursors_cover_open_and_just_finished_deployments(self, busy_site: Site, database: Database) -> None:
        site = busy_site
        ids = {}
        for name in ("just ended", "ended long ago", "runs"):
            ids[name] = await site.running(name.replace(" ", "-"))
        waiting = await site.start((await site.deployment(ids["runs"])).service_id)
        now = datetime.now(timezone.utc)
        await site.take_in(ids["just ended"], ended(0))
        await site.take_in(ids["ended long ago"], ended(0))
        async with site.open_uow() as uow:
            moments = [(ids["just ended"], now), (ids["ended long ago"], now - timedelta(hours=1))]
            for deployment_id, moment in moments:
                deployment = await uow.deployments.get(deployment_id, visible=EVERYTHING)
                deployment.finished = moment
                await uow.batches.store(Change(deployment=deployment, version=Version.of(deployment)))
        found = dict(await EventReader(database).cursors(since_seconds=60, visible=EVERYTHING))
        expected = [ids["just ended"], ids["runs"], waiting]
        assert found == {deployment_id: (await site.deployment(deployment_id)).seq for deployment_id in expected}

    async def test_without_deployments_there_are_no_cursors(self, database: Database) -> None:
        assert await EventReader(database).cursors(since_seconds=60, visible=EVERYTHING) == []


class TestEvents:
    @pytest.fixture
    async def deployment_id(self, site: Site) -> int:
        """Return a deployment with the events state 1, 2, output 3 to line 10, state 4, output 5 to line 20, state 6."""
        deployment_id = await site.start(await site.service())
        async with site.open_uow() as uow:
            await uow.workers._driver.execute("DELETE FROM events")
            kinds = [(1, None), (2, None), (3, 10), (4, None), (5, 20), (6, None)]
            await stored(uow, deployment_id, events=[StoredEvent(seq, line, f"{{{seq}}}") for seq, line in kinds])
        return deployment_id

    @pytest.mark.parametrize(
        ("after", "limit", "with_output", "seqs"),
        [
            (0, 500, True, [1, 2, 3, 4, 5, 6]),
            (2, 500, True, [3, 4, 5, 6]),
            (2, 2, True, [3, 4]),
            (0, 500, False, [1, 2, 4, 6]),
            (2, 1, False, [4]),
            (6, 500, True, []),
            (99, 500, True, []),
        ],
    )
    async def test_events_after_a_number_are_read_in_order(
        self, site: Site, deployment_id: int, after: int, limit: int, with_output: bool, seqs: list[int]
    ) -> None:
        async with site.open_uow() as uow:
            events = await uow.events.after(
                deployment_id, after, limit=limit, with_output=with_output, visible=EVERYTHING
            )
        assert [event.seq for event in events] == seqs

    @pytest.mark.parametrize(
        ("after", "limit", "seqs"), [(0, 100, [3, 5]), (9, 100, [3, 5]), (10, 100, [5]), (0, 1, [3]), (20, 100, [])]
    )
    async def test_output_after_a_line_is_read_in_order(
        self, site: Site, deployment_id: int, after: int, limit: int, seqs: list[int]
    ) -> None:
        async with site.open_uow() as uow:
            events = await uow.events.output_after(deployment_id, after, limit=limit, visible=EVERYTHING)
        assert [event.seq for event in events] == seqs

    async def test_deployments_do_not_mix(self, site: Site, deployment_id: int) -> None:
        async with site.open_uow() as uow:
            assert await uow.events.after(deployment_id + 1, 0, visible=EVERYTHING) == []
            assert await uow.events.output_after(deployment_id + 1, 0, visible=EVERYTHING) == []

    async def test_an_event_number_is_used_once(self, site: Site, deployment_id: int) -> None:
        with pytest.raises(Exception, match="pk_events"):
            async with site.open_uow() as uow:
                await stored(uow, deployment_id, events=[StoredEvent(6, None, "{}")])


class TestSteps:
    async def test_ids_are_reserved_once(self, site: Site) -> None:
        async with site.open_uow() as uow:
            first, second = await uow.steps.reserve_ids(3), await uow.steps.reserve_ids(2)
            assert len({*first, *second}) == 5
            assert await uow.steps.reserve_ids(0) == []

    async def test_stored_steps_are_read_unchanged(self, site: Site) -> None:
        deployment_id = await site.running()
        async with site.open_uow() as uow:
            ids = await uow.steps.reserve_ids(2)
            full = Step(
                id=ids[0],
                deployment_id=deployment_id,
                name="full",
                position=10,
                state=StepState.SUCCESS,
                description="d",
                message='"m"\\ \u2028\r\n',
                started=at(1),
                finished=at(2),
                run_order=4,
                first_line=5,
                last_line=6,
                detail={"a": [1, {"b": None}], "ä": "ü", "no character": "\0", "large": 2**70},
                hosts=[{"host": "web1", "outcome": "ok", "duration": 0.5, "message": "", "diff": None}],
                expected_seconds=7.5,
            )
            bare = Step(id=ids[1], deployment_id=deployment_id, name="bare", position=11)
            await stored(uow, deployment_id, steps=[full, bare])
            await stored(uow, deployment_id)
        assert [step for step in await site.steps(deployment_id) if step.position > 9] == [full, bare]

    async def test_steps_are_in_execution_order_then_plan_order(self, site: Site) -> None:
        deployment_id = await site.running(steps=("A", "B", "C", "D"))
        await site.take_in(deployment_id, reported("C", "running"), reported("A", "running"))
        assert [step.name for step in await site.steps(deployment_id)] == ["C", "A", "B", "D"]
        async with site.open_uow() as uow:
            assert [step.name for step in await uow.steps.open_of(deployment_id)] == ["A", "B", "C", "D"]

    async def test_a_removed_step_is_not_read(self, site: Site) -> None:
        deployment_id = await site.running(steps=("A", "B"))
        async with site.open_uow() as uow:
            await stored(uow, deployment_id, removed=[step.id for step in await uow.steps.open_of(deployment_id)][:1])
        assert list(await site.states(deployment_id)) == ["B"]


class TestBatches:
    async def test_a_batch_based_on_another_version_is_not_stored(self, site: Site) -> None:
        deployment_id = await site.running(steps=("A",))
        async with site.open_uow() as uow:
            deployment = await uow.deployments.get(deployment_id, visible=EVERYTHING)
            (step,) = await uow.steps.open_of(deployment_id)
            step.message = "changed"
            event = StoredEvent(deployment.seq + 1, None, "{}")
            for other in (Version(deployment.seq - 1, 0), Version(deployment.seq, 10)):
                more = {"steps": [step], "removed": [step.id], "events": [event]}
                assert not await uow.batches.store(Change(deployment=deployment, version=other, **more))  # type: ignore[arg-type]
            assert uow.committed == []
            assert [step.message for step in await uow.steps.open_of(deployment_id)] == [""]
            assert await uow.events.after(deployment_id, deployment.seq, visible=EVERYTHING) == []


async def put(uow: UnitOfWork, deployment_id: int, *, service_id: int = 1) -> int:
    """Queue a deployment."""
    return await uow.queue.put(deployment_id, Lane(service_id))


class TestQueue:
    async def test_a_job_is_taken_once(self, site: Site) -> None:
        async with site.open_uow() as uow:
            job = await put(uow, 5)
            assert await uow.queue.take() == [(job, 5)]
            assert await uow.queue.take() == []

    async def test_finishing_or_withdrawing_twice_is_harmless(self, site: Site) -> None:
        async with site.open_uow() as uow:
            job = await put(uow, 5)
            await uow.queue.withdraw(job)
            await uow.queue.withdraw(job)
            await uow.queue.finish(job)
            assert await uow.queue.take() == []

    async def test_a_running_job_cannot_be_withdrawn(self, site: Site) -> None:
        async with site.open_uow() as uow:
            job = await put(uow, 5)
            await put(uow, 6)
            assert await uow.queue.take() == [(job, 5)]
            await uow.queue.withdraw(job)
            assert await uow.queue.take() == []

    async def test_the_current_concurrency_limits_taken_jobs(self, site: Site) -> None:
        shop = await site.service(concurrency=3)
        async with site.open_uow() as uow:
            jobs = [await put(uow, number, service_id=shop) for number in range(6)]
            assert await uow.queue.take(10) == [(jobs[0], 0), (jobs[1], 1), (jobs[2], 2)]
            await set_concurrency(uow, shop, 1)
            await uow.queue.finish(jobs[1])
            await uow.queue.finish(jobs[0])
            assert await uow.queue.take(10) == []  # one still runs in a lane that was removed
            await uow.queue.finish(jobs[2])
            assert await uow.queue.take(10) == [(jobs[3], 3)]
            await set_concurrency(uow, shop, 2)
            assert await uow.queue.take(10) == [(jobs[4], 4)]
            await uow.queue.finish(jobs[3])
            assert await uow.queue.take(10) == [(jobs[5], 5)]

    async def test_admitted_jobs_wait_again_when_the_concurrency_is_reduced(self, site: Site) -> None:
        shop = await site.service(concurrency=3)
        async with site.open_uow() as uow:
            jobs = [await put(uow, number, service_id=shop) for number in range(4)]
            assert await uow.queue.take(1) == [(jobs[0], 0)]
            await set_concurrency(uow, shop, 2)
            assert await uow.queue.take(10) == [(jobs[1], 1)]
            assert await uow.queue.take(10) == []


async def set_concurrency(uow: UnitOfWork, service_id: int, concurrency: int) -> None:
    """Change the concurrency as a sync of a changed config does."""
    service = await uow.services.get(service_id, for_update=True, visible=EVERYTHING)
    service.data = {**service.data, "concurrency": concurrency}
    await uow.services.store(service)


class TestServices:
    async def test_a_service_is_found_by_name_while_listed(self, site: Site) -> None:
        shop = await site.service("shop")
        async with site.open_uow() as uow:
            found = await uow.services.find("shop", visible=EVERYTHING)
            assert found is not None
            assert found.id == shop
            assert await uow.services.find("SHOP", visible=EVERYTHING) is None
            assert [service.name for service in await uow.services.some([shop, 10**9], visible=EVERYTHING)] == ["shop"]
            assert await uow.services.some([], visible=EVERYTHING) == []
            found.deleted = at(1)
            await uow.services.store(found)
        async with site.open_uow() as uow:
            assert await uow.services.find("shop", visible=EVERYTHING) is None
            assert await uow.services.list(visible=EVERYTHING) == []
            assert [service.name for service in await uow.services.all_for_upkeep()] == ["shop"]


class TestWhyWaiting:
    @pytest.fixture
    async def shop(self, site: Site) -> int:
        """Return a service; one worker is alive."""
        await site.beat()
        return await site.service()

    async def why(self, site: Site, deployment_id: int, *, later: float = 0) -> dict[str, Any] | None:
        async with site.open_uow() as uow:
            deployment = await uow.deployments.get(deployment_id, visible=EVERYTHING)
            now = (await uow.workers.list())[0].last_seen + timedelta(seconds=later)
            return await why_waiting(deployment, uow, now, worker_grace_seconds=60, visible=EVERYTHING)

    async def test_a_deployment_waits_for_a_running_deployment(self, site: Site, shop: int) -> None:
        first, second = await site.start(shop), await site.start(shop)
        await site.claim()
        assert await self.why(site, second) == {
            "reason": f"Deployment {first} of shop is running ahead of it; one at a time.",
            "position": 1,
            "blocked_by": first,
        }

    async def test_a_deployment_waits_for_deployments_ahead(self, site: Site, shop: int) -> None:
        ids = [await site.start(shop) for _ in range(3)]
        await site.claim()
        assert await self.why(site, ids[2]) == {
            "reason": f"Deployment {ids[1]} of shop is waiting ahead of it; one at a time.",
            "position": 2,
            "blocked_by": ids[1],
        }

    async def test_a_deployment_waits_for_a_free_worker(self, site: Site, shop: int) -> None:
        deployment_id = await site.start(shop)
        why = await self.why(site, deployment_id)
        assert why == {
            "reason": "All workers are busy. It starts as soon as one is free.",
            "position": 1,
            "blocked_by": None,
        }

    async def test_a_deployment_waits_for_a_live_worker(self, site: Site, shop: int) -> None:
        deployment_id = await site.start(shop)
        why = await self.why(site, deployment_id, later=61)
        assert why is not None
        assert why["reason"] == "No worker is running. Start one with: fastdeploy worker"

    async def test_deployments_of_other_services_do_not_matter(self, site: Site, shop: int) -> None:
        await site.running("blog")
        why = await self.why(site, await site.start(shop))
        assert why is not None
        assert why["blocked_by"] is None

    async def test_a_deployment_waits_for_the_process_of_a_finished_one(self, site: Site, shop: int) -> None:
        first, second = await site.start(shop), await site.start(shop)
        await site.claim()
        await site.bus.handle(FinishDeployment(deployment_id=first), by=WORKER)
        why = await self.why(site, second)
        assert why is not None
        assert why["blocked_by"] == first

    async def test_with_free_lanes_no_deployment_is_ahead(self, site: Site) -> None:
        await site.beat()
        service_id = await site.service(concurrency=2)
        first, second, third = [await site.start(service_id) for _ in range(3)]
        await site.claim()
        why = await self.why(site, second)
        assert why is not None
        assert why["blocked_by"] is None
        await site.claim()
        why = await self.why(site, third)
        assert why is not None
        assert why["blocked_by"] in (first, second)

    async def test_running_and_final_deployments_do_not_wait(self, site: Site, shop: int) -> None:
        deployment_id = await site.start(shop)
        await site.claim()
        assert await self.why(site, deployment_id) is None
        await site.take_in(deployment_id, line(), ended(0))
        assert await self.why(site, deployment_id) is None

    @pytest.mark.parametrize(("seconds", "lives"), [(0, True), (59.9, True), (60, False), (1000, False), (-5, True)])
    def test_which_workers_count_as_alive(self, seconds: float, lives: bool) -> None:
        assert alive(at(0), at(seconds), 60) is lives
