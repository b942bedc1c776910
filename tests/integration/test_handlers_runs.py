"""Handle the commands that workers send about deployments, against PostgreSQL."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.adapters.repository.statement import Statement
from deploy.domain.commands import (
    CancelDeployment,
    ClaimDeployments,
    DeleteService,
    FailLostRun,
    FinishDeployment,
    Heartbeat,
    IngestOutput,
    ReportStep,
)
from deploy.domain.errors import NotFound
from deploy.domain.events import DeploymentClaimed
from deploy.domain.model import DeploymentState, HostResult, Outcome, StepReport, StepState
from deploy.domain.policy import WORKER
from deploy.domain.reports import HostReported, read_line
from deploy.domain.rights import EVERYTHING
from deploy.domain.run import PLACEHOLDER
from deploy.domain.service_config import ServiceConfig
from deploy.service_layer.output import lines_of, read_lines, search_lines
from tests.runs import at, ended, line, reported
from tests.site import Site

LOST = "The run was lost."


async def execute(site: Site, statement: str, **values: Any) -> None:
    """Change the database directly, bypassing the product."""
    async with site.open_uow() as uow:
        await Statement(statement).rows(uow.workers._driver, **values)


OLDER_CONFIG: dict[str, Any] = {
    "description": 5,
    "deploy_script": ["deploy.sh"],
    "steps": [{"title": "Build"}],
    "concurrency": "many",
    "retention_days": {},
    "timeout": "soon",
    "inputs": [],
    "confirm": "shop",
    "team": "web",
}


async def test_an_older_config_with_invalid_options_can_be_listed_started_and_claimed(site: Site) -> None:
    service_id = await site.service(**OLDER_CONFIG)
    deployment_id = await site.start(service_id)
    async with site.open_uow() as uow:
        (service,) = await uow.services.list(visible=EVERYTHING)
        steps = [step.name for step in await uow.steps.of(deployment_id, visible=EVERYTHING)]
    assert (service.concurrency, service.data, steps) == (1, OLDER_CONFIG, [PLACEHOLDER.name])
    events = await site.bus.handle(ClaimDeployments(worker_id="w1"), by=WORKER)
    assert isinstance(events[0], DeploymentClaimed)
    assert (events[0].deployment.id, events[0].config.invalid) == (
        deployment_id,
        {name: value for name, value in OLDER_CONFIG.items() if name != "team"},
    )


class TestCachedRuns:
    async def test_a_lost_run_with_a_reported_result_does_not_come_back(self, site: Site) -> None:
        """Its worker was cut off until the run was declared lost, and then continues with its cached state."""
        deployment_id = await site.running(steps=("A",))
        await site.take_in(deployment_id, line())
        await site.bus.handle(FinishDeployment(deployment_id=deployment_id), by=WORKER)
        await site.take_in(deployment_id, line())
        await site.bus.handle(FailLostRun(deployment_id=deployment_id, reason=LOST), by=WORKER)
        ended_then = (await site.deployment(deployment_id)).run_ended
        assert ended_then is not None
        await site.take_in(deployment_id, line())
        assert (await site.deployment(deployment_id)).run_ended == ended_then


class TestClaimDeployments:
    async def test_the_oldest_deployment_starts_running(self, site: Site) -> None:
        service_id = await site.service()
        deployment_id = await site.start(service_id)
        now = site.clock.advance(5)
        events = await site.bus.handle(ClaimDeployments(worker_id="w1"), by=WORKER)
        assert isinstance(events[0], DeploymentClaimed)
        assert (events[0].deployment.id, events[0].config) == (deployment_id, ServiceConfig())
        deployment = await site.deployment(deployment_id)
        assert (deployment.state, deployment.worker_id, deployment.started) == (DeploymentState.RUNNING, "w1", now)
        assert (await site.messages(deployment_id))[-1]["state"] == "running"

    async def test_an_empty_queue_returns_nothing(self, site: Site) -> None:
        assert await site.bus.handle(ClaimDeployments(worker_id="w1"), by=WORKER) == []

    async def test_several_deployments_of_different_lanes_are_claimed_at_once(self, site: Site) -> None:
        shop, blog, busy = [await site.service(name) for name in ("shop", "blog", "busy")]
        waiting = [await site.start(service_id) for service_id in (busy, shop, shop, blog, blog)]
        assert await site.claim() == waiting[0]
        await site.start(busy)  # must wait for the previous one
        events = await site.bus.handle(ClaimDeployments(worker_id="w2", limit=10), by=WORKER)
        claimed = [event.deployment.id for event in events if isinstance(event, DeploymentClaimed)]
        assert claimed == [waiting[1], waiting[3]]
        for deployment_id in claimed:
            deployment = await site.deployment(deployment_id)
            assert (deployment.state, deployment.worker_id) == (DeploymentState.RUNNING, "w2")
            assert [message["seq"] for message in await site.messages(deployment_id)] == [1, 2, 3]
            assert (await site.messages(deployment_id))[-1]["state"] == "running"
        assert await site.bus.handle(ClaimDeployments(worker_id="w2", limit=10), by=WORKER) == []

    async def test_at_most_the_requested_number_is_claimed(self, site: Site) -> None:
        waiting = [await site.start(await site.service(f"s{number}")) for number in range(5)]
        events = await site.bus.handle(ClaimDeployments(worker_id="w1", limit=2), by=WORKER)
        assert [event.deployment.id for event in events if isinstance(event, DeploymentClaimed)] == waiting[:2]
        events = await site.bus.handle(ClaimDeployments(worker_id="w1", limit=3), by=WORKER)
        assert [event.deployment.id for event in events if isinstance(event, DeploymentClaimed)] == waiting[2:]

    async def test_a_deployment_cancelled_during_a_claim_is_replaced(self, site: Site) -> None:
        waiting = [await site.start(await site.service(f"s{number}")) for number in range(3)]
        # As if it was canceled after the job was taken and before the deployment was read.
        await execute(site, "UPDATE deployments SET state = 'cancelled' WHERE id = :id", id=waiting[0])
        events = await site.bus.handle(ClaimDeployments(worker_id="w1", limit=2), by=WORKER)
        assert [event.deployment.id for event in events if isinstance(event, DeploymentClaimed)] == waiting[1:]

    async def test_deployments_of_a_service_run_one_at_a_time_in_order(self, site: Site) -> None:
        service_id = await site.service()
        ids = [await site.start(service_id) for _ in range(3)]
        for deployment_id in ids:
            assert await site.claim() == deployment_id
            assert await site.claim() is None
            await site.take_in(deployment_id, ended(1))

    async def test_services_do_not_wait_for_each_other(self, site: Site) -> None:
        shop, blog = await site.service("shop"), await site.service("blog")
        ids = [await site.start(shop), await site.start(shop), await site.start(blog)]
        assert [await site.claim() for _ in range(3)] == [ids[0], ids[2], None]

    async def test_a_service_can_have_several_lanes(self, site: Site) -> None:
        service_id = await site.service(concurrency=2)
        ids = [await site.start(service_id) for _ in range(4)]
        assert [await site.claim() for _ in range(3)] == [ids[0], ids[1], None]
        await site.take_in(ids[1], ended(0))
        # It has waited longest, regardless of its lane.
        assert await site.claim() == ids[2]
        assert await site.claim() is None
        await site.take_in(ids[0], ended(0))
        assert await site.claim() == ids[3]

    async def test_a_changed_config_applies_to_queued_deployments(self, site: Site) -> None:
        service_id = await site.service(concurrency=1)
        ids = [await site.start(service_id) for _ in range(4)]
        assert [await site.claim(), await site.claim()] == [ids[0], None]
        await site.service(concurrency=3)
        assert [await site.claim() for _ in range(3)] == [ids[1], ids[2], None]
        await site.service(concurrency=1)
        await site.take_in(ids[1], ended(0))
        assert await site.claim() is None
        await site.take_in(ids[0], ended(0))
        assert await site.claim() is None
        await site.take_in(ids[2], ended(0))
        assert await site.claim() == ids[3]

    async def test_a_cancelled_deployment_with_a_leftover_job_is_skipped(self, site: Site) -> None:
        service_id = await site.service()
        first, second = await site.start(service_id), await site.start(service_id)
        await execute(site, "UPDATE deployments SET state = 'cancelled' WHERE id = :id", id=first)
        assert await site.claim() == second
        assert (await site.deployment(first)).state is DeploymentState.CANCELLED

    async def test_deployments_of_a_removed_service_still_run(self, site: Site) -> None:
        deployment_id = await site.start(await site.service())
        await execute(site, "UPDATE services SET deleted = now()")
        assert await site.claim() == deployment_id


class TestIngestOutput:
    async def test_lines_and_steps_are_stored_and_published(self, site: Site) -> None:
        deployment_id = await site.running(steps=("A", "B"))
        await site.take_in(
            deployment_id, line("before"), reported("A", "running", message="m", detail={"k": [1]}), line("in A")
        )
        deployment = await site.deployment(deployment_id)
        assert (deployment.lines, deployment.spool_offset) == (2, 30)
        a, b = await site.steps(deployment_id)
        assert (a.name, a.state, a.message, a.detail) == ("A", StepState.RUNNING, "m", {"k": [1]})
        assert (a.started, a.first_line, a.last_line, a.run_order) == (at(1), 2, 2, 1)
        assert (b.name, b.state, b.run_order) == ("B", StepState.PENDING, None)
        output = [message for message in await site.messages(deployment_id) if message["type"] == "output"]
        assert [message["lines"] for message in output] == [
            [[1, "2026-03-01T12:00:01Z", "before", None]],
            [[2, "2026-03-01T12:00:01Z", "in A", a.id]],
        ]

    async def test_changes_between_two_batches_are_seen_by_the_second(self, site: Site) -> None:
        deployment_id = await site.running(steps=("A", "B"))
        await site.take_in(deployment_id, line("one"), reported("A", "running"))
        report = StepReport(name="C", state=StepState.FAILURE, message="reported by the script")
        await site.bus.handle(ReportStep(deployment_id=deployment_id, report=report), by=WORKER)
        await site.bus.handle(CancelDeployment(deployment_id=deployment_id, by="bob"), by=WORKER)
        await site.take_in(deployment_id, line("two"), reported("B"), ended(0))
        messages = await site.messages(deployment_id)
        deployment = await site.deployment(deployment_id)
        assert [message["seq"] for message in messages] == list(range(1, deployment.seq + 1))
        assert (deployment.lines, deployment.spool_offset, deployment.cancel_requested) == (2, 50, "Cancelled by bob.")
        assert deployment.state is DeploymentState.FAILURE
        assert {(step.name, step.state.value) for step in await site.steps(deployment_id)} == {
            ("C", "failure"),
            ("B", "success"),
        }

    async def test_a_step_that_ended_between_two_batches_is_kept(self, site: Site) -> None:
        deployment_id = await site.running(steps=("A", "B"))
        await site.take_in(deployment_id, reported("A", "running"))
        await site.bus.handle(
            ReportStep(deployment_id=deployment_id, report=StepReport(name="A", state=StepState.SUCCESS)), by=WORKER
        )
        await site.take_in(deployment_id, ended(0))
        assert await site.states(deployment_id) == {"A": "success"}
        messages = await site.messages(deployment_id)
        assert [message["name"] for message in messages if message.get("deleted")] == ["B"]

    async def test_host_results_are_stored(self, site: Site) -> None:
        deployment_id = await site.running()
        result = HostResult(task="t1", host="web1", outcome=Outcome.CHANGED, duration=0.5, diff="+x")
        await site.take_in(
            deployment_id,
            reported("Install", "running", detail={"task": "t1"}, planned=True),
            HostReported(result, at(2)),
        )
        await site.take_in(deployment_id, reported("Install", detail={"task": "t1"}, planned=True))
        step = (await site.steps(deployment_id))[0]
        assert step.host_counts == {"changed": 1}
        assert [(shown["host"], shown["diff"], shown["has_more"]) for shown in step.hosts] == [("web1", None, True)]
        async with site.open_uow() as uow:
            found = await uow.hosts.one(deployment_id, step.id, "web1", visible=EVERYTHING)
        assert found is not None
        assert (found.outcome, found.duration, found.diff) == (Outcome.CHANGED, 0.5, "+x")

    async def test_the_end_of_a_run_completes_the_deployment(self, site: Site) -> None:
        deployment_id = await site.running(steps=("A", "B"), context={"env": {"domain": "x.org"}})
        await site.take_in(deployment_id, reported("A"), ended(0))
        deployment = await site.deployment(deployment_id)
        assert (deployment.state, deployment.exit_code) == (DeploymentState.SUCCESS, 0)
        assert (deployment.finished, deployment.run_ended) == (at(99), at(99))
        assert await site.states(deployment_id) == {"A": "success"}
        async with site.open_uow() as uow:
            (running,) = await uow.deployed_services.list(visible=EVERYTHING)
        assert (running.deployment_id, running.service_id) == (deployment_id, deployment.service_id)
        assert running.config == {"service": "shop", "env": {"domain": "x.org"}}

    async def test_a_failure_keeps_the_last_success_deployed(self, site: Site) -> None:
        first = await site.succeeded()
        second = await site.running()
        await site.take_in(second, ended(1))
        async with site.open_uow() as uow:
            assert [service.deployment_id for service in await uow.deployed_services.list(visible=EVERYTHING)] == [
                first
            ]

    async def test_a_new_success_replaces_the_deployed_service(self, site: Site) -> None:
        await site.succeeded()
        second = await site.succeeded()
        async with site.open_uow() as uow:
            assert [service.deployment_id for service in await uow.deployed_services.list(visible=EVERYTHING)] == [
                second
            ]

    @pytest.mark.parametrize("offset_before", [0, 10, 30, 1000])
    async def test_a_batch_with_a_wrong_offset_is_ignored(self, site: Site, offset_before: int) -> None:
        deployment_id = await site.running()
        await site.take_in(deployment_id, line(), line())
        before = await site.messages(deployment_id)
        command = IngestOutput(
            deployment_id=deployment_id, entries=(line(),), offset_before=offset_before, offset=2000
        )
        assert await site.bus.handle(command, by=WORKER) == []
        assert (await site.deployment(deployment_id)).spool_offset == 20
        assert await site.messages(deployment_id) == before

    async def test_batches_without_entries_advance_the_offset(self, site: Site) -> None:
        deployment_id = await site.running()
        before = await site.messages(deployment_id)
        await site.bus.handle(
            IngestOutput(deployment_id=deployment_id, entries=(), offset_before=0, offset=40), by=WORKER
        )
        assert (await site.deployment(deployment_id)).spool_offset == 40
        assert await site.messages(deployment_id) == before

    async def test_one_batch_can_have_ten_thousand_lines(self, site: Site) -> None:
        deployment_id = await site.running()
        await site.take_in(deployment_id, *(line(f"line {n}") for n in range(10_000)))
        async with site.open_uow() as uow:
            events = await uow.events.output_after(deployment_id, 0, limit=1000, visible=EVERYTHING)
        found = [entry for event in events for entry in lines_of(event.message)]
        assert [(entry.n, entry.text) for entry in found] == [(n + 1, f"line {n}") for n in range(10_000)]
        assert [event.last_line for event in events] == [500 * n for n in range(1, 21)]

    async def test_one_batch_can_have_a_thousand_steps(self, site: Site) -> None:
        deployment_id = await site.running()
        await site.take_in(deployment_id, *(reported(f"step {n}") for n in range(1000)))
        steps = await site.steps(deployment_id)
        assert [step.name for step in steps[:1000]] == [f"step {n}" for n in range(1000)]
        assert len({step.id for step in steps}) == 1001

    @pytest.mark.parametrize(
        "fields",
        [
            {"name": "a\x00b", "message": "a\x00b", "x": "\x00", "\x00": 1},
            {"name": "\ud800", "message": "\udfff", "x": "\ud800"},
            {"name": "x" * 10_000, "message": "y" * 200_000, "x": "z" * 200_000},
            {"name": "A", "x": [1e308, -0.0, 10**300, None, True, {"": []}]},
            {"name": "A", "x": float("nan"), "y": float("inf")},
            {"name": "A", "state": "running", "task": {"a": [1]}},
            {"name": "'; DROP TABLE steps; --", "message": "{0} %s :x $1"},
        ],
        ids=lambda fields: repr(fields)[:30],
    )
    async def test_hostile_reports_are_stored_and_read(self, site: Site, fields: dict[str, Any]) -> None:
        deployment_id = await site.running()
        hostile = json.dumps({"state": "success", **fields})
        await site.take_in(deployment_id, read_line(hostile, at(1)), line(str(fields.get("name"))), line("\x00\ud800"))
        await site.take_in(deployment_id, read_line(hostile, at(2)), ended(0))
        assert (await site.deployment(deployment_id)).run_ended == at(99)
        assert (await site.deployment(deployment_id)).lines == 2
        for message in await site.messages(deployment_id):
            json.dumps(message, allow_nan=False)

    async def test_steps_changed_by_others_are_read_again(self, site: Site) -> None:
        deployment_id = await site.running(steps=("A", "B", "C"))
        await site.take_in(deployment_id, reported("A"))
        await site.bus.handle(ReportStep(deployment_id=deployment_id, report=report("B")), by=WORKER)
        await site.take_in(deployment_id, line(), reported("C"))
        assert await site.states(deployment_id) == {"A": "success", "B": "success", "C": "success"}
        assert (await site.steps(deployment_id))[2].first_line == 1

    async def test_a_batch_that_cannot_be_stored_leaves_no_trace(self, site: Site) -> None:
        """The commit fails, others change the deployment, and then the batch is sent again."""
        deployment_id = await site.running(steps=("A", "B"))
        await execute(
            site,
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'no'; END$$; ",
        )
        await execute(
            site,
            "CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON deployments DEFERRABLE INITIALLY IMMEDIATE "
            "FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        with pytest.raises(Exception, match="no"):
            await site.take_in(deployment_id, reported("X", "running"), reported("A", "running"))
        await execute(site, "DROP TRIGGER refuse ON deployments")
        for message in ("one", "two"):
            await site.bus.handle(
                ReportStep(deployment_id=deployment_id, report=report("B", "running", message)), by=WORKER
            )
        await site.take_in(deployment_id, reported("X", "running"), reported("A", "running"))
        assert await site.states(deployment_id) == {"B": "running", "X": "running", "A": "running"}

    async def test_output_after_a_lost_run_is_kept_without_effect(self, site: Site) -> None:
        """A worker that was considered dead comes back."""
        deployment_id = await site.running(steps=("A",))
        await site.bus.handle(FailLostRun(deployment_id=deployment_id, reason=LOST), by=WORKER)
        await site.take_in(deployment_id, line("still here"), reported("A"), ended(0))
        deployment = await site.deployment(deployment_id)
        assert (deployment.state, deployment.reason, deployment.lines) == (DeploymentState.FAILURE, LOST, 1)
        assert [step.state.is_final for step in await site.steps(deployment_id)] == [True]

    async def test_output_of_a_missing_deployment_is_ignored(self, site: Site) -> None:
        with pytest.raises(NotFound):
            await site.bus.handle(IngestOutput(deployment_id=1, entries=(), offset_before=0, offset=0), by=WORKER)


class TestFailLostRun:
    async def test_the_deployment_fails_with_a_reason(self, site: Site) -> None:
        deployment_id = await site.running(steps=("A", "B"))
        await site.take_in(deployment_id, reported("A", "running"))
        await site.bus.handle(FailLostRun(deployment_id=deployment_id, reason=LOST), by=WORKER)
        deployment = await site.deployment(deployment_id)
        assert (deployment.state, deployment.reason, deployment.exit_code) == (DeploymentState.FAILURE, LOST, None)
        (step,) = await site.steps(deployment_id)
        assert (step.name, step.state, step.message) == ("A", StepState.FAILURE, LOST)

    async def test_the_next_deployment_can_run(self, site: Site) -> None:
        first = await site.running()
        second = await site.start((await site.deployment(first)).service_id)
        await site.bus.handle(FailLostRun(deployment_id=first, reason=LOST), by=WORKER)
        assert await site.claim() == second

    async def test_failing_twice_is_harmless(self, site: Site) -> None:
        deployment_id = await site.running()
        await site.bus.handle(FailLostRun(deployment_id=deployment_id, reason=LOST), by=WORKER)
        assert await site.bus.handle(FailLostRun(deployment_id=deployment_id, reason="Again."), by=WORKER) == []
        assert (await site.deployment(deployment_id)).reason == LOST

    async def test_a_finished_run_keeps_its_outcome(self, site: Site) -> None:
        deployment_id = await site.succeeded()
        assert await site.bus.handle(FailLostRun(deployment_id=deployment_id, reason=LOST), by=WORKER) == []
        assert (await site.deployment(deployment_id)).state is DeploymentState.SUCCESS

    async def test_a_lost_run_with_a_reported_success_is_a_success(self, site: Site) -> None:
        deployment_id = await site.running()
        await site.bus.handle(FinishDeployment(deployment_id=deployment_id), by=WORKER)
        await site.bus.handle(FailLostRun(deployment_id=deployment_id, reason=LOST), by=WORKER)
        deployment = await site.deployment(deployment_id)
        assert (deployment.state, deployment.reason) == (DeploymentState.SUCCESS, None)
        async with site.open_uow() as uow:
            assert [service.deployment_id for service in await uow.deployed_services.list(visible=EVERYTHING)] == [
                deployment_id
            ]


class TestHeartbeat:
    async def test_a_worker_has_its_last_heartbeat(self, site: Site) -> None:
        await site.beat("w1", "host1")
        await site.bus.handle(Heartbeat(worker_id="w1", host="host2", version="2", slots=5), by=WORKER)
        async with site.open_uow() as uow:
            (worker,) = await uow.workers.list()
        assert (worker.id, worker.host, worker.version, worker.slots) == ("w1", "host2", "2", 5)
        assert worker.last_seen >= worker.started


class TestExpireDeployments:
    async def failed(self, site: Site, name: str = "shop", **more: Any) -> int:
        deployment_id = await site.running(name, **more)
        await site.take_in(deployment_id, line(), ended(1))
        return deployment_id

    async def remaining(self, site: Site) -> list[int]:
        async with site.open_uow() as uow:
            return [row[0] for row in await uow.workers._driver.fetch("SELECT id FROM deployments ORDER BY id")]

    async def test_by_default_everything_is_kept(self, site: Site) -> None:
        ids = [await self.failed(site) for _ in range(3)]
        assert await site.expire() == []
        assert await self.remaining(site) == ids

    async def test_the_newest_deployments_are_kept(self, site: Site) -> None:
        ids = [await self.failed(site) for _ in range(5)]
        assert sorted(await site.expire(count=2)) == ids[:3]
        assert await self.remaining(site) == ids[3:]
        assert await site.expire(count=2) == []

    async def test_recent_deployments_are_kept(self, site: Site) -> None:
        ids = [await self.failed(site) for _ in range(3)]
        await execute(site, "UPDATE deployments SET finished = now() - interval '3 days' WHERE id = :id", id=ids[0])
        await execute(site, "UPDATE deployments SET finished = now() - interval '1 day' WHERE id <> :id", id=ids[0])
        assert await site.expire(days=2) == ids[:1]
        assert sorted(await site.expire(days=0.5)) == ids[1:]

    async def test_with_both_limits_either_is_enough_to_be_kept(self, site: Site) -> None:
        ids = [await self.failed(site) for _ in range(3)]
        await execute(site, "UPDATE deployments SET finished = now()")
        await execute(site, "UPDATE deployments SET finished = now() - interval '9 days' WHERE id = :id", id=ids[2])
        assert sorted(await site.expire(days=5, count=2)) == [ids[0], ids[2]]

    async def test_the_last_success_is_kept_for_its_plan(self, site: Site) -> None:
        first, success = await site.succeeded(steps=("A",)), await site.succeeded(steps=("A",))
        later = [await self.failed(site) for _ in range(2)]
        assert sorted(await site.expire(count=1)) == [first, later[0]]
        assert await self.remaining(site) == [success, later[1]]

    async def test_unfinished_deployments_are_kept(self, site: Site) -> None:
        finished = await site.running("blog")
        await site.bus.handle(FinishDeployment(deployment_id=finished), by=WORKER)
        running = await site.running("shop")
        waiting = await site.start((await site.deployment(running)).service_id)
        gone = await site.start((await site.deployment(running)).service_id)
        await site.bus.handle(CancelDeployment(deployment_id=gone, by="bob"), by=WORKER)
        newest = await site.start((await site.deployment(running)).service_id)
        assert await site.expire(count=1) == [gone]
        assert await self.remaining(site) == [finished, running, waiting, newest]

    async def test_all_data_of_an_expired_deployment_is_deleted(self, site: Site) -> None:
        gone, kept = await self.failed(site), await self.failed(site)
        retry = await self.failed(site, retry_of=gone)
        await site.expire(count=2)
        assert await site.messages(gone) == []
        assert await site.steps(gone) == []
        assert await self.remaining(site) == [kept, retry]
        assert (await site.deployment(retry)).retry_of is None

    async def test_a_service_can_have_its_own_limits(self, site: Site) -> None:
        blog = [await self.failed(site, "blog") for _ in range(3)]
        shop = [await self.failed(site, "shop") for _ in range(3)]
        await site.service("blog", retention_count=0)
        await site.service("shop", retention_count=1, retention_days=None)
        assert sorted(await site.expire(count=2)) == shop[:2]
        await site.service("blog", retention_count=None)
        assert await site.expire(count=2) == blog[:1]

    @pytest.mark.parametrize(
        ("option", "value"), [("retention_days", "0"), ("retention_count", "many"), ("retention_days", -1)]
    )
    async def test_nothing_expires_if_an_older_config_has_an_invalid_limit(
        self, site: Site, option: str, value: Any
    ) -> None:
        shop = [await self.failed(site, "shop") for _ in range(2)]
        blog = [await self.failed(site, "blog") for _ in range(2)]
        await site.service("blog", **{option: value})
        assert await site.expire(count=1) == shop[:1]
        await site.service("blog")
        assert await site.expire(count=1) == blog[:1]

    @pytest.mark.parametrize("limits", [{"retention_days": 1e300}, {"retention_count": 10**30}])
    async def test_limits_can_be_larger_than_postgresql_can_compute_with(
        self, site: Site, limits: dict[str, Any]
    ) -> None:
        await self.failed(site)
        await site.service(**limits)
        assert await site.expire(count=0) == []

    async def test_deployments_of_removed_services_also_expire(self, site: Site) -> None:
        ids = [await self.failed(site) for _ in range(2)]
        await site.bus.handle(DeleteService(service_id=(await site.deployment(ids[0])).service_id), by=WORKER)
        assert await site.expire(count=1) == ids[:1]


class TestOutput:
    async def test_output_is_read_in_pages(self, site: Site) -> None:
        deployment_id = await site.running()
        for start in range(0, 60, 3):
            await site.take_in(deployment_id, *(line(f"line {n + 1}") for n in range(start, start + 3)), reported("A"))
        async with site.open_uow() as uow:
            first, after = await read_lines(uow, deployment_id, after=0, limit=25, visible=EVERYTHING)
            assert ([entry["n"] for entry in first], after) == (list(range(1, 26)), 25)
            second, after = await read_lines(uow, deployment_id, after=25, limit=1000, visible=EVERYTHING)
            assert ([entry["n"] for entry in second], after) == (list(range(26, 61)), None)
            assert await read_lines(uow, deployment_id, after=60, limit=10, visible=EVERYTHING) == ([], None)

    async def test_a_page_that_reaches_the_end_of_the_output_is_the_last(self, site: Site) -> None:
        deployment_id = await site.running()
        await site.take_in(deployment_id, line(), line())
        async with site.open_uow() as uow:
            found, after = await read_lines(uow, deployment_id, after=0, limit=2, visible=EVERYTHING)
        assert (len(found), after) == (2, None)

    async def search(
        self, site: Site, deployment_id: int, text: str, *, after: int = 0, limit: int = 1000, seconds: float = 60
    ) -> tuple[list[int], int | None]:
        """Return the numbers of the lines that a search finds, and the next `after`."""
        found, after_next = await search_lines(
            site.open_uow, deployment_id, text, visible=EVERYTHING, after=after, limit=limit, seconds=seconds
        )
        return [entry["n"] for entry in found], after_next

    async def test_a_search_ignores_case_and_continues_where_it_stopped(self, site: Site) -> None:
        deployment_id = await site.running()
        await site.take_in(deployment_id, *(line(f"{'ERROR' if n % 10 == 0 else 'fine'} {n}") for n in range(100)))
        assert await self.search(site, deployment_id, "error", limit=4) == ([1, 11, 21, 31], 31)
        found = await self.search(site, deployment_id, "Error", after=31)
        assert found == ([41, 51, 61, 71, 81, 91], None)
        assert await self.search(site, deployment_id, "nowhere") == ([], None)

    async def test_a_search_ends_after_its_time_and_can_be_continued(self, site: Site) -> None:
        deployment_id = await site.running()
        for n in range(3):
            await site.take_in(deployment_id, line(f"line {n}"), reported("A", "running"))
        assert await self.search(site, deployment_id, "line 2", seconds=0) == ([], 1)
        assert await self.search(site, deployment_id, "line 2", seconds=0, after=1) == ([], 2)
        assert await self.search(site, deployment_id, "line 2", seconds=0, after=2) == ([3], 3)
        assert await self.search(site, deployment_id, "line 2", seconds=0, after=3) == ([], None)

    @pytest.mark.parametrize(
        ("text", "query"),
        [
            ("100% of_it", "0% OF_"),
            ('a "quoted" back\\slash', '"QUOTED" back\\'),
            ("tab\there", "TAB\tHERE"),
            ("Straße", "STRASSE"),
            ("300 K", "300 k"),
            ("ÄÖÜ and more", "äöü AND"),
            ("naïve 😀", "NAÏVE 😀"),
            ("\x1b[31mre\x1b[1md\x1b[0m", "RED"),
            ("\r 10 %\r 20 %", "20 %"),
            ("abc\b\bX", "axc"),
            ("read\x1b]8;;https://example.org\x07y", "ready"),
            ("Windows\r", "windows"),
            ("\x85", "\\X85"),
            ("😀", "😀"),
        ],
    )
    async def test_a_search_in_the_database_finds_what_casefold_finds(self, site: Site, text: str, query: str) -> None:
        deployment_id = await site.running()
        await site.take_in(deployment_id, line("before"))
        await site.take_in(deployment_id, line(text))
        assert await self.search(site, deployment_id, query) == ([2], None)

    async def test_a_search_does_not_find_what_a_terminal_does_not_show(self, site: Site) -> None:
        deployment_id = await site.running()
        await site.take_in(deployment_id, line("\r 10 %\r 20 %"), line("\x1b[31mred\x1b[0m"))
        assert await self.search(site, deployment_id, "10 %") == ([], None)
        assert await self.search(site, deployment_id, "[31mred") == ([], None)

    async def test_the_database_only_returns_messages_that_can_contain_the_text(self, site: Site) -> None:
        deployment_id = await site.running()
        for text in ("one", "two_", "two", "\x1b[1mthree", "\x1b[1mtw\x1b[0mo_"):
            await site.take_in(deployment_id, line(text))
        async with site.open_uow() as uow:
            found = await uow.events.search_output(deployment_id, 0, "TWO_", visible=EVERYTHING)
        assert [(last, message is not None) for last, message in found] == [
            (1, False),
            (2, True),
            (3, False),
            (4, False),
            (5, True),
        ]


class TestLost:
    async def test_runs_of_silent_or_unknown_workers_are_lost(self, site: Site) -> None:
        await site.beat("silent", "far")
        await site.beat("alive", "near")
        ids = {}
        for worker_id in ("silent", "alive", "unknown"):
            ids[worker_id] = await site.start(await site.service(worker_id))
            await site.claim(worker_id)
        await execute(site, "UPDATE workers SET last_seen = now() - interval '1 hour' WHERE id = 'silent'")
        await execute(site, "UPDATE deployments SET started = now() - interval '1 hour'")
        async with site.open_uow() as uow:
            lost = dict(await uow.deployments.lost(60))
            assert lost == {ids["silent"]: "far", ids["unknown"]: "an unknown host"}
            assert dict(await uow.deployments.lost(7200)) == {}

    async def test_a_finished_deployment_with_a_running_process_still_blocks_its_service(self, site: Site) -> None:
        await site.beat("w1", "far")
        first = await site.running()
        second = await site.start((await site.deployment(first)).service_id)
        await site.bus.handle(FinishDeployment(deployment_id=first), by=WORKER)
        await execute(site, "UPDATE workers SET last_seen = now() - interval '1 hour'")
        async with site.open_uow() as uow:
            assert list(await uow.deployments.lost(60)) == [(first, "far")]
        await site.bus.handle(FailLostRun(deployment_id=first, reason=LOST), by=WORKER)
        assert await site.claim() == second
        await site.beat("w1", "far")
        async with site.open_uow() as uow:
            assert list(await uow.deployments.lost(60)) == []

    async def test_queued_and_final_deployments_are_not_lost(self, site: Site) -> None:
        first = await site.succeeded()
        await site.start((await site.deployment(first)).service_id)
        await execute(site, "UPDATE deployments SET started = now() - interval '1 hour' WHERE id = :id", id=first)
        async with site.open_uow() as uow:
            assert list(await uow.deployments.lost(60)) == []


def report(name: str, state: str = "success", message: str = "") -> StepReport:
    return StepReport(name=name, state=StepState(state), message=message)


async def test_the_error_of_a_playbook_is_found_in_earlier_batches(site: Site) -> None:
    deployment_id = await site.running()
    await site.take_in(
        deployment_id, line("\x1b[0;31m[ERROR]: no such role\x1b[0m"), line("Origin: /srv/site.yml:2:3")
    )
    await site.take_in(deployment_id, *(line(str(number)) for number in range(50)))
    await site.take_in(deployment_id, line("last"), ended(4, is_playbook=True))
    assert (await site.deployment(deployment_id)).reason == "no such role (/srv/site.yml:2:3)"
