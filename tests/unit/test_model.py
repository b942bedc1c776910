"""Test the states of a deployment: every transition in every state."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import pytest

from deploy.adapters.states import sql_list
from deploy.domain.errors import Conflict
from deploy.domain.events import CancelRequested, DeploymentChanged, Event
from deploy.domain.model import (
    ACTIVE,
    FINAL,
    FINAL_STEPS,
    OPEN_STEPS,
    Deployment,
    DeploymentState,
    Step,
    StepState,
)
from deploy.entrypoints.cli.client.screen import COLORS
from deploy.entrypoints.cli.client.watching import EXIT_CODES
from tests.runs import a_deployment, at

QUEUED, RUNNING = DeploymentState.QUEUED, DeploymentState.RUNNING
SUCCESS, FAILURE, CANCELLED = DeploymentState.SUCCESS, DeploymentState.FAILURE, DeploymentState.CANCELLED
NOW = at(10)
CHANGED: list[Event] = [DeploymentChanged(7)]
REQUESTED: list[Event] = [DeploymentChanged(7), CancelRequested(7)]


def start(deployment: Deployment) -> list[Event]:
    return deployment.start(worker_id="w1", now=NOW)


def cancel(deployment: Deployment) -> list[Event]:
    return deployment.request_cancel("ada", now=NOW)


def finish(state: DeploymentState) -> Callable[[Deployment], list[Event]]:
    def transition(deployment: Deployment) -> list[Event]:
        return deployment.finish(state, now=NOW, reason="why")

    return transition


succeed, fail, be_cancelled = finish(SUCCESS), finish(FAILURE), finish(CANCELLED)

# State before, transition, state after, and events. None stands for a conflict.
TRANSITIONS: list[tuple[DeploymentState, Callable[[Deployment], list[Event]], DeploymentState, list[Event] | None]] = [
    (QUEUED, start, RUNNING, CHANGED),
    (QUEUED, cancel, CANCELLED, CHANGED),
    (QUEUED, succeed, SUCCESS, CHANGED),
    (QUEUED, fail, FAILURE, CHANGED),
    (QUEUED, be_cancelled, CANCELLED, CHANGED),
    (RUNNING, start, RUNNING, None),
    (RUNNING, cancel, RUNNING, REQUESTED),
    (RUNNING, succeed, SUCCESS, CHANGED),
    (RUNNING, fail, FAILURE, CHANGED),
    (RUNNING, be_cancelled, CANCELLED, CHANGED),
    (SUCCESS, start, SUCCESS, None),
    (SUCCESS, cancel, SUCCESS, None),
    (SUCCESS, succeed, SUCCESS, []),
    # If a script finishes the deployment and then fails, the deployment has failed.
    (SUCCESS, fail, FAILURE, CHANGED),
    (SUCCESS, be_cancelled, SUCCESS, []),
    (FAILURE, start, FAILURE, None),
    (FAILURE, cancel, FAILURE, None),
    (FAILURE, succeed, FAILURE, []),
    (FAILURE, fail, FAILURE, []),
    (FAILURE, be_cancelled, FAILURE, []),
    (CANCELLED, start, CANCELLED, None),
    (CANCELLED, cancel, CANCELLED, None),
    (CANCELLED, succeed, CANCELLED, []),
    (CANCELLED, fail, CANCELLED, []),
    (CANCELLED, be_cancelled, CANCELLED, []),
]


class TestTransitions:
    @pytest.mark.parametrize(("before", "transition", "after", "events"), TRANSITIONS)
    def test_every_transition_in_every_state(
        self,
        before: DeploymentState,
        transition: Callable[[Deployment], list[Event]],
        after: DeploymentState,
        events: list[Event] | None,
    ) -> None:
        deployment = a_deployment(state=before)
        if events is None:
            with pytest.raises(Conflict, match=r"Deployment 7 (is|has)"):
                transition(deployment)
        else:
            assert transition(deployment) == events
        assert deployment.state is after

    def test_the_table_is_complete(self) -> None:
        pairs = {(before, transition) for before, transition, _, _ in TRANSITIONS}
        assert len(pairs) == len(TRANSITIONS) == len(DeploymentState) * 5

    @pytest.mark.parametrize(("before", "transition", "after", "events"), TRANSITIONS)
    def test_a_transition_without_effect_changes_nothing(
        self,
        before: DeploymentState,
        transition: Callable[[Deployment], list[Event]],
        after: DeploymentState,
        events: list[Event] | None,
    ) -> None:
        deployment = a_deployment(state=before, finished=at(5), reason="before")
        if events:
            return
        try:
            transition(deployment)
        except Conflict:
            assert events is None
        assert (deployment.finished, deployment.reason, deployment.cancel_requested) == (at(5), "before", None)


class TestStart:
    def test_a_start_sets_worker_and_time(self) -> None:
        deployment = a_deployment(state=QUEUED)
        deployment.start(worker_id="w1", now=NOW)
        assert (deployment.worker_id, deployment.started, deployment.finished) == ("w1", NOW, None)


class TestFinish:
    @pytest.mark.parametrize("reason", ["It broke.", None])
    def test_finishing_sets_time_and_reason(self, reason: str | None) -> None:
        deployment = a_deployment()
        deployment.finish(FAILURE, now=NOW, reason=reason)
        assert (deployment.finished, deployment.reason) == (NOW, reason)


class TestRequestCancel:
    def test_a_queued_deployment_is_final_immediately(self) -> None:
        deployment = a_deployment(state=QUEUED)
        deployment.request_cancel("ada", now=NOW)
        assert (deployment.finished, deployment.reason) == (NOW, "Cancelled by ada.")

    def test_a_running_deployment_continues_until_its_run_has_ended(self) -> None:
        deployment = a_deployment()
        deployment.request_cancel("ada", now=NOW)
        assert (deployment.finished, deployment.cancel_requested) == (None, "Cancelled by ada.")

    @pytest.mark.parametrize("reported", [SUCCESS, FAILURE])
    def test_a_deployment_with_a_reported_result_is_stopped_until_its_run_has_ended(
        self, reported: DeploymentState
    ) -> None:
        deployment = a_deployment(state=reported, started=at(1), finished=at(5), reason="before")
        assert deployment.request_cancel("ada", now=NOW) == REQUESTED
        assert (deployment.state, deployment.finished, deployment.reason) == (reported, at(5), "before")
        assert deployment.cancel_requested == "Cancelled by ada."
        assert deployment.request_cancel("bob", now=NOW) == []

    @pytest.mark.parametrize("state", [SUCCESS, FAILURE, CANCELLED])
    def test_a_deployment_whose_run_has_ended_is_final(self, state: DeploymentState) -> None:
        deployment = a_deployment(state=state, started=at(1), finished=at(5), run_ended=at(5))
        with pytest.raises(Conflict, match="has already finished"):
            deployment.request_cancel("ada", now=NOW)
        assert deployment.cancel_requested is None

    def test_the_first_cancel_request_counts(self) -> None:
        deployment = a_deployment()
        deployment.request_cancel("ada", now=NOW)
        assert deployment.request_cancel("bob", now=NOW) == []
        assert deployment.cancel_requested == "Cancelled by ada."


class TestHasLiveProcess:
    def test_a_process_is_live_from_the_claim_to_the_end_of_the_run(self) -> None:
        deployment = a_deployment(state=QUEUED)
        reported = [deployment.has_live_process]
        deployment.start(worker_id="w1", now=NOW)
        reported.append(deployment.has_live_process)
        deployment.finish(SUCCESS, now=NOW)
        reported.append(deployment.has_live_process)
        deployment.run_ended = NOW
        assert [*reported, deployment.has_live_process] == [False, True, True, False]


class TestStates:
    def test_which_deployment_states_are_final(self) -> None:
        assert {state for state in DeploymentState if state.is_final} == {SUCCESS, FAILURE, CANCELLED}

    def test_which_step_states_are_final(self) -> None:
        final = {state for state in StepState if state.is_final}
        assert final == {StepState.SUCCESS, StepState.FAILURE, StepState.SKIPPED}

    @pytest.mark.parametrize(
        ("kind", "is_not_over", "is_over"), [(DeploymentState, ACTIVE, FINAL), (StepState, OPEN_STEPS, FINAL_STEPS)]
    )
    def test_every_state_is_in_exactly_one_set(
        self, kind: type[Enum], is_not_over: frozenset[Enum], is_over: frozenset[Enum]
    ) -> None:
        assert [state for state in kind if (state in is_not_over) is (state in is_over)] == []

    def test_sets_of_states_are_written_as_sql(self) -> None:
        assert sql_list(ACTIVE) == "'queued', 'running'"
        assert sql_list(FINAL_STEPS) == "'success', 'failure', 'skipped'"

    def test_the_command_line_knows_every_final_state(self) -> None:
        assert EXIT_CODES.keys() == {state.value for state in FINAL}
        assert {state.value for state in FINAL | FINAL_STEPS} <= COLORS.keys()

    def test_state_names_follow_the_contract(self) -> None:
        assert [state.value for state in DeploymentState] == ["queued", "running", "success", "failure", "cancelled"]
        assert [state.value for state in StepState] == ["pending", "running", "success", "failure", "skipped"]


class TestSnapshot:
    def test_a_snapshot_does_not_change_with_the_step(self) -> None:
        step = Step(id=1, deployment_id=7, name="A", position=1, detail={"a": 1}, hosts=[{"host": "web1"}])
        copy = step.snapshot()
        step.detail["b"] = 2
        step.hosts.append({"host": "web2"})
        step.state = StepState.RUNNING
        assert copy == Step(id=1, deployment_id=7, name="A", position=1, detail={"a": 1}, hosts=[{"host": "web1"}])
