"""Run concurrent commands through one bus, with real transactions."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterable
from typing import Any

from deploy.domain.commands import (
    CancelDeployment,
    ChangeUser,
    Command,
    DeleteService,
    FailLostRun,
    FinishDeployment,
    IngestOutput,
    ReportStep,
    RequeueDeployment,
    ServiceFolder,
    StartDeployment,
    SyncServices,
)
from deploy.domain.errors import Conflict, NotFound
from deploy.domain.events import ServiceChanged
from deploy.domain.model import DeploymentState, Step, StepReport, StepState
from deploy.domain.policy import WORKER
from deploy.domain.rights import EVERYTHING
from tests.runs import ended, line, reported
from tests.site import Site, queued, unfinished

MAX_ID = 2**62


async def outcomes(attempts: Iterable[Awaitable[Any]], *expected: type[Exception]) -> list[Any]:
    """Run all attempts at the same time. Return the results and the classes of expected errors."""
    results: list[Any] = []
    for result in await asyncio.gather(*attempts, return_exceptions=True):
        if isinstance(result, BaseException) and not isinstance(result, expected):
            raise result
        results.append(type(result) if isinstance(result, BaseException) else result)
    return results


def start(service_id: int, key: str | None = None) -> StartDeployment:
    return StartDeployment(service_id=service_id, origin="test", user="ada", user_id=None, idempotency_key=key)


class TestStarts:
    async def test_two_hundred_starts_create_two_hundred_deployments(self, busy_site: Site) -> None:
        services = [await busy_site.service(f"s{number}", steps=[{"name": "A"}]) for number in range(5)]
        commands = [start(services[number % 5]) for number in range(200)]
        ids = [
            queued(events)
            for events in await outcomes(busy_site.bus.handle(command, by=WORKER) for command in commands)
        ]
        assert len(set(ids)) == 200
        async with busy_site.open_uow() as uow:
            found = await unfinished(uow)
        assert {deployment.id for deployment in found} == set(ids)
        assert Counter(deployment.service_id for deployment in found) == dict.fromkeys(services, 40)
        assert len({deployment.job_id for deployment in found}) == 200
        for deployment in found[:5]:
            assert [message["type"] for message in await busy_site.messages(deployment.id)] == ["deployment", "step"]

    async def test_jobs_of_a_service_are_in_deployment_order(self, busy_site: Site) -> None:
        service_id = await busy_site.service()
        await outcomes(busy_site.bus.handle(start(service_id), by=WORKER) for _ in range(40))
        async with busy_site.open_uow() as uow:
            jobs = [deployment.job_id for deployment in await unfinished(uow)]
        assert jobs == sorted(jobs, key=lambda job: job or 0)

    async def test_twenty_requests_with_one_key_create_one_deployment(self, busy_site: Site) -> None:
        service_id = await busy_site.service()
        results = await outcomes(busy_site.bus.handle(start(service_id, "k1"), by=WORKER) for _ in range(20))
        assert len({queued(events) for events in results}) == 1
        assert sum(len(events) > 1 for events in results) == 1
        async with busy_site.open_uow() as uow:
            assert len(await unfinished(uow)) == 1

    async def test_a_removed_service_has_no_open_deployment(self, busy_site: Site) -> None:
        for number in range(10):
            service_id = await busy_site.service(f"s{number}")
            started, deleted = await outcomes(
                (
                    busy_site.bus.handle(start(service_id), by=WORKER),
                    busy_site.bus.handle(DeleteService(service_id=service_id), by=WORKER),
                ),
                NotFound,
                Conflict,
            )
            assert (started is NotFound) != (deleted is Conflict)


class TestClaims:
    async def test_each_deployment_is_claimed_once_and_in_order(self, busy_site: Site) -> None:
        services = [await busy_site.service(f"s{number}") for number in range(5)]
        for number in range(40):
            await busy_site.bus.handle(start(services[number % 5]), by=WORKER)
        claimed: dict[int, list[int]] = {service_id: [] for service_id in services}
        running: set[int] = set()

        async def work(worker_id: str) -> None:
            while (deployment_id := await busy_site.claim(worker_id)) is not None:
                deployment = await busy_site.deployment(deployment_id)
                assert deployment.worker_id == worker_id
                assert deployment.service_id not in running, "two at once"
                running.add(deployment.service_id)
                claimed[deployment.service_id].append(deployment_id)
                await asyncio.sleep(0)
                running.discard(deployment.service_id)
                await busy_site.take_in(deployment_id, line(), ended(0))

        # A worker stops when the remaining jobs wait for others. The worker that finishes one of those takes the next.
        await outcomes(work(f"w{number}") for number in range(8))
        async with busy_site.open_uow() as uow:
            left = await uow.queue._driver.fetch("SELECT id, status, lock, args FROM procrastinate_jobs ORDER BY id")
        assert sum(map(len, claimed.values())) == 40, left
        for ids in claimed.values():
            assert ids == sorted(ids)
        assert await busy_site.claim() is None

    async def test_each_slot_runs_one_deployment_at_a_time(self, busy_site: Site) -> None:
        service_id = await busy_site.service(concurrency=3)
        await outcomes(busy_site.bus.handle(start(service_id), by=WORKER) for _ in range(7))
        claimed = [await busy_site.claim() for _ in range(4)]
        assert len({deployment_id for deployment_id in claimed if deployment_id}) == 3
        assert claimed[3] is None

    async def test_a_start_during_the_end_of_another_is_not_lost(self, busy_site: Site) -> None:
        service_id = await busy_site.service(concurrency=2)
        await busy_site.start(service_id)
        assert await busy_site.claim() is not None
        for _ in range(30):
            short = await busy_site.start(service_id)
            assert await busy_site.claim() == short
            ends = busy_site.take_in(short, ended(0))
            _, events = await outcomes((ends, busy_site.bus.handle(start(service_id), by=WORKER)))
            assert await busy_site.claim() == queued(events)
            await busy_site.take_in(queued(events), ended(0))

    async def test_workers_never_exceed_the_concurrency(self, busy_site: Site) -> None:
        service_id = await busy_site.service(concurrency=2)
        running: set[int] = set()
        claimed: list[int] = []

        async def work(worker_id: str) -> None:
            while len(claimed) < 40:
                deployment_id = await busy_site.claim(worker_id)
                if deployment_id is None:
                    continue
                running.add(deployment_id)
                claimed.append(deployment_id)
                assert len(running) <= 2
                await asyncio.sleep(0)
                running.discard(deployment_id)
                await busy_site.take_in(deployment_id, line(), ended(0))

        starts = [busy_site.bus.handle(start(service_id), by=WORKER) for _ in range(40)]
        results = await outcomes([*starts, *(work(f"w{number}") for number in range(5))])
        assert sorted(claimed) == sorted(queued(events) for events in results[:40])
        assert await busy_site.claim() is None

    async def test_a_claim_and_a_cancel_at_the_same_moment_are_consistent(self, busy_site: Site) -> None:
        service_id = await busy_site.service(concurrency=100)
        for _ in range(30):
            deployment_id = await busy_site.start(service_id)
            cancel = busy_site.bus.handle(CancelDeployment(deployment_id=deployment_id, by="bob"), by=WORKER)
            claimed, _ = await outcomes((busy_site.claim("w1"), cancel))
            deployment = await busy_site.deployment(deployment_id)
            # Either it never runs, or it is running and must be stopped.
            assert deployment.cancel_requested == "Cancelled by bob."
            if claimed is None:
                assert deployment.state is DeploymentState.CANCELLED
            else:
                assert (claimed, deployment.state) == (deployment_id, DeploymentState.RUNNING)
        assert await busy_site.claim("w1") is None
        async with busy_site.open_uow() as uow:
            assert await uow.deployments.without_job() == ([], 0)


class TestOneRun:
    async def test_concurrent_reports_are_all_counted(self, busy_site: Site) -> None:
        deployment_id = await busy_site.running()

        async def follow() -> None:
            for number in range(20):
                await busy_site.take_in(deployment_id, line(f"line {number}"), reported(f"out {number}"))

        reports = [StepReport(name=f"http {number}", state=StepState.SUCCESS) for number in range(20)]
        await outcomes(
            [
                follow(),
                *(
                    busy_site.bus.handle(ReportStep(deployment_id=deployment_id, report=report), by=WORKER)
                    for report in reports
                ),
            ]
        )
        steps = [step.name for step in await busy_site.steps(deployment_id)]
        assert sorted(steps) == sorted([*(f"{kind} {n}" for kind in ("out", "http") for n in range(20)), "Deploy"])
        deployment = await busy_site.deployment(deployment_id)
        messages = await busy_site.messages(deployment_id)
        assert [message["seq"] for message in messages] == list(range(1, deployment.seq + 1))
        lines = [entry for message in messages if message["type"] == "output" for entry in message["lines"]]
        assert [(number, text) for number, _, text, _ in lines] == [(n + 1, f"line {n}") for n in range(20)]
        assert deployment.lines == 20

    async def test_the_same_batch_is_applied_once(self, busy_site: Site) -> None:
        deployment_id = await busy_site.running()
        batch = IngestOutput(deployment_id=deployment_id, entries=(line(), reported("A")), offset_before=0, offset=50)
        results = await outcomes(busy_site.bus.handle(batch, by=WORKER) for _ in range(8))
        assert sum(bool(events) for events in results) == 1
        deployment = await busy_site.deployment(deployment_id)
        assert (deployment.lines, deployment.spool_offset) == (1, 50)

    async def test_concurrent_ends_are_applied_once(self, busy_site: Site) -> None:
        for number in range(10):
            deployment_id = await busy_site.running(f"shop{number}")
            end = IngestOutput(deployment_id=deployment_id, entries=(ended(0),), offset_before=0, offset=10)
            commands: list[Command] = [
                end,
                FinishDeployment(deployment_id=deployment_id),
                FailLostRun(deployment_id=deployment_id, reason="Gone."),
                CancelDeployment(deployment_id=deployment_id, by="bob"),
            ]
            await outcomes((busy_site.bus.handle(command, by=WORKER) for command in commands), Conflict)
            deployment = await busy_site.deployment(deployment_id)
            assert deployment.state.is_final
            assert deployment.run_ended is not None
            assert not [step for step in await busy_site.steps(deployment_id) if not step.state.is_final]
            finals = [m["state"] for m in await busy_site.messages(deployment_id) if m["type"] == "deployment"]
            assert finals[-1] == deployment.state.value
            assert await busy_site.claim() is None

    async def test_published_messages_match_the_stored_rows(self, busy_site: Site) -> None:
        """After concurrent commands on many runs, the last message of each step equals its row."""
        ids = [await busy_site.running(f"s{number}", steps=("A", "B")) for number in range(10)]

        async def run(deployment_id: int) -> None:
            for name in ("A", "B"):
                await busy_site.take_in(deployment_id, reported(name, "running"), line(), line())
                await busy_site.take_in(deployment_id, reported(name))
            await busy_site.take_in(deployment_id, ended(0))

        await outcomes(map(run, ids))
        for deployment_id in ids:
            assert await busy_site.states(deployment_id) == {"A": "success", "B": "success"}
            last = {m["id"]: m for m in await busy_site.messages(deployment_id) if m["type"] == "step"}
            for step in await busy_site.steps(deployment_id):
                published = last[step.id]
                assert (published["state"], published["first_line"], published["last_line"]) == (
                    "success",
                    *lines_of(step),
                )
            assert (await busy_site.deployment(deployment_id)).state is DeploymentState.SUCCESS


class TestServices:
    async def test_concurrent_syncs_of_new_folders_add_them_once(self, busy_site: Site) -> None:
        folders = tuple(ServiceFolder(name=f"s{number}", data={}) for number in range(5))
        results = await outcomes(busy_site.bus.handle(SyncServices(folders=folders), by=WORKER) for _ in range(8))
        added = [event.name for events in results for event in events if isinstance(event, ServiceChanged)]
        assert sorted(added) == [f"s{number}" for number in range(5)]

    async def test_the_last_of_conflicting_syncs_wins(self, busy_site: Site) -> None:
        one = (ServiceFolder(name="a", data={"n": 1}), ServiceFolder(name="b", data={}))
        two = (ServiceFolder(name="b", data={}), ServiceFolder(name="a", data={"n": 2}))
        commands = [SyncServices(folders=folders) for folders in (one, two) * 6]
        await outcomes(busy_site.bus.handle(command, by=WORKER) for command in commands)
        async with busy_site.open_uow() as uow:
            services = {service.name: service.data for service in await uow.services.list(visible=EVERYTHING)}
        assert services in ({"a": {"n": 1}, "b": {}}, {"a": {"n": 2}, "b": {}})

    async def test_syncs_and_starts_do_not_deadlock(self, busy_site: Site) -> None:
        service_id = await busy_site.service("a")
        await busy_site.service("b")
        folders = tuple(ServiceFolder(name=name, data={}) for name in "ab")
        commands: list[Command] = [SyncServices(folders=folders), start(service_id)] * 10
        await outcomes(busy_site.bus.handle(command, by=WORKER) for command in commands)
        async with busy_site.open_uow() as uow:
            assert len(await unfinished(uow)) == 10


class TestRequeue:
    async def test_concurrent_requeues_create_one_job(self, busy_site: Site) -> None:
        """Several reapers can find the same deployment without a job."""
        service_id = await busy_site.service()
        for _ in range(5):
            deployment_id = await busy_site.start(service_id)
            job_id = (await busy_site.deployment(deployment_id)).job_id
            assert job_id is not None
            async with busy_site.open_uow() as uow:
                await uow.queue.withdraw(job_id)
            requeue = RequeueDeployment(deployment_id=deployment_id)
            await outcomes(busy_site.bus.handle(requeue, by=WORKER) for _ in range(12))
            async with busy_site.open_uow() as uow:
                jobs = [
                    job
                    for job in await uow.queue.jobs(visible=EVERYTHING, last=MAX_ID)
                    if job.deployment_id == deployment_id
                ]
            assert len(jobs) == 1
            await busy_site.bus.handle(requeue, by=WORKER)
            assert (await busy_site.deployment(deployment_id)).job_id == jobs[0].id


class TestUsers:
    async def test_a_name_is_taken_once(self, busy_site: Site) -> None:
        results = await outcomes((busy_site.user("ada") for _ in range(8)), Conflict)
        assert Counter(map(type, results)) == {int: 1, type: 7}

    async def test_concurrent_changes_of_a_user_are_all_counted(self, busy_site: Site) -> None:
        """Each change ends the sessions that began before it. A lost one would leave a stolen session alive."""
        user_id = await busy_site.user("ada")
        async with busy_site.open_uow() as uow:
            before = (await uow.users.get(user_id)).epoch
        changes = [ChangeUser(user_id=user_id, password_hash=f"hash {number}") for number in range(20)]
        await outcomes(busy_site.bus.handle(change, by=WORKER) for change in changes)
        async with busy_site.open_uow() as uow:
            assert (await uow.users.get(user_id)).epoch == before + 20

    async def test_the_last_two_administrators_cannot_both_be_removed(self, busy_site: Site) -> None:
        ada, bob = await busy_site.user("ada"), await busy_site.user("bob", is_admin=True)
        for _ in range(10):
            changes = [ChangeUser(user_id=user_id, is_active=False) for user_id in (ada, bob)]
            results = await outcomes((busy_site.bus.handle(change, by=WORKER) for change in changes), Conflict)
            assert results.count(Conflict) == 1
            for user_id in (ada, bob):
                await busy_site.bus.handle(ChangeUser(user_id=user_id, is_active=True), by=WORKER)


def lines_of(step: Step) -> tuple[int | None, int | None]:
    return step.first_line, step.last_line
