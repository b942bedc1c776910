"""Test how a run's reports change its deployment and steps, according to the contract for deploy scripts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.domain.events import DeploymentChanged, StepChanged
from deploy.domain.model import DeploymentState, HostResult, Outcome, PlannedStep, StepState
from deploy.domain.reports import (
    DETAIL_LIMIT,
    Entry,
    HostReported,
    Line,
    Reported,
    RunEnded,
    read_event,
    step_report,
)
from deploy.domain.run import SCRIPT_STEP, plan
from tests.runs import History, a_deployment, at, ended, line, reported

SUCCESS, FAILURE, CANCELLED = DeploymentState.SUCCESS, DeploymentState.FAILURE, DeploymentState.CANCELLED


def host_reported(task: str, host: str, outcome: Outcome = Outcome.OK, **more: Any) -> HostReported:
    return HostReported(HostResult(task=task, host=host, outcome=outcome, **more), at(1))


class TestPlan:
    def test_expected_steps_are_pending_and_in_order(self) -> None:
        history = History(["Build", "Migrate", "Restart"])
        assert history.states() == {"Build": "pending", "Migrate": "pending", "Restart": "pending"}
        assert [step.position for step in history.stored.values()] == [1, 2, 3]
        assert [message["type"] for message in history.messages] == ["step"] * 3

    def test_descriptions_are_kept(self) -> None:
        events = plan(a_deployment(), [PlannedStep(name="Build", description="Makes it")], iter([1]))
        assert [event.step.description for event in events if isinstance(event, StepChanged)] == ["Makes it"]

    @pytest.mark.parametrize("name", ["  Install ", "x" * 600, "a\x00b", "\ud800"])
    def test_an_expected_step_is_matched_with_any_name(self, name: str) -> None:
        history = History([name])
        report = step_report({"name": name, "state": "success"})
        assert report is not None
        history.take(dataclasses.replace(reported("x"), report=report))
        assert list(history.states().values()) == ["success"]


# Stored steps before, the report, and stored steps after. `+` marks a step that the report adds.
REPORTS: list[tuple[list[tuple[str, str]], tuple[str, str], list[tuple[str, str]]]] = [
    # An open step with that name is updated in any state.
    ([("A", "pending")], ("A", "pending"), [("A", "pending")]),
    ([("A", "pending")], ("A", "running"), [("A", "running")]),
    ([("A", "pending")], ("A", "success"), [("A", "success")]),
    ([("A", "pending")], ("A", "failure"), [("A", "failure")]),
    ([("A", "pending")], ("A", "skipped"), [("A", "skipped")]),
    ([("A", "running")], ("A", "running"), [("A", "running")]),
    ([("A", "running")], ("A", "success"), [("A", "success")]),
    ([("A", "running")], ("A", "failure"), [("A", "failure")]),
    ([("A", "running")], ("A", "skipped"), [("A", "skipped")]),
    # A running step never becomes pending again.
    ([("A", "running")], ("A", "pending"), [("A", "running")]),
    # A finished step does not change. The report creates a new one.
    ([("A", "success")], ("A", "running"), [("A", "success"), ("A", "running")]),
    ([("A", "failure")], ("A", "success"), [("A", "failure"), ("A", "success")]),
    ([("A", "skipped")], ("A", "success"), [("A", "skipped"), ("A", "success")]),
    # An unknown step is appended.
    ([], ("A", "pending"), [("A", "pending")]),
    ([], ("A", "running"), [("A", "running")]),
    ([("A", "pending")], ("B", "success"), [("A", "pending"), ("B", "success")]),
    ([("A", "pending")], ("B", "failure"), [("A", "pending"), ("B", "failure")]),
    # If two steps have the same name, the running one is updated, or else the first one.
    ([("A", "pending"), ("A", "running")], ("A", "failure"), [("A", "pending"), ("A", "failure")]),
    ([("A", "pending"), ("A", "pending")], ("A", "failure"), [("A", "failure"), ("A", "pending")]),
    # When a running step succeeds, the next pending one starts.
    ([("A", "running"), ("B", "pending")], ("A", "success"), [("A", "success"), ("B", "running")]),
    ([("A", "running"), ("B", "pending")], ("A", "skipped"), [("A", "skipped"), ("B", "running")]),
    ([("A", "running"), ("B", "pending")], ("A", "failure"), [("A", "failure"), ("B", "pending")]),
    ([("A", "pending"), ("B", "running")], ("B", "success"), [("A", "running"), ("B", "success")]),
    # Scripts that only report ends also advance, but nothing starts while another step is running.
    ([("A", "pending"), ("B", "pending")], ("A", "success"), [("A", "success"), ("B", "running")]),
    (
        [("A", "running"), ("B", "pending"), ("C", "pending")],
        ("B", "success"),
        [("A", "running"), ("B", "success"), ("C", "pending")],
    ),
    # A report of a start or of progress does not start any other step.
    ([("A", "running"), ("B", "pending")], ("A", "running"), [("A", "running"), ("B", "pending")]),
    ([("A", "pending"), ("B", "pending")], ("A", "running"), [("A", "running"), ("B", "pending")]),
    # An unplanned step does not start any other step either, unless it was running.
    ([("A", "pending")], ("B", "running"), [("A", "pending"), ("B", "running")]),
    ([("A", "pending"), ("B", "running")], ("B", "skipped"), [("A", "running"), ("B", "skipped")]),
]


def with_steps(steps: Sequence[tuple[str, str]]) -> History:
    """Return a history whose steps are in these states."""
    history = History([name for name, _ in steps])
    for stored, (_, state) in zip(history.stored.values(), steps, strict=True):
        stored.state = StepState(state)
        if state != "pending":
            history.deployment.run_count += 1
            stored.run_order = history.deployment.run_count
    return history


class TestReport:
    @pytest.mark.parametrize(("before", "report", "after"), REPORTS)
    def test_reports_change_steps_according_to_the_rules(
        self, before: list[tuple[str, str]], report: tuple[str, str], after: list[tuple[str, str]]
    ) -> None:
        history = with_steps(before)
        history.take(reported(*report))
        steps = sorted(history.stored.values(), key=lambda step: step.position)
        assert [(step.name, step.state.value) for step in steps] == after

    def test_reporting_only_ends_completes_the_plan(self) -> None:
        history = History(["A", "B", "C"])
        seen = []
        for name in "ABC":
            history.take(reported(name))
            seen.append(list(history.states().values()))
        assert seen == [
            ["success", "running", "pending"],
            ["success", "success", "running"],
            ["success", "success", "success"],
        ]

    def test_a_playbook_reports_every_start_itself(self) -> None:
        history = History(["A", "B"])
        history.take(reported("A", "running", planned=True), reported("A", planned=True))
        assert history.states() == {"A": "success", "B": "pending"}

    def test_every_change_is_published_in_order(self) -> None:
        history = History(["A", "B"])
        history.take(reported("A", "running"), reported("A"))
        changes = [(e.step.name, e.step.state.value) for e in history.events[2:] if isinstance(e, StepChanged)]
        assert changes == [("A", "running"), ("A", "success"), ("B", "running")]

    def test_reported_times_are_used(self) -> None:
        history = History(["A", "B"])
        history.take(reported("A", "running", second=5), reported("A", second=9))
        history.take(reported("B", started=at(20), finished=at(30), second=40))
        a, b = history.step("A"), history.step("B")
        assert (a.started, a.finished) == (at(5), at(9))
        assert b.finished == at(30)

    def test_a_step_that_only_reports_its_end_has_both_times(self) -> None:
        history = History(["A"])
        history.take(reported("A", second=9))
        assert (history.step("A").started, history.step("A").finished) == (at(9), at(9))

    def test_execution_order_is_the_order_of_starts(self) -> None:
        history = History(["A", "B"])
        history.take(reported("B", "running"), reported("A", "running"), reported("B"), reported("A"))
        assert (history.step("B").run_order, history.step("A").run_order) == (1, 2)

    def test_a_message_stays_until_it_is_replaced(self) -> None:
        history = History(["A"])
        history.take(reported("A", "running", message="half"), reported("A"))
        assert history.step("A").message == "half"
        history.take(reported("A", "running", message="one"), reported("A", message="two"))
        assert sorted(step.message for step in history.stored.values()) == ["half", "two"]

    def test_the_size_of_details_is_limited(self) -> None:
        history = History(["A"])
        for number in range(10):
            detail = {"shared": number, f"field {number}": "x" * (DETAIL_LIMIT // 4)}
            history.take(reported("A", "running", detail=detail))
        found = history.step("A").detail
        assert len(json.dumps(found)) < DETAIL_LIMIT + 1000
        assert found["shared"] == 9
        assert found["field 0"] == "x" * (DETAIL_LIMIT // 4)
        assert found["field 9"].startswith("… (left out: ")

    def test_the_number_of_details_is_limited(self) -> None:
        history = History(["A"])
        history.take(reported("A", "running", detail={f"field {number}": "x" * 1000 for number in range(100_000)}))
        assert len(json.dumps(history.step("A").detail)) < DETAIL_LIMIT + 1000

    def test_details_are_merged(self) -> None:
        history = History(["A"])
        history.take(reported("A", "running", detail={"a": 1, "b": 1}), reported("A", detail={"b": 2}))
        assert history.step("A").detail == {"a": 1, "b": 2}

    def test_published_events_do_not_change_with_the_step(self) -> None:
        history = History()
        history.take(reported("A", "running", detail={"n": 1}), reported("A", detail={"n": 2}))
        published = [event.step for event in history.events if isinstance(event, StepChanged)]
        assert [(step.state.value, step.detail) for step in published] == [
            ("running", {"n": 1}),
            ("success", {"n": 2}),
        ]

    @pytest.mark.parametrize("task", ["other", 2, None, ["x"], {"a": 1}])
    def test_a_field_called_task_is_ordinary_detail(self, task: object) -> None:
        history = History()
        history.take(reported("A", "running", detail={"task": "one"}), reported("A", detail={"task": task}))
        assert history.states() == {"A": "success"}
        assert len(history.stored) == 1

    def test_the_first_failure_is_the_reason(self) -> None:
        history = History()
        history.take(reported("A", "failure", message="no space left"), reported("B", "failure"))
        assert history.deployment.has_failed_step
        assert history.deployment.reason == "The step “A” failed: no space left"

    def test_a_failure_without_a_message_has_a_reason(self) -> None:
        history = History()
        history.take(reported("A", "failure"))
        assert history.deployment.reason == "The step “A” failed."

    @pytest.mark.parametrize("state", [SUCCESS, FAILURE, CANCELLED])
    def test_nothing_changes_after_the_end(self, state: DeploymentState) -> None:
        history = History(["A"], a_deployment(state=state))
        history.take(reported("A"), reported("B"))
        assert history.states() == {"A": "pending"}


class TestOutput:
    def test_lines_are_numbered_from_one_over_all_batches(self) -> None:
        history = History()
        history.take(line("a"), line("b"))
        history.take(line("c"))
        assert [(printed.number, printed.text) for printed in history.lines()] == [(1, "a"), (2, "b"), (3, "c")]
        assert history.deployment.lines == 3

    def test_a_line_belongs_to_the_running_step(self) -> None:
        history = History(["A"])
        history.take(line("before"), reported("A", "running"), line("one"), line("two"), reported("A"), line("after"))
        step = history.step("A")
        assert [printed.step_id for printed in history.lines()] == [None, step.id, step.id, None]
        assert (step.first_line, step.last_line) == (2, 3)

    def test_a_line_belongs_to_the_latest_of_several_running_steps(self) -> None:
        history = History()
        history.take(reported("A", "running"), reported("B", "running"), line(), reported("B"), line())
        assert [printed.step_id for printed in history.lines()] == [history.step("B").id, history.step("A").id]

    def test_a_line_after_the_outcome_is_kept(self) -> None:
        history = History()
        run = history.run()
        run.finish(at=at(5))
        history.keep(run)
        history.take(line("bye"))
        assert [printed.text for printed in history.lines()] == ["bye"]


class TestHostResults:
    def test_results_are_collected_by_task(self) -> None:
        history = History()
        history.take(
            reported("Install", "running", detail={"task": "t1"}, planned=True),
            host_reported("t1", "web1", duration=0.5),
            host_reported("t1", "web2", Outcome.CHANGED, diff="+x", message="done"),
            host_reported("t2", "web1"),
            reported("Install", detail={"task": "t1"}, planned=True),
        )
        step = history.step("Install")
        assert [
            (result.host, result.outcome, result.duration, result.diff) for result in history.results.values()
        ] == [
            ("web1", Outcome.OK, 0.5, None),
            ("web2", Outcome.CHANGED, None, "+x"),
        ]
        assert step.host_counts == {"ok": 1, "changed": 1}
        assert [(shown["host"], shown["diff"], shown["has_more"]) for shown in step.hosts] == [
            ("web1", None, False),
            ("web2", None, True),
        ]
        assert history.published_states("Install") == ["running", "success"]

    def test_tasks_with_the_same_name_are_distinguished_by_id(self) -> None:
        history = History(["Restart", "Restart"])
        for task in ("t1", "t2"):
            history.take(
                reported("Restart", "running", detail={"task": task}, planned=True),
                host_reported(task, f"host of {task}"),
                reported("Restart", detail={"task": task}, planned=True),
            )
        hosts = {step.detail["task"]: step.hosts[0]["host"] for step in history.stored.values()}
        assert hosts == {"t1": "host of t1", "t2": "host of t2"}
        assert len(history.stored) == 2

    def test_a_parallel_task_with_the_same_name_is_a_separate_step(self) -> None:
        history = History(["Restart"])
        history.take(
            reported("Restart", "running", detail={"task": "t1"}, planned=True),
            reported("Restart", "running", detail={"task": "t2"}, planned=True),
        )
        assert sorted(step.detail["task"] for step in history.stored.values()) == ["t1", "t2"]

    def test_a_later_result_of_a_host_replaces_the_earlier_one(self) -> None:
        history = History()
        history.take(
            reported("A", "running", detail={"task": "t1"}, planned=True),
            host_reported("t1", "web1", Outcome.FAILED),
            host_reported("t1", "web2"),
            host_reported("t1", "web1", Outcome.IGNORED),
        )
        outcomes = {result["host"]: result["outcome"] for result in history.step("A").hosts}
        assert outcomes == {"web1": "ignored", "web2": "ok"}
        assert len(history.step("A").hosts) == len(history.results) == 2
        assert history.step("A").host_counts == {"ok": 1, "ignored": 1}

    def test_a_result_for_a_finished_task_is_dropped(self) -> None:
        history = History()
        history.take(reported("A", detail={"task": "t1"}, planned=True), host_reported("t1", "web1"))
        assert history.step("A").hosts == []
        assert not history.results

    def test_a_batch_of_results_sends_the_counts_once_per_step(self) -> None:
        history = History()
        history.take(reported("A", "running", detail={"task": "t1"}, planned=True))
        for batch in range(3):
            history.take(*[host_reported("t1", f"web{batch}-{n}") for n in range(100)])
        counts = [message["host_counts"] for message in history.messages if message["type"] == "step"]
        assert counts == [{}, {"ok": 100}, {"ok": 200}, {"ok": 300}]

    def test_messages_about_results_have_the_same_size_for_any_number_of_hosts(self) -> None:
        sizes = []
        for hosts in (100, 1000):
            history = History()
            history.take(reported("A", "running", detail={"task": "t1"}, planned=True))
            before = len(history.messages)
            for n in range(hosts):
                history.take(host_reported("t1", f"web{n:04}", message="x" * 5000, diff="+" * 5000))
            sizes.append(sum(len(json.dumps(message)) for message in history.messages[before:]) / hosts)
        assert sizes[1] <= 1.3 * sizes[0]
        assert sizes[1] < 2000

    def test_a_result_contains_the_numbers_of_its_lines(self) -> None:
        history = History()
        history.take(
            reported("A", "running", detail={"task": "t1"}, planned=True),
            line("TASK [A]"),
            Line("web1 item 1", at(1), host="web1"),
            Line("web2 item 1", at(1), host="web2"),
        )
        history.take(
            Line("web1 item 2", at(1), host="web1"),
            Line("web1 failed", at(1), host="web1"),
            host_reported("t1", "web1", Outcome.FAILED),
            Line("web2 ok", at(1), host="web2"),
            host_reported("t1", "web2"),
        )
        lines = {result.host: result.lines for result in history.results.values()}
        assert lines == {"web1": [[2, 2], [4, 5]], "web2": [[3, 3], [6, 6]]}

    def test_failed_hosts_come_first_in_the_sample(self) -> None:
        history = History()
        history.take(reported("A", "running", detail={"task": "t1"}, planned=True))
        history.take(*[host_reported("t1", f"web{n}") for n in range(20)])
        history.take(*[host_reported("t1", f"db{n}", Outcome.FAILED, message="no") for n in range(3)])
        assert [shown["host"] for shown in history.step("A").hosts] == [
            "db0",
            "db1",
            "db2",
            *(f"web{n}" for n in range(7)),
        ]

    def test_the_outcome_names_every_failed_host_and_its_step(self) -> None:
        history = History()
        for name, task in (("Reach the host", "t1"), ("Verify", "t2")):
            bad = {
                "t1": {"web004": Outcome.UNREACHABLE},
                "t2": dict.fromkeys(("web144", "web003", "web017"), Outcome.FAILED),
            }
            hosts = [f"web{n:03}" for n in range(1, 201)]
            history.take(
                reported(name, "running", detail={"task": task}, planned=True),
                *[host_reported(task, host, bad[task].get(host, Outcome.OK), message=host) for host in hosts],
                reported(name, "failure", detail={"task": task}, planned=True),
            )
        history.take(ended(2, is_playbook=True))
        assert history.deployment.reason == (
            "4 of 200 hosts failed: web004 unreachable (Reach the host); web003, web017, web144 failed (Verify)"
        )

    def test_the_reason_of_a_run_with_one_host_is_its_message(self) -> None:
        history = History()
        history.take(
            reported("A", "running", detail={"task": "t1"}, planned=True),
            host_reported("t1", "web1", Outcome.FAILED, message="boom"),
            reported("A", "failure", message="boom", detail={"task": "t1"}, planned=True),
            ended(2),
        )
        assert history.deployment.reason == "The step “A” failed: boom"

    def test_a_timeout_remains_the_reason(self) -> None:
        history = History()
        history.take(
            reported("A", "running", detail={"task": "t1"}, planned=True),
            host_reported("t1", "web1"),
            host_reported("t1", "web2", Outcome.FAILED),
            ended(None, cause="timeout", message="It timed out."),
        )
        assert history.deployment.reason == "It timed out."

    def test_results_of_a_step_that_an_earlier_version_started_are_kept(self) -> None:
        history = History()
        history.take(reported("A", "running", detail={"task": "t1"}, planned=True))
        step = history.step("A")
        step.host_counts = None
        step.hosts = [{"host": "web1", "outcome": "changed", "duration": 0.5, "message": "m", "diff": "+x"}]
        history.take(host_reported("t1", "web2"))
        assert history.step("A").host_counts == {"ok": 1, "changed": 1}
        assert [(result.host, result.diff) for result in history.results.values()] == [("web1", "+x"), ("web2", None)]


@dataclasses.dataclass(frozen=True)
class Ending:
    """A way for a run to end, and its effect on a deployment with a running step A and a pending step B."""

    end: RunEnded
    state: DeploymentState
    reason: str | None
    steps: dict[str, str]
    cancel_requested: str | None = None


ENDINGS = {
    "success": Ending(ended(0), SUCCESS, None, {}),
    "exit code": Ending(ended(3), FAILURE, "The deploy script ended with exit code 3.", {"A": "failure"}),
    "exit code and message": Ending(
        ended(3, message="go.sh ended with exit code 3."),
        FAILURE,
        "The deploy script ended with exit code 3.",
        {"A": "failure"},
    ),
    "signal": Ending(
        ended(None, signal="SIGSEGV"), FAILURE, "The deploy script was killed by SIGSEGV.", {"A": "failure"}
    ),
    "exit code of a killed program": Ending(
        ended(137),
        FAILURE,
        "The deploy script ended with exit code 137. A program was killed (SIGKILL), often because the machine was out "
        "of memory.",
        {"A": "failure"},
    ),
    "exit code of a missing program": Ending(
        ended(127),
        FAILURE,
        "The deploy script ended with exit code 127. A command was not found. Check its name, and PATH_FOR_DEPLOY.",
        {"A": "failure"},
    ),
    "killed": Ending(
        ended(None, signal="SIGKILL"),
        FAILURE,
        "The deploy script was killed by SIGKILL. Often, the system does this because the machine is out of memory.",
        {"A": "failure"},
    ),
    "timeout": Ending(
        ended(None, signal="SIGKILL", cause="timeout", message="Too long."), FAILURE, "Too long.", {"A": "failure"}
    ),
    "timeout with exit code 0": Ending(
        ended(0, cause="timeout", message="Too long."), FAILURE, "Too long.", {"A": "failure"}
    ),
    "not started": Ending(
        ended(None, cause="not_started", message="No such file."), FAILURE, "No such file.", {"A": "failure"}
    ),
    "supervisor failure": Ending(
        ended(None, message="The run's supervisor failed."), FAILURE, "The run's supervisor failed.", {"A": "failure"}
    ),
    "unknown": Ending(ended(None), FAILURE, "The run ended without reporting a result.", {"A": "failure"}),
    "lost": Ending(ended(None, cause="lost", message="Gone."), FAILURE, "Gone.", {"A": "failure"}),
    "cancelled": Ending(
        ended(None, signal="SIGTERM", cause="cancelled", message="It was cancelled."),
        CANCELLED,
        "Cancelled by ada.",
        {"A": "failure"},
        cancel_requested="Cancelled by ada.",
    ),
    "cancelled by an unknown user": Ending(
        ended(0, cause="cancelled", message="It was cancelled."), CANCELLED, "It was cancelled.", {"A": "failure"}
    ),
}


class TestEnd:
    @pytest.mark.parametrize("how", ENDINGS.values(), ids=ENDINGS.keys())
    def test_each_end_of_a_run_has_its_outcome(self, how: Ending) -> None:
        history = History(["A", "B"], a_deployment(cancel_requested=how.cancel_requested))
        history.take(reported("A", "running"))
        history.take(how.end)
        deployment = history.deployment
        assert (deployment.state, deployment.reason) == (how.state, how.reason)
        assert (deployment.finished, deployment.run_ended, deployment.exit_code) == (at(99), at(99), how.end.code)
        assert history.states() == how.steps
        assert history.published_states("B") == ["pending", "deleted"]
        assert history.events[-1] == DeploymentChanged(deployment.id)

    @pytest.mark.parametrize("how", ENDINGS.values(), ids=ENDINGS.keys())
    def test_the_running_step_gives_the_reason(self, how: Ending) -> None:
        history = History(["A"], a_deployment(cancel_requested=how.cancel_requested))
        history.take(reported("A", "running"), how.end)
        if how.state is SUCCESS:
            assert history.published_states("A") == ["pending", "running", "deleted"]
        else:
            assert history.step("A").message == how.reason

    @pytest.mark.parametrize(
        "how", [how for how in ENDINGS.values() if how.state is not SUCCESS], ids=lambda how: str(how.reason)
    )
    def test_without_a_running_step_one_is_added_with_the_reason(self, how: Ending) -> None:
        history = History(["A"], a_deployment(cancel_requested=how.cancel_requested))
        history.take(how.end)
        assert history.states() == {SCRIPT_STEP: "failure"}
        assert history.step(SCRIPT_STEP).message == how.reason

    def test_a_failed_step_fails_the_deployment_even_with_exit_code_0(self) -> None:
        history = History()
        history.take(reported("A", "failure", message="disk full"), reported("B"), ended(0))
        assert history.deployment.state is FAILURE
        assert history.deployment.reason == "The step “A” failed: disk full"
        assert history.states() == {"A": "failure", "B": "success"}

    def test_a_reported_failure_is_not_published_twice(self) -> None:
        history = History()
        history.take(reported("A", "failure", message="disk full"), ended(1))
        assert history.states() == {"A": "failure"}
        assert history.deployment.reason == "The step “A” failed: disk full"

    def test_a_cancelled_playbook_says_that_remote_commands_may_still_run(self) -> None:
        history = History(["Sleep"], a_deployment(cancel_requested="Cancelled by ada."))
        history.take(ended(None, signal="SIGINT", cause="cancelled", is_playbook=True))
        assert history.deployment.state is CANCELLED
        assert history.deployment.reason == (
            "Cancelled by ada. Commands that Ansible already started on other hosts may still be running."
        )

    def test_a_cancelled_run_with_a_failed_step_is_cancelled(self) -> None:
        history = History(deployment=a_deployment(cancel_requested="Cancelled by ada."))
        history.take(reported("A", "failure"), ended(None, cause="cancelled"))
        assert (history.deployment.state, history.deployment.reason) == (CANCELLED, "Cancelled by ada.")


class TestFinish:
    """The script finishes the deployment over HTTP, and its process exits later."""

    def finished(self, *entries: Entry) -> History:
        history = History(["A"])
        history.take(*entries)
        run = history.run()
        run.finish(at=at(50))
        history.keep(run)
        return history

    def test_finishing_is_a_success_and_removes_open_steps(self) -> None:
        history = self.finished(reported("B"))
        assert (history.deployment.state, history.deployment.finished) == (SUCCESS, at(50))
        assert history.deployment.run_ended is None
        assert history.states() == {"B": "success"}
        assert history.published_states("A")[-1] == "deleted"

    def test_finishing_after_a_failed_step_is_a_failure(self) -> None:
        history = self.finished(reported("B", "failure", message="no"))
        assert (history.deployment.state, history.deployment.reason) == (FAILURE, "The step “B” failed: no")

    def test_finishing_twice_changes_nothing(self) -> None:
        history = self.finished()
        run = history.run()
        run.finish(at=at(60))
        assert run.events == []
        assert history.deployment.finished == at(50)

    def test_exit_code_0_ends_the_run_and_keeps_the_outcome(self) -> None:
        history = self.finished()
        before = len(history.events)
        history.take(ended(0))
        assert (history.deployment.state, history.deployment.finished) == (SUCCESS, at(50))
        assert history.deployment.run_ended == at(99)
        # Clients learn that its processes have ended, so there is nothing left to cancel.
        assert history.events[before:] == [DeploymentChanged(history.deployment.id)]

    @pytest.mark.parametrize(
        "end", [ended(2), ended(None, signal="SIGKILL"), ended(None, cause="timeout", message="Too long.")]
    )
    def test_any_other_end_turns_the_success_into_a_failure(self, end: RunEnded) -> None:
        history = self.finished(reported("A"))
        history.take(end)
        assert history.deployment.state is FAILURE
        assert history.deployment.reason
        assert history.events[-1] == DeploymentChanged(history.deployment.id)

    def test_a_run_that_is_lost_afterward_stays_a_success(self) -> None:
        history = self.finished()
        history.take(ended(None, cause="lost", message="Gone."))
        assert (history.deployment.state, history.deployment.reason) == (SUCCESS, None)
        assert history.deployment.run_ended == at(99)

    def test_a_cancel_after_finishing_keeps_the_success(self) -> None:
        history = self.finished()
        history.take(ended(None, cause="cancelled"))
        assert history.deployment.state is SUCCESS


names = st.sampled_from(["A", "B", "C"])
states = st.sampled_from(["pending", "running", "success", "failure", "skipped"])
tasks = st.sampled_from(["t1", "t2", "t3"])
script_entries = st.one_of(
    st.builds(line, st.text(max_size=5)),
    st.builds(reported, names, states, message=st.sampled_from(["", "m"])),
    st.builds(reported, names, states, detail=st.fixed_dictionaries({"task": tasks})),
)
playbook_entries = st.one_of(
    st.builds(line, st.text(max_size=5)),
    st.builds(reported, names, states, planned=st.just(True), detail=st.fixed_dictionaries({"task": tasks})),
    st.builds(host_reported, tasks, st.sampled_from(["web1", "web2"])),
)
endings = st.sampled_from([how.end for how in ENDINGS.values()])


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[str], list[Entry], list[int]]:
    """Draw a plan, the entries of a run, and the ends of its batches."""
    planned = draw(st.lists(names, max_size=3))
    kind = draw(st.sampled_from([script_entries, playbook_entries]))
    # By default, Hypothesis draws lists of about five.
    size = draw(st.integers(0, 30))
    entries: list[Entry] = draw(st.lists(kind, min_size=size, max_size=size))
    if draw(st.booleans()):
        entries.append(draw(endings))
    cuts = draw(st.sets(st.integers(0, len(entries)), max_size=25))
    return planned, entries, sorted(cuts)


def all_published(history: History) -> list[dict[str, Any]]:
    """Return everything that was published, without the numbers and groups that depend on the batches.

    Leave out step messages that only change counts, which are sent once per batch.
    """
    flat: list[dict[str, Any]] = []
    known: dict[int, dict[str, Any]] = {}
    for message in history.messages:
        if message["type"] == "output":
            flat += [{"line": printed} for printed in message["lines"]]
            continue
        fields = {key: value for key, value in message.items() if key != "seq"}
        if message["type"] == "step":
            shown = {key: fields[key] for key in fields.keys() - {"host_counts", "first_line", "last_line"}}
            if known.get(message["id"]) == shown:
                continue
            known[message["id"]] = shown
        flat.append(fields)
    return flat


class TestAnyRun:
    @given(runs())
    def test_batch_boundaries_make_no_difference(self, run: tuple[list[str], list[Entry], list[int]]) -> None:
        planned, entries, cuts = run
        at_once, in_batches = History(planned), History(planned)
        at_once.take(*entries)
        for start, stop in zip([0, *cuts], [*cuts, len(entries)], strict=True):
            in_batches.take(*entries[start:stop])
        assert in_batches.stored == at_once.stored
        assert in_batches.results == at_once.results
        assert all_published(in_batches) == all_published(at_once)
        fields = [dataclasses.asdict(history.deployment) for history in (in_batches, at_once)]
        for field in fields:
            field.pop("seq")
        assert fields[0] == fields[1]

    @given(runs())
    def test_the_last_published_state_of_each_step_is_stored(
        self, run: tuple[list[str], list[Entry], list[int]]
    ) -> None:
        planned, entries, _ = run
        history = History(planned)
        history.take(*entries)
        last = {event.step.id: event for event in history.events if isinstance(event, StepChanged)}
        assert {step_id for step_id, event in last.items() if not event.deleted} == history.stored.keys()
        for step_id, step in history.stored.items():
            # Lines are published separately.
            published_states = last[step_id].step
            assert dataclasses.replace(published_states, first_line=step.first_line, last_line=step.last_line) == step

    @given(runs())
    def test_numbers_have_no_gaps(self, run: tuple[list[str], list[Entry], list[int]]) -> None:
        planned, entries, cuts = run
        history = History(planned)
        for start, stop in zip([0, *cuts], [*cuts, len(entries)], strict=True):
            history.take(*entries[start:stop])
        assert [message["seq"] for message in history.messages] == list(range(1, len(history.messages) + 1))
        assert history.deployment.seq == len(history.messages)
        assert [printed.number for printed in history.lines()] == list(range(1, history.deployment.lines + 1))
        orders = sorted(step.run_order for step in history.stored.values() if step.run_order is not None)
        assert len(set(orders)) == len(orders)
        positions = [step.position for step in history.stored.values()]
        assert len(set(positions)) == len(positions)

    @given(runs())
    def test_no_step_is_open_after_the_end(self, run: tuple[list[str], list[Entry], list[int]]) -> None:
        planned, entries, _ = run
        history = History(planned)
        history.take(*entries)
        if entries and isinstance(entries[-1], RunEnded):
            assert history.deployment.state.is_final
            assert all(step.state.is_final for step in history.stored.values())
            assert history.run().open_steps == []
        failed = any(step.state is StepState.FAILURE for step in history.stored.values())
        if any(isinstance(entry, Reported) and entry.planned for entry in entries):
            assert failed or not history.deployment.has_failed_step  # Ansible decides
            return
        assert failed == history.deployment.has_failed_step
        if history.deployment.state is SUCCESS:
            assert not failed


class TestPlaybooks:
    """Runs whose outcome is Ansible's. tests/integration/test_ansible_outcomes.py runs Ansible."""

    def test_a_failed_task_does_not_decide(self) -> None:
        history = History()
        history.take(reported("A", "failure", planned=True, message="broken"))
        history.take(ended(0, is_playbook=True))
        assert (history.deployment.state, history.deployment.reason) == (SUCCESS, None)
        assert history.states() == {"A": "failure"}

    def test_the_first_failure_is_the_reason(self) -> None:
        history = History()
        history.take(reported("A", "failure", planned=True, message="broken"), reported("B", "failure", planned=True))
        history.take(ended(2, is_playbook=True))
        assert (history.deployment.state, history.deployment.reason) == (FAILURE, "The step “A” failed: broken")
        assert "Run the playbook" not in history.states()

    def test_without_a_failed_task_the_error_of_ansible_is_the_reason(self) -> None:
        history = History(["A"])
        history.take(ended(4, is_playbook=True, error="no such role"))
        assert (history.deployment.state, history.deployment.reason) == (FAILURE, "no such role")
        assert history.states() == {"Run the playbook": "failure"}

    def test_the_hosts_that_a_task_waited_for_are_not_its_message(self) -> None:
        history = History()
        events = [
            {"event": "task_start", "task": "t", "name": "Update"},
            {"event": "waiting", "task": "t", "name": "Update", "hosts": ["web1", "web2"], "count": 5},
            {
                "event": "task_end",
                "task": "t",
                "name": "Update",
                "state": "success",
                "message": "",
                "outcome": "ignored",
            },
        ]
        messages = []
        for event in events:
            history.take(*read_event(json.dumps(event), at(1)))
            messages.append(history.step("Update").message)
        assert messages == ["", "Waiting for web1, web2 and 3 more", ""]
        assert history.step("Update").detail["outcome"] == "ignored"
