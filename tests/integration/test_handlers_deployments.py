"""Start and cancel deployments, and process reports that scripts send over HTTP."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.adapters.filesystem import ServiceFolders
from deploy.domain.commands import (
    CancelDeployment,
    DeleteService,
    FinishDeployment,
    ReportStep,
    RequeueDeployment,
    StartDeployment,
)
from deploy.domain.errors import Conflict, InvalidInput, NotFound, TooManyWaiting
from deploy.domain.events import CancelRequested, DeploymentQueued
from deploy.domain.model import DeploymentState, StepReport, StepState
from deploy.domain.policy import WORKER
from deploy.domain.reports import RunEnded
from deploy.domain.rights import EVERYTHING
from deploy.domain.rules import WaitingLimits
from deploy.service_layer.bootstrap import create_bus
from deploy.service_layer.unit_of_work import OpenUnitOfWork
from tests.conftest import inputs_of
from tests.runs import at, ended, line, reported
from tests.site import Site, unfinished

PLAYBOOK = "- hosts: all\n  tasks:\n    - name: Install\n      ansible.builtin.debug: {}\n"


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


class TestStartDeployment:
    async def test_a_start_stores_the_whole_request(self, site: Site) -> None:
        user_id, service_id = await site.user(), await site.service()
        context = {"env": {"domain": "example.org", "n": 1, "deep": {"a": [None, True]}}}
        deployment = await site.deployment(await site.start(service_id, user_id=user_id, context=context))
        assert (deployment.service_id, deployment.service) == (service_id, "shop")
        assert (deployment.origin, deployment.user, deployment.user_id) == ("GitHub", "ada", user_id)
        assert (deployment.state, deployment.created, deployment.context) == (
            DeploymentState.QUEUED,
            site.clock.now,
            context,
        )
        assert (deployment.started, deployment.finished, deployment.job_id is None) == (None, None, False)

    async def test_a_start_publishes_the_deployment_and_its_steps(self, site: Site) -> None:
        service_id = await site.service(steps=[{"name": "A"}, {"name": "B", "description": "Second"}])
        deployment_id = await site.start(service_id)
        messages = await site.messages(deployment_id)
        assert [message["type"] for message in messages] == ["deployment", "step", "step"]
        assert [message["seq"] for message in messages] == [1, 2, 3]
        assert messages[0]["state"] == "queued"
        assert (messages[2]["name"], messages[2]["description"], messages[2]["state"]) == ("B", "Second", "pending")
        assert (await site.deployment(deployment_id)).seq == 3

    async def test_without_a_plan_there_is_a_placeholder(self, site: Site) -> None:
        deployment_id = await site.start(await site.service())
        assert await site.states(deployment_id) == {"Deploy": "pending"}

    async def test_a_playbook_plans_its_tasks(self, site: Site, services_root: Path) -> None:
        (services_root / "shop").mkdir()
        (services_root / "shop" / "site.yml").write_text(PLAYBOOK)
        deployment_id = await site.start(await site.service(ansible_playbook="site.yml"))
        assert list(await site.states(deployment_id)) == ["Gathering Facts", "Install"]

    async def test_steps_of_the_config_precede_those_of_the_playbook(self, site: Site, services_root: Path) -> None:
        (services_root / "shop").mkdir()
        (services_root / "shop" / "site.yml").write_text(PLAYBOOK)
        service_id = await site.service(ansible_playbook="site.yml", steps=[{"name": "A"}])
        assert list(await site.states(await site.start(service_id))) == ["A"]

    async def test_the_last_full_success_takes_precedence(self, site: Site) -> None:
        first = await site.running(steps=("A", "B"))
        await site.take_in(first, reported("B", "running"), reported("C"), reported("B"), ended(0))
        second = await site.running(steps=("A", "B"))
        await site.take_in(second, reported("X", "failure"), ended(1))
        service_id = (await site.deployment(first)).service_id
        # In the order in which they started. A never started.
        assert list(await site.states(await site.start(service_id))) == ["B", "C"]

    async def test_descriptions_are_kept_with_the_last_success(self, site: Site) -> None:
        service_id = await site.service(steps=[{"name": "A", "description": "First"}])
        first = await site.start(service_id)
        await site.claim()
        await site.take_in(first, reported("A"), ended(0))
        steps = await site.steps(await site.start(service_id))
        assert [(step.name, step.description) for step in steps] == [("A", "First")]

    @pytest.mark.parametrize("name", ["a\x00b", "\ud800", "x" * 600, "  A  "])
    async def test_unusual_step_names_can_be_stored(self, site: Site, name: str) -> None:
        deployment_id = await site.running(steps=(name,))
        assert len(await site.steps(deployment_id)) == 1

    async def test_starting_a_missing_service_is_not_found(self, site: Site) -> None:
        with pytest.raises(NotFound, match="Service not found"):
            await site.start(1)

    async def test_starting_a_removed_service_is_not_found(self, site: Site) -> None:
        service_id = await site.service()
        await site.bus.handle(DeleteService(service_id=service_id), by=WORKER)
        with pytest.raises(NotFound):
            await site.start(service_id)

    async def test_a_context_that_is_nested_too_deeply_is_rejected(self, site: Site) -> None:
        """A single row like this would make every list that contains it unreadable."""
        service_id = await site.service()
        await site.start(service_id, context={"env": {"a": nested(40)}})
        with pytest.raises(InvalidInput, match="too deeply"):
            await site.start(service_id, context={"env": {"a": nested(300)}})

    async def test_too_many_values_are_rejected(self, site: Site) -> None:
        service_id = await site.service()
        values = {f"v{n}": n for n in range(1001)}
        with pytest.raises(InvalidInput, match="at most 1000 values"):
            await site.start(service_id, context={"env": values})
        with pytest.raises(InvalidInput, match="at most 1000 values"):
            await site.start(service_id, again=values)

    @pytest.mark.parametrize("origin", ["", "x" * 201])
    async def test_a_person_gives_an_origin(self, site: Site, origin: str) -> None:
        service_id = await site.service()
        with pytest.raises(InvalidInput, match="origin must have 1 to 200 characters"):
            await site.start(service_id, origin=origin, by_person=True)

    async def test_an_older_token_can_have_any_origin(self, site: Site) -> None:
        assert await site.start(await site.service(), origin="x" * 201)

    async def test_only_a_finished_deployment_is_retried(self, site: Site) -> None:
        service_id = await site.service()
        first = await site.start(service_id)
        with pytest.raises(Conflict, match=f"Deployment {first} has not finished yet"):
            await site.start(service_id, retry_of=first)
        with pytest.raises(NotFound):
            await site.start(service_id, retry_of=first + 1000)

    async def test_a_retry_links_to_the_original(self, site: Site) -> None:
        first = await site.succeeded()
        service_id = (await site.deployment(first)).service_id
        second = await site.start(service_id, retry_of=first)
        assert (await site.deployment(second)).retry_of == first
        assert (await site.messages(second))[0]["retry_of"] == first


class TestWaitingLimits:
    @pytest.fixture
    def limited(self, site: Site, open_uow: OpenUnitOfWork, services_root: Path) -> Site:
        """Return a site where 2 deployments of a service can wait, and 3 of a user."""
        limits = WaitingLimits(per_service=2, per_user=3)
        inputs = inputs_of(open_uow, services_root)
        bus = create_bus(open_uow, ServiceFolders(services_root), site.clock, inputs, limits=limits)
        return replace(site, bus=bus)

    async def test_the_deployments_of_a_service_that_wait_are_limited(self, limited: Site) -> None:
        shop = await limited.service("shop")
        first, _ = await limited.start(shop), await limited.start(shop)
        with pytest.raises(TooManyWaiting, match="2 deployments of shop are already waiting") as raised:
            await limited.start(shop, user="bob")
        assert raised.value.retry_after > 0
        assert await limited.claim() == first
        await limited.start(shop, user="bob")

    async def test_the_deployments_of_a_user_that_wait_are_limited(self, limited: Site) -> None:
        shop, blog = await limited.service("shop"), await limited.service("blog")
        for service_id in (shop, shop, blog):
            await limited.start(service_id)
        with pytest.raises(TooManyWaiting, match="3 of your deployments are already waiting"):
            await limited.start(blog)
        await limited.start(blog, user="bob")

    async def test_a_repeated_request_is_answered_at_the_limit(self, limited: Site) -> None:
        shop = await limited.service("shop")
        first = await limited.start(shop, idempotency_key="k1")
        await limited.start(shop)
        assert await limited.start(shop, idempotency_key="k1") == first


class TestIdempotencyKey:
    @pytest.mark.parametrize("key", ["", "  ", "x" * 201])
    async def test_an_unusable_key_is_rejected(self, site: Site, key: str) -> None:
        service_id = await site.service()
        with pytest.raises(InvalidInput, match="Idempotency-Key must have 1 to 200 characters"):
            await site.start(service_id, idempotency_key=key)

    async def test_the_same_request_returns_the_same_deployment(self, site: Site) -> None:
        service_id = await site.service()
        first = await site.start(service_id, idempotency_key="k1", context={"env": {"a": 1}})
        before = await site.messages(first)
        command = StartDeployment(
            service_id=service_id,
            origin="GitHub",
            user="ada",
            user_id=None,
            context={"env": {"a": 1}},
            idempotency_key="k1",
        )
        (event,) = await site.bus.handle(command, by=WORKER)
        assert isinstance(event, DeploymentQueued)
        assert (event.deployment.id, event.is_new) == (first, False)
        assert await site.messages(first) == before

    async def test_the_key_still_applies_after_the_deployment_ends(self, site: Site) -> None:
        service_id = await site.service()
        first = await site.start(service_id, idempotency_key="k1")
        await site.claim()
        await site.take_in(first, ended(0))
        assert await site.start(service_id, idempotency_key="k1") == first

    async def test_another_request_with_the_same_key_is_rejected(self, site: Site) -> None:
        service_id = await site.service()
        await site.start(service_id, idempotency_key="k1", context={"env": {"a": 1}})
        with pytest.raises(Conflict, match="Use a new key"):
            await site.start(service_id, idempotency_key="k1", context={"env": {"a": 2}})

    async def test_each_user_has_their_own_keys(self, site: Site) -> None:
        """Otherwise, one user could use up the keys of another."""
        service_id = await site.service()
        request = {"idempotency_key": "k1", "context": {"env": {"a": 1}}}
        first = await site.start(service_id, user="ada", **request)
        second = await site.start(service_id, user="bob", **request)
        assert second != first
        assert await site.start(service_id, user="ada", **request) == first
        assert await site.start(service_id, user="bob", **request) == second

    async def test_each_service_has_its_own_keys(self, site: Site) -> None:
        shop, blog = await site.service("shop"), await site.service("blog")
        assert await site.start(shop, idempotency_key="k1") != await site.start(blog, idempotency_key="k1")

    async def test_without_a_key_every_request_starts_a_deployment(self, site: Site) -> None:
        service_id = await site.service()
        assert await site.start(service_id) != await site.start(service_id)


class TestCancelDeployment:
    async def test_a_queued_deployment_is_cancelled_immediately(self, site: Site) -> None:
        deployment_id = await site.start(await site.service(steps=[{"name": "A"}]))
        await site.bus.handle(CancelDeployment(deployment_id=deployment_id, by="bob"), by=WORKER)
        deployment = await site.deployment(deployment_id)
        assert (deployment.state, deployment.reason) == (DeploymentState.CANCELLED, "Cancelled by bob.")
        assert await site.states(deployment_id) == {}
        messages = await site.messages(deployment_id, after=2)
        assert [(message["type"], message.get("deleted"), message["state"]) for message in messages] == [
            ("step", True, "pending"),
            ("deployment", None, "cancelled"),
        ]

    async def test_a_cancelled_deployment_makes_room_for_the_next(self, site: Site) -> None:
        service_id = await site.service()
        first, second = await site.start(service_id), await site.start(service_id)
        await site.bus.handle(CancelDeployment(deployment_id=first, by="bob"), by=WORKER)
        assert await site.claim() == second
        assert await site.claim() is None

    async def test_a_running_deployment_is_asked_to_stop(self, site: Site) -> None:
        deployment_id = await site.running(steps=("A",))
        events = await site.bus.handle(CancelDeployment(deployment_id=deployment_id, by="bob"), by=WORKER)
        assert CancelRequested(deployment_id) in events
        deployment = await site.deployment(deployment_id)
        assert (deployment.state, deployment.cancel_requested) == (DeploymentState.RUNNING, "Cancelled by bob.")
        assert await site.states(deployment_id) == {"A": "pending"}
        assert (await site.messages(deployment_id))[-1]["cancel_requested"] == "Cancelled by bob."

    async def test_a_cancelled_run_ends_as_cancelled(self, site: Site) -> None:
        deployment_id = await site.running()
        await site.bus.handle(CancelDeployment(deployment_id=deployment_id, by="bob"), by=WORKER)
        await site.take_in(deployment_id, ended(None, signal="SIGTERM", cause="cancelled", message="It was."))
        deployment = await site.deployment(deployment_id)
        assert (deployment.state, deployment.reason) == (DeploymentState.CANCELLED, "Cancelled by bob.")

    async def test_a_run_that_succeeds_before_the_cancel_is_a_success(self, site: Site) -> None:
        deployment_id = await site.running()
        await site.bus.handle(CancelDeployment(deployment_id=deployment_id, by="bob"), by=WORKER)
        await site.take_in(deployment_id, ended(0))
        assert (await site.deployment(deployment_id)).state is DeploymentState.SUCCESS

    async def test_cancelling_after_a_reported_result_stops_the_process_and_keeps_the_result(self, site: Site) -> None:
        first = await site.running()
        second = await site.start((await site.deployment(first)).service_id)
        await site.bus.handle(FinishDeployment(deployment_id=first), by=WORKER)
        assert await site.claim() is None
        events = await site.bus.handle(CancelDeployment(deployment_id=first, by="bob"), by=WORKER)
        assert CancelRequested(first) in events
        deployment = await site.deployment(first)
        assert (deployment.state, deployment.cancel_requested) == (DeploymentState.SUCCESS, "Cancelled by bob.")
        last = (await site.messages(first))[-1]
        assert (last["state"], last["cancel_requested"]) == ("success", "Cancelled by bob.")
        assert await site.claim() is None
        await site.take_in(first, ended(None, signal="SIGKILL", cause="cancelled", message="It was."))
        deployment = await site.deployment(first)
        assert (deployment.state, deployment.reason) == (DeploymentState.SUCCESS, None)
        assert await site.claim() == second
        with pytest.raises(Conflict, match="has already finished"):
            await site.bus.handle(CancelDeployment(deployment_id=first, by="bob"), by=WORKER)

    async def test_a_finished_deployment_keeps_its_secrets_until_its_process_ends(self, site: Site) -> None:
        schema = {"properties": {"password": {"type": "string", "writeOnly": True}}}
        service_id = await site.service(inputs=schema)
        deployment_id = await site.start(service_id, context={"env": {"password": "a secret"}})
        assert await site.claim() == deployment_id
        await site.bus.handle(FinishDeployment(deployment_id=deployment_id), by=WORKER)
        await site.bus.handle(CancelDeployment(deployment_id=deployment_id, by="bob"), by=WORKER)
        async with site.open_uow() as uow:
            assert await uow.secrets.get(deployment_id) is not None  # further output must still be masked

    async def test_a_repeated_cancel_has_no_further_effect(self, site: Site) -> None:
        deployment_id = await site.running()
        await site.bus.handle(CancelDeployment(deployment_id=deployment_id, by="bob"), by=WORKER)
        before = await site.messages(deployment_id)
        assert await site.bus.handle(CancelDeployment(deployment_id=deployment_id, by="eve"), by=WORKER) == []
        assert await site.messages(deployment_id) == before

    async def test_a_final_deployment_cannot_be_cancelled(self, site: Site) -> None:
        deployment_id = await site.succeeded()
        with pytest.raises(Conflict, match="has already finished"):
            await site.bus.handle(CancelDeployment(deployment_id=deployment_id, by="bob"), by=WORKER)

    async def test_cancelling_a_missing_deployment_is_not_found(self, site: Site) -> None:
        with pytest.raises(NotFound, match="Deployment not found"):
            await site.bus.handle(CancelDeployment(deployment_id=1, by="bob"), by=WORKER)


class TestReportStep:
    async def test_a_step_is_updated_and_the_next_one_starts(self, site: Site) -> None:
        deployment_id = await site.running(steps=("A", "B"))
        await site.bus.handle(ReportStep(deployment_id=deployment_id, report=step("A", "running")), by=WORKER)
        await site.bus.handle(ReportStep(deployment_id=deployment_id, report=step("A", message="done")), by=WORKER)
        assert await site.states(deployment_id) == {"A": "success", "B": "running"}
        assert (await site.steps(deployment_id))[0].message == "done"

    async def test_an_unknown_step_is_appended(self, site: Site) -> None:
        deployment_id = await site.running(steps=("A",))
        await site.bus.handle(ReportStep(deployment_id=deployment_id, report=step("X", "failure")), by=WORKER)
        assert await site.states(deployment_id) == {"X": "failure", "A": "pending"}
        assert (await site.deployment(deployment_id)).has_failed_step

    async def test_reported_times_are_kept(self, site: Site) -> None:
        deployment_id = await site.running()
        report = StepReport(name="A", state=StepState.SUCCESS, started=at(1), finished=at(2))
        await site.bus.handle(ReportStep(deployment_id=deployment_id, report=report), by=WORKER)
        (reported_step, _) = await site.steps(deployment_id)
        assert (reported_step.started, reported_step.finished) == (at(1), at(2))

    async def test_times_default_to_now(self, site: Site) -> None:
        deployment_id = await site.running()
        now = site.clock.advance(30)
        await site.bus.handle(ReportStep(deployment_id=deployment_id, report=step("A", "running")), by=WORKER)
        assert (await site.steps(deployment_id))[0].started == now

    async def test_http_reports_mix_with_output_reports(self, site: Site) -> None:
        deployment_id = await site.running(steps=("A", "B", "C"))
        await site.take_in(deployment_id, reported("A", "running"), line())
        await site.bus.handle(ReportStep(deployment_id=deployment_id, report=step("A")), by=WORKER)
        await site.take_in(deployment_id, line(), reported("B"), line())
        assert await site.states(deployment_id) == {"A": "success", "B": "success", "C": "running"}
        steps = {found.name: (found.first_line, found.last_line) for found in await site.steps(deployment_id)}
        assert steps == {"A": (1, 1), "B": (2, 2), "C": (3, 3)}

    async def test_a_report_after_the_end_is_rejected(self, site: Site) -> None:
        deployment_id = await site.succeeded()
        with pytest.raises(Conflict, match="has already finished"):
            await site.bus.handle(ReportStep(deployment_id=deployment_id, report=step("A")), by=WORKER)

    async def test_a_report_for_a_missing_deployment_is_not_found(self, site: Site) -> None:
        with pytest.raises(NotFound):
            await site.bus.handle(ReportStep(deployment_id=1, report=step("A")), by=WORKER)


class TestFinishDeployment:
    async def test_a_finished_deployment_is_a_success_while_its_process_runs(self, site: Site) -> None:
        deployment_id = await site.running(steps=("A", "B"))
        await site.take_in(deployment_id, reported("A"))
        await site.bus.handle(FinishDeployment(deployment_id=deployment_id), by=WORKER)
        deployment = await site.deployment(deployment_id)
        assert (deployment.state, deployment.finished) == (DeploymentState.SUCCESS, site.clock.now)
        assert deployment.run_ended is None
        assert await site.states(deployment_id) == {"A": "success"}

    async def test_the_next_deployment_waits_until_the_process_exits(self, site: Site) -> None:
        first = await site.running()
        second = await site.start((await site.deployment(first)).service_id)
        await site.bus.handle(FinishDeployment(deployment_id=first), by=WORKER)
        assert await site.claim() is None
        await site.take_in(first, ended(0))
        assert await site.claim() == second

    async def test_finishing_twice_is_harmless(self, site: Site) -> None:
        deployment_id = await site.running()
        await site.bus.handle(FinishDeployment(deployment_id=deployment_id), by=WORKER)
        before = await site.messages(deployment_id)
        assert await site.bus.handle(FinishDeployment(deployment_id=deployment_id), by=WORKER) == []
        assert await site.messages(deployment_id) == before

    @pytest.mark.parametrize(
        ("end", "state"),
        [
            (ended(0), DeploymentState.SUCCESS),
            (ended(2), DeploymentState.FAILURE),
            (ended(None, cause="lost", message="Gone."), DeploymentState.SUCCESS),
        ],
    )
    async def test_the_exit_code_after_finishing_decides_the_outcome(
        self, site: Site, end: RunEnded, state: DeploymentState
    ) -> None:
        deployment_id = await site.running()
        await site.bus.handle(FinishDeployment(deployment_id=deployment_id), by=WORKER)
        await site.take_in(deployment_id, line("bye"), end)
        deployment = await site.deployment(deployment_id)
        assert (deployment.state, deployment.run_ended, deployment.lines) == (state, end.at, 1)
        async with site.open_uow() as uow:
            running = [service.deployment_id for service in await uow.deployed_services.list(visible=EVERYTHING)]
        assert running == ([deployment_id] if state is DeploymentState.SUCCESS else [])


class TestRequeueDeployment:
    async def test_a_deployment_without_a_job_is_requeued(self, site: Site) -> None:
        deployment_id = await site.start(await site.service())
        async with site.open_uow() as uow:
            await uow.workers._driver.execute("DELETE FROM procrastinate_jobs")
            assert await uow.deployments.without_job() == ([deployment_id], 0)
        assert await site.claim() is None
        await site.bus.handle(RequeueDeployment(deployment_id=deployment_id), by=WORKER)
        async with site.open_uow() as uow:
            assert await uow.deployments.without_job() == ([], 0)
        assert await site.claim() == deployment_id

    @pytest.mark.parametrize("state", ["waits with its job", "runs", "is over"])
    async def test_other_deployments_are_not_requeued(self, site: Site, state: str) -> None:
        deployment_id = await site.start(await site.service())
        if state != "waits with its job":
            await site.claim()
        if state == "is over":
            await site.take_in(deployment_id, ended(0))
        await site.bus.handle(RequeueDeployment(deployment_id=deployment_id), by=WORKER)
        assert await site.claim() == (deployment_id if state == "waits with its job" else None)
        assert await site.claim() is None


class TestAtomicity:
    async def test_a_failed_start_leaves_nothing(self, site: Site) -> None:
        service_id = await site.service()
        before = await site.start(service_id)
        with pytest.raises(Exception, match="fk_deployments_user_id_users"):
            await site.start(service_id, user_id=123_456_789)
        async with site.open_uow() as uow:
            assert [found.id for found in await unfinished(uow)] == [before]
        assert await site.claim() == before
        assert await site.claim() is None


def step(name: str, state: str = "success", message: str = "") -> StepReport:
    return StepReport(name=name, state=StepState(state), message=message)
