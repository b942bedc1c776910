"""What workers do with deployments, against PostgreSQL."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.adapters.repository.statement import Statement
from deploy.domain.commands import (
    CancelDeployment,
    ClaimDeployments,
    DeleteService,
    ExpireDeployments,
    FailLostRun,
    FinishDeployment,
    Heartbeat,
    IngestOutput,
    ReportStep,
)
from deploy.domain.errors import NotFound
from deploy.domain.events import DeploymentClaimed, DeploymentExpired, Event
from deploy.domain.model import DeploymentState, HostResult, Outcome, StepReport, StepState
from deploy.domain.policy import EVERYTHING, WORKER
from deploy.domain.reports import HostReported, read_line
from deploy.service_layer.output import find_lines, lines_of
from tests.runs import at, ended, line, reported
from tests.site import Site

LOST = "The run was lost."


async def execute(site: Site, statement: str, **values: Any) -> None:
    """Change something behind the product's back."""
    async with site.open_uow() as uow:
        await Statement(statement).rows(uow.users._driver, **values)


class TestKeptCopies:
    async def test_a_lost_run_that_told_its_own_end_does_not_come_back(self, site: Site) -> None:
        """Its worker was cut off for so long that it was given up; then it goes on with what it remembers."""
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
    async def test_the_oldest_one_runs_from_now_on(self, site: Site) -> None:
        service_id = await site.service()
        deployment_id = await site.start(service_id)
        now = site.clock.advance(5)
        events = await site.bus.handle(ClaimDeployments(worker_id="w1"), by=WORKER)
        assert isinstance(events[0], DeploymentClaimed)
        assert (events[0].deployment.id, events[0].config) == (deployment_id, {})
        deployment = await site.deployment(deployment_id)
        assert (deployment.state, deployment.worker_id, deployment.started) == (DeploymentState.RUNNING, "w1", now)
        assert (await site.messages(deployment_id))[-1]["state"] == "running"

    async def test_where_nothing_waits_there_is_nothing(self, site: Site) -> None:
        assert await site.bus.handle(ClaimDeployments(worker_id="w1"), by=WORKER) == []

    async def test_several_at_once_each_of_another_lane(self, site: Site) -> None:
        shop, blog, busy = [await site.service(name) for name in ("shop", "blog", "busy")]
        waiting = [await site.start(service_id) for service_id in (busy, shop, shop, blog, blog)]
        assert await site.claim() == waiting[0]
        await site.start(busy)  # has to wait for the one before it
        events = await site.bus.handle(ClaimDeployments(worker_id="w2", limit=10), by=WORKER)
        claimed = [event.deployment.id for event in events if isinstance(event, DeploymentClaimed)]
        assert claimed == [waiting[1], waiting[3]]
        for deployment_id in claimed:
            deployment = await site.deployment(deployment_id)
            assert (deployment.state, deployment.worker_id) == (DeploymentState.RUNNING, "w2")
            assert [message["seq"] for message in await site.messages(deployment_id)] == [1, 2, 3]
            assert (await site.messages(deployment_id))[-1]["state"] == "running"
        assert await site.bus.handle(ClaimDeployments(worker_id="w2", limit=10), by=WORKER) == []

    async def test_never_more_than_there_is_room_for(self, site: Site) -> None:
        waiting = [await site.start(await site.service(f"s{number}")) for number in range(5)]
        events = await site.bus.handle(ClaimDeployments(worker_id="w1", limit=2), by=WORKER)
        assert [event.deployment.id for event in events if isinstance(event, DeploymentClaimed)] == waiting[:2]
        events = await site.bus.handle(ClaimDeployments(worker_id="w1", limit=3), by=WORKER)
        assert [event.deployment.id for event in events if isinstance(event, DeploymentClaimed)] == waiting[2:]

    async def test_what_was_cancelled_meanwhile_makes_room_for_another(self, site: Site) -> None:
        waiting = [await site.start(await site.service(f"s{number}")) for number in range(3)]
        # As if the cancel had come after the job was taken, and before the deployment was looked at.
        await execute(site, "UPDATE deployments SET state = 'cancelled' WHERE id = :id", id=waiting[0])
        events = await site.bus.handle(ClaimDeployments(worker_id="w1", limit=2), by=WORKER)
        assert [event.deployment.id for event in events if isinstance(event, DeploymentClaimed)] == waiting[1:]

    async def test_one_at_a_time_in_their_order(self, site: Site) -> None:
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

    async def test_a_service_may_have_several_lanes(self, site: Site) -> None:
        service_id = await site.service(concurrency=2)
        ids = [await site.start(service_id) for _ in range(4)]
        assert [await site.claim() for _ in range(3)] == [ids[0], ids[1], None]
        await site.take_in(ids[1], ended(0))
        # Whichever lane it stood in: it has waited longest.
        assert await site.claim() == ids[2]
        assert await site.claim() is None
        await site.take_in(ids[0], ended(0))
        assert await site.claim() == ids[3]

    async def test_a_changed_config_counts_for_those_that_wait_already(self, site: Site) -> None:
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

    async def test_a_cancelled_one_whose_job_is_still_there_is_passed_over(self, site: Site) -> None:
        service_id = await site.service()
        first, second = await site.start(service_id), await site.start(service_id)
        await execute(site, "UPDATE deployments SET state = 'cancelled' WHERE id = :id", id=first)
        assert await site.claim() == second
        assert (await site.deployment(first)).state is DeploymentState.CANCELLED

    async def test_a_service_that_was_removed_is_deployed_to_the_end(self, site: Site) -> None:
        deployment_id = await site.start(await site.service())
        await execute(site, "UPDATE services SET deleted = now()")
        assert await site.claim() == deployment_id


class TestIngestOutput:
    async def test_lines_and_steps_are_stored_and_told(self, site: Site) -> None:
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

    async def test_what_happens_between_two_batches_counts_in_the_second(self, site: Site) -> None:
        deployment_id = await site.running(steps=("A", "B"))
        await site.take_in(deployment_id, line("one"), reported("A", "running"))
        report = StepReport(name="C", state=StepState.FAILURE, message="told by itself")
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

    async def test_a_step_that_has_ended_between_two_batches_outlives_the_run(self, site: Site) -> None:
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
        assert (await site.steps(deployment_id))[0].hosts == [
            {"host": "web1", "outcome": "changed", "duration": 0.5, "message": "", "diff": "+x"}
        ]

    async def test_the_end_settles_everything(self, site: Site) -> None:
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

    async def test_a_failure_leaves_the_last_success_deployed(self, site: Site) -> None:
        first = await site.succeeded()
        second = await site.running()
        await site.take_in(second, ended(1))
        async with site.open_uow() as uow:
            assert [service.deployment_id for service in await uow.deployed_services.list(visible=EVERYTHING)] == [
                first
            ]

    async def test_a_new_success_takes_its_place(self, site: Site) -> None:
        await site.succeeded()
        second = await site.succeeded()
        async with site.open_uow() as uow:
            assert [service.deployment_id for service in await uow.deployed_services.list(visible=EVERYTHING)] == [
                second
            ]

    @pytest.mark.parametrize("offset_before", [0, 10, 30, 1000])
    async def test_what_does_not_follow_is_not_taken_in(self, site: Site, offset_before: int) -> None:
        deployment_id = await site.running()
        await site.take_in(deployment_id, line(), line())
        before = await site.messages(deployment_id)
        command = IngestOutput(
            deployment_id=deployment_id, entries=(line(),), offset_before=offset_before, offset=2000
        )
        assert await site.bus.handle(command, by=WORKER) == []
        assert (await site.deployment(deployment_id)).spool_offset == 20
        assert await site.messages(deployment_id) == before

    async def test_records_that_say_nothing_move_on(self, site: Site) -> None:
        deployment_id = await site.running()
        before = await site.messages(deployment_id)
        await site.bus.handle(
            IngestOutput(deployment_id=deployment_id, entries=(), offset_before=0, offset=40), by=WORKER
        )
        assert (await site.deployment(deployment_id)).spool_offset == 40
        assert await site.messages(deployment_id) == before

    async def test_ten_thousand_lines_in_one_batch(self, site: Site) -> None:
        deployment_id = await site.running()
        await site.take_in(deployment_id, *(line(f"line {n}") for n in range(10_000)))
        async with site.open_uow() as uow:
            events = await uow.events.output_after(deployment_id, 0, limit=1000, visible=EVERYTHING)
        found = [entry for event in events for entry in lines_of(event.message)]
        assert [(entry.n, entry.text) for entry in found] == [(n + 1, f"line {n}") for n in range(10_000)]
        assert [event.last_line for event in events] == [500 * n for n in range(1, 21)]

    async def test_a_thousand_steps_in_one_batch(self, site: Site) -> None:
        deployment_id = await site.running()
        await site.take_in(deployment_id, *(reported(f"step {n}") for n in range(1000)))
        steps = await site.steps(deployment_id)
        assert [step.name for step in steps[:1000]] == [f"step {n}" for n in range(1000)]
        assert len({step.id for step in steps}) == 1001

    @pytest.mark.parametrize(
        "said",
        [
            {"name": "a\x00b", "message": "a\x00b", "x": "\x00", "\x00": 1},
            {"name": "\ud800", "message": "\udfff", "x": "\ud800"},
            {"name": "x" * 10_000, "message": "y" * 200_000, "x": "z" * 200_000},
            {"name": "A", "x": [1e308, -0.0, 10**300, None, True, {"": []}]},
            {"name": "A", "x": float("nan"), "y": float("inf")},
            {"name": "A", "state": "running", "task": {"a": [1]}},
            {"name": "'; DROP TABLE steps; --", "message": "{0} %s :x $1"},
        ],
        ids=lambda said: repr(said)[:30],
    )
    async def test_hostile_reports_are_stored_and_read(self, site: Site, said: dict[str, Any]) -> None:
        deployment_id = await site.running()
        hostile = json.dumps(said)
        await site.take_in(deployment_id, read_line(hostile, at(1)), line(str(said.get("name"))), line("\x00\ud800"))
        await site.take_in(deployment_id, read_line(hostile, at(2)), ended(0))
        assert (await site.deployment(deployment_id)).run_ended == at(99)
        assert (await site.deployment(deployment_id)).lines == 2
        for message in await site.messages(deployment_id):
            json.dumps(message, allow_nan=False)

    async def test_steps_that_others_have_changed_meanwhile_are_read_again(self, site: Site) -> None:
        deployment_id = await site.running(steps=("A", "B", "C"))
        await site.take_in(deployment_id, reported("A"))
        await site.bus.handle(ReportStep(deployment_id=deployment_id, report=report("B")), by=WORKER)
        await site.take_in(deployment_id, line(), reported("C"))
        assert await site.states(deployment_id) == {"A": "success", "B": "success", "C": "success"}
        assert (await site.steps(deployment_id))[2].first_line == 1

    async def test_a_batch_that_could_not_be_stored_leaves_no_trace(self, site: Site) -> None:
        """The commit fails; others change the deployment; then the batch comes again."""
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

    async def test_after_the_run_was_given_up_its_words_are_kept_and_change_nothing(self, site: Site) -> None:
        """A worker that was thought dead comes back."""
        deployment_id = await site.running(steps=("A",))
        await site.bus.handle(FailLostRun(deployment_id=deployment_id, reason=LOST), by=WORKER)
        await site.take_in(deployment_id, line("still here"), reported("A"), ended(0))
        deployment = await site.deployment(deployment_id)
        assert (deployment.state, deployment.reason, deployment.lines) == (DeploymentState.FAILURE, LOST, 1)
        assert [step.state.is_final for step in await site.steps(deployment_id)] == [True]

    async def test_for_a_deployment_that_is_not_there(self, site: Site) -> None:
        with pytest.raises(NotFound):
            await site.bus.handle(IngestOutput(deployment_id=1, entries=(), offset_before=0, offset=0), by=WORKER)


class TestFailLostRun:
    async def test_the_deployment_fails_and_says_why(self, site: Site) -> None:
        deployment_id = await site.running(steps=("A", "B"))
        await site.take_in(deployment_id, reported("A", "running"))
        await site.bus.handle(FailLostRun(deployment_id=deployment_id, reason=LOST), by=WORKER)
        deployment = await site.deployment(deployment_id)
        assert (deployment.state, deployment.reason, deployment.exit_code) == (DeploymentState.FAILURE, LOST, None)
        (step,) = await site.steps(deployment_id)
        assert (step.name, step.state, step.message) == ("A", StepState.FAILURE, LOST)

    async def test_the_next_one_may_run(self, site: Site) -> None:
        first = await site.running()
        second = await site.start((await site.deployment(first)).service_id)
        await site.bus.handle(FailLostRun(deployment_id=first, reason=LOST), by=WORKER)
        assert await site.claim() == second

    async def test_twice_does_no_harm(self, site: Site) -> None:
        deployment_id = await site.running()
        await site.bus.handle(FailLostRun(deployment_id=deployment_id, reason=LOST), by=WORKER)
        assert await site.bus.handle(FailLostRun(deployment_id=deployment_id, reason="Again."), by=WORKER) == []
        assert (await site.deployment(deployment_id)).reason == LOST

    async def test_a_run_that_has_ended_stays_as_it_ended(self, site: Site) -> None:
        deployment_id = await site.succeeded()
        assert await site.bus.handle(FailLostRun(deployment_id=deployment_id, reason=LOST), by=WORKER) == []
        assert (await site.deployment(deployment_id)).state is DeploymentState.SUCCESS

    async def test_one_that_had_said_that_it_was_done_is_a_success(self, site: Site) -> None:
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
    async def test_a_worker_is_known_by_what_it_said_last(self, site: Site) -> None:
        await site.beat("w1", "host1")
        await site.bus.handle(Heartbeat(worker_id="w1", host="host2", version="2", slots=5), by=WORKER)
        async with site.open_uow() as uow:
            (worker,) = await uow.workers.list()
        assert (worker.id, worker.host, worker.version, worker.slots) == ("w1", "host2", "2", 5)
        assert worker.last_seen >= worker.started


def expired(events: list[Event]) -> list[int]:
    """Return the ids of the deployments that were deleted."""
    return [event.deployment_id for event in events if isinstance(event, DeploymentExpired)]


class TestExpireDeployments:
    async def expire(self, site: Site, *, days: float = 0, count: int = 0) -> list[int]:
        return expired(await site.bus.handle(ExpireDeployments(days=days, count=count), by=WORKER))

    async def failed(self, site: Site, name: str = "shop", **more: Any) -> int:
        deployment_id = await site.running(name, **more)
        await site.take_in(deployment_id, line(), ended(1))
        return deployment_id

    async def remaining(self, site: Site) -> list[int]:
        async with site.open_uow() as uow:
            return [row[0] for row in await uow.users._driver.fetch("SELECT id FROM deployments ORDER BY id")]

    async def test_by_default_everything_stays(self, site: Site) -> None:
        ids = [await self.failed(site) for _ in range(3)]
        assert await self.expire(site) == []
        assert await self.remaining(site) == ids

    async def test_the_newest_stay(self, site: Site) -> None:
        ids = [await self.failed(site) for _ in range(5)]
        assert sorted(await self.expire(site, count=2)) == ids[:3]
        assert await self.remaining(site) == ids[3:]
        assert await self.expire(site, count=2) == []

    async def test_the_young_ones_stay(self, site: Site) -> None:
        ids = [await self.failed(site) for _ in range(3)]
        await execute(site, "UPDATE deployments SET finished = now() - interval '3 days' WHERE id = :id", id=ids[0])
        await execute(site, "UPDATE deployments SET finished = now() - interval '1 day' WHERE id <> :id", id=ids[0])
        assert await self.expire(site, days=2) == ids[:1]
        assert sorted(await self.expire(site, days=0.5)) == ids[1:]

    async def test_with_both_limits_either_is_enough(self, site: Site) -> None:
        ids = [await self.failed(site) for _ in range(3)]
        await execute(site, "UPDATE deployments SET finished = now()")
        await execute(site, "UPDATE deployments SET finished = now() - interval '9 days' WHERE id = :id", id=ids[2])
        assert sorted(await self.expire(site, days=5, count=2)) == [ids[0], ids[2]]

    async def test_the_last_success_stays_for_its_plan(self, site: Site) -> None:
        first, success = await site.succeeded(steps=("A",)), await site.succeeded(steps=("A",))
        later = [await self.failed(site) for _ in range(2)]
        assert sorted(await self.expire(site, count=1)) == [first, later[0]]
        assert await self.remaining(site) == [success, later[1]]

    async def test_what_has_not_ended_stays(self, site: Site) -> None:
        finished = await site.running("blog")
        await site.bus.handle(FinishDeployment(deployment_id=finished), by=WORKER)
        running = await site.running("shop")
        waiting = await site.start((await site.deployment(running)).service_id)
        gone = await site.start((await site.deployment(running)).service_id)
        await site.bus.handle(CancelDeployment(deployment_id=gone, by="bob"), by=WORKER)
        newest = await site.start((await site.deployment(running)).service_id)
        assert await self.expire(site, count=1) == [gone]
        assert await self.remaining(site) == [finished, running, waiting, newest]

    async def test_everything_of_it_goes(self, site: Site) -> None:
        gone, kept = await self.failed(site), await self.failed(site)
        retry = await self.failed(site, retry_of=gone)
        await self.expire(site, count=2)
        assert await site.messages(gone) == []
        assert await site.steps(gone) == []
        assert await self.remaining(site) == [kept, retry]
        assert (await site.deployment(retry)).retry_of is None

    async def test_a_service_may_have_its_own_limits(self, site: Site) -> None:
        blog = [await self.failed(site, "blog") for _ in range(3)]
        shop = [await self.failed(site, "shop") for _ in range(3)]
        await site.service("blog", retention_count=0)
        await site.service("shop", retention_count=1, retention_days=None)
        assert sorted(await self.expire(site, count=2)) == shop[:2]
        await site.service("blog", retention_count=None)
        assert await self.expire(site, count=2) == blog[:1]

    async def test_removed_services_expire_too(self, site: Site) -> None:
        ids = [await self.failed(site) for _ in range(2)]
        await site.bus.handle(DeleteService(service_id=(await site.deployment(ids[0])).service_id), by=WORKER)
        assert await self.expire(site, count=1) == ids[:1]


class TestOutput:
    async def test_pages_of_lines(self, site: Site) -> None:
        deployment_id = await site.running()
        for start in range(0, 60, 3):
            await site.take_in(deployment_id, *(line(f"line {n + 1}") for n in range(start, start + 3)), reported("A"))
        async with site.open_uow() as uow:
            first, after = await find_lines(uow, deployment_id, after=0, limit=25, visible=EVERYTHING)
            assert ([entry["n"] for entry in first], after) == (list(range(1, 26)), 25)
            second, after = await find_lines(uow, deployment_id, after=25, limit=1000, visible=EVERYTHING)
            assert ([entry["n"] for entry in second], after) == (list(range(26, 61)), None)
            assert await find_lines(uow, deployment_id, after=60, limit=10, visible=EVERYTHING) == ([], None)

    async def test_a_page_that_ends_with_the_output_is_the_last(self, site: Site) -> None:
        deployment_id = await site.running()
        await site.take_in(deployment_id, line(), line())
        async with site.open_uow() as uow:
            found, after = await find_lines(uow, deployment_id, after=0, limit=2, visible=EVERYTHING)
        assert (len(found), after) == (2, None)

    async def test_a_search_ignores_case_and_goes_on_where_it_stopped(self, site: Site) -> None:
        deployment_id = await site.running()
        await site.take_in(deployment_id, *(line(f"{'ERROR' if n % 10 == 0 else 'fine'} {n}") for n in range(100)))
        async with site.open_uow() as uow:
            found, after = await find_lines(uow, deployment_id, after=0, limit=4, text="error", visible=EVERYTHING)
            assert ([entry["n"] for entry in found], after) == ([1, 11, 21, 31], 31)
            found, after = await find_lines(uow, deployment_id, after=31, limit=100, text="Error", visible=EVERYTHING)
            assert ([entry["n"] for entry in found], after) == ([41, 51, 61, 71, 81, 91], None)
            assert await find_lines(uow, deployment_id, after=0, limit=9, text="nowhere", visible=EVERYTHING) == (
                [],
                None,
            )

    async def test_there_may_be_more_messages_than_are_read_at_once(self, site: Site) -> None:
        deployment_id = await site.running()
        for n in range(120):
            await site.take_in(deployment_id, line(f"line {n}"), reported("A", "running"))
        async with site.open_uow() as uow:
            found, _ = await find_lines(uow, deployment_id, after=0, limit=1000, visible=EVERYTHING)
            last, after = await find_lines(
                uow, deployment_id, after=0, limit=1000, text="line 119", visible=EVERYTHING
            )
        assert [entry["n"] for entry in found] == list(range(1, 121))
        assert ([entry["n"] for entry in last], after) == ([120], None)


class TestLost:
    async def test_runs_of_workers_that_are_silent_or_unknown(self, site: Site) -> None:
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

    async def test_one_that_has_finished_by_itself_still_holds_its_service(self, site: Site) -> None:
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

    async def test_what_waits_or_has_ended_is_not_lost(self, site: Site) -> None:
        first = await site.succeeded()
        await site.start((await site.deployment(first)).service_id)
        await execute(site, "UPDATE deployments SET started = now() - interval '1 hour' WHERE id = :id", id=first)
        async with site.open_uow() as uow:
            assert list(await uow.deployments.lost(60)) == []


def report(name: str, state: str = "success", message: str = "") -> StepReport:
    return StepReport(name=name, state=StepState(state), message=message)
