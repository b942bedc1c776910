"""Apply the output of a run to its deployment and its open steps."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from typing_extensions import assert_never

from deploy.domain.events import DeploymentChanged, Event, HostResultAdded, LinePrinted, StepChanged
from deploy.domain.hosts import Hosts, stored_result
from deploy.domain.model import (
    Deployment,
    DeploymentState,
    HostResult,
    PlannedStep,
    Step,
    StepReport,
    StepResult,
    StepState,
)
from deploy.domain.reports import (
    DETAIL_LIMIT,
    DIFF_LIMIT,
    NAME_LIMIT,
    Entry,
    HostErrorsCleared,
    HostReported,
    Line,
    Reported,
    RunEnded,
    clean_text,
    short_text,
    step_name,
    with_cut_notes,
)

PLACEHOLDER = PlannedStep(name="Deploy", description="The steps are unknown until the first successful deployment.")
SCRIPT_STEP, PLAYBOOK_STEP = "Run the deploy script", "Run the playbook"

# Ansible only stops its own processes. It does not tell hosts to stop what it started there.
REMOTE_COMMANDS = "Commands that Ansible already started on other hosts may still be running."
# What shells report about a program that they ran: 128 and the number of the signal that ended it, or that it could not
# be run at all.
EXIT_CODE_HINTS = {
    126: "A command could not be executed. Check its permissions.",
    127: "A command was not found. Check its name, and PATH_FOR_DEPLOY.",
    134: "A program aborted (SIGABRT).",
    137: "A program was killed (SIGKILL), often because the machine was out of memory.",
    139: "A program crashed (SIGSEGV).",
    143: "A program was terminated from outside (SIGTERM).",
}
SIGNAL_HINTS = {"SIGKILL": "Often, the system does this because the machine is out of memory."}


def plan(deployment: Deployment, planned: Iterable[PlannedStep], ids: Iterator[int]) -> list[Event]:
    """Add the planned steps to a new deployment as pending. Return the events."""
    events: list[Event] = []
    for step in planned:
        deployment.step_count += 1
        new = Step(
            id=next(ids),
            deployment_id=deployment.id,
            name=step_name(step.name),
            description=short_text(clean_text(step.description)),
            position=deployment.step_count,
            expected_seconds=step.expected_seconds,
            detail={"path": step.path} if step.path else {},
        )
        events.append(StepChanged(new))
    return events


class Run:
    """Applies the entries of one batch, in order, and collects the changes. Shortens their texts.

    `events` holds all events in order, `touched` the steps to store by ID, `removed` the IDs of steps to delete, and
    `results` the host results to store by step and host. `ids` yields IDs for unplanned steps. `hosts` is what earlier
    batches reported about hosts; without it, host results are not expected. `stored_lines` is the number of output
    lines before this batch.
    """

    def __init__(
        self, deployment: Deployment, open_steps: Iterable[Step], ids: Iterator[int], hosts: Hosts | None = None
    ) -> None:
        self.deployment = deployment
        self.events: list[Event] = []
        self.touched: dict[int, Step] = {}
        self.removed: set[int] = set()
        self.results: dict[tuple[int, str], StepResult] = {}
        self.hosts = hosts or Hosts()
        self._counted: dict[int, Step] = {}  # counts that no step message contains yet
        self.stored_lines = deployment.lines
        self._ids = ids
        self._open = {step.id: step for step in sorted(open_steps, key=lambda step: step.position)}
        self._by_name: dict[str, list[Step]] = {}
        for step in self._open.values():
            self._by_name.setdefault(step.name, []).append(step)
        running = [step for step in self._open.values() if step.state is StepState.RUNNING]
        # Sort by start, as if the whole run were a single batch.
        self._running = {step.id: step for step in sorted(running, key=lambda step: step.run_order or 0)}
        for step in self._open.values():
            self._adopt(step)

    @property
    def open_steps(self) -> list[Step]:
        """Return the pending and running steps, in the order of the plan."""
        return list(self._open.values())

    @property
    def printed(self) -> list[str]:
        """Return the output lines of this batch."""
        return [event.text for event in self.events if isinstance(event, LinePrinted)]

    @property
    def _current(self) -> Step | None:
        """Return the step that output belongs to: the running step that started last."""
        return next(reversed(self._running.values()), None)

    def take(self, entry: Entry) -> None:
        """Apply one entry."""
        if isinstance(entry, Line):
            self._print(entry)
        elif isinstance(entry, Reported):
            self.report(entry.report, at=entry.at, planned=entry.planned)
        elif isinstance(entry, HostReported):
            self._host_result(entry.result)
        elif isinstance(entry, HostErrorsCleared):
            self._clear_errors()
        else:
            self._end(entry)

    def flush(self) -> None:
        """Send the counts of host results, once per step. Call at the end of a batch."""
        for step in list(self._counted.values()):
            self._emit(step)

    def report(self, report: StepReport, *, at: datetime, planned: bool = False) -> None:
        """Apply a step report: update the open step of that name, or append a new one.

        When a running step succeeds, start the next pending step, unless every start is reported (`planned`).
        """
        if self.deployment.state.is_final:
            return
        name = short_text(report.name, NAME_LIMIT)
        found = self._find(name, report, planned=planned)
        step = found or self._append(name)
        was_running = step.state is StepState.RUNNING
        message = short_text(with_cut_notes(report.message))
        # The message of a task that ends replaces the hosts that it waited for.
        step.message = message if planned and report.state.is_final else message or step.message
        if report.detail:
            step.detail = _merged(step.detail, report.detail)
        if report.state is not StepState.PENDING:
            self._set_state(step, report.state, started=report.started or at, finished=report.finished or at)
        self._emit(step)
        match report.state:
            case StepState.FAILURE:
                self._note_failure(step, decides=not planned)
            case StepState.SUCCESS | StepState.SKIPPED:
                if not planned and (was_running or (found and self._current is None)):
                    self._start_next(at)
            case StepState.PENDING | StepState.RUNNING:
                pass
            case _:
                assert_never(report.state)

    def finish(self, *, at: datetime) -> None:
        """Finish the deployment because its script is done.

        Derive the outcome from its steps, and remove open steps.
        """
        if self.deployment.state.is_final:
            return
        self._settle(DeploymentState.SUCCESS, at=at)

    def drop_open(self) -> None:
        """Remove every pending and running step."""
        for step in list(self._open.values()):
            self._remove(step)

    def _print(self, line: Line) -> None:
        self.deployment.lines += 1
        step = self._current
        if step is not None:
            step.first_line = step.first_line or self.deployment.lines
            step.last_line = self.deployment.lines
            self.touched[step.id] = step
        if line.host:
            self.hosts.note_line(short_text(line.host, NAME_LIMIT), self.deployment.lines)
        self.events.append(LinePrinted(line.text, line.at, self.deployment.lines, step.id if step else None))

    def _host_result(self, result: HostResult) -> None:
        host = short_text(result.host, NAME_LIMIT)
        lines = self.hosts.take_lines(host)
        step = next((step for step in self._running.values() if step.detail.get("task") == result.task), None)
        if step is None:
            return
        self._store_result(
            step,
            StepResult(
                step_id=step.id,
                host=host,
                outcome=result.outcome,
                duration=result.duration,
                message=short_text(with_cut_notes(result.message)),
                diff=None if result.diff is None else short_text(with_cut_notes(result.diff), DIFF_LIMIT),
                lines=lines,
            ),
        )

    def _store_result(self, step: Step, result: StepResult) -> None:
        self.hosts.add(result, step)
        self.results[step.id, result.host] = result
        self.touched[step.id] = self._counted[step.id] = step
        self.events.append(HostResultAdded(result))

    def _adopt(self, step: Step) -> None:
        """Store the results of a step that a version without rows for results started."""
        if step.host_counts is not None:
            return
        known, step.hosts, step.host_counts = step.hosts, [], {}
        for fields in known:
            self._store_result(step, stored_result(step.id, fields))

    def _end(self, end: RunEnded) -> None:
        was_final = self.deployment.state.is_final
        self.deployment.exit_code = end.code
        self.deployment.run_ended = end.at
        self._end_open(end)
        if was_final and not any(isinstance(event, DeploymentChanged) for event in self.events):
            # The script had reported the result; now its processes have ended as well.
            self.events.append(DeploymentChanged(self.deployment.id))

    def _end_open(self, end: RunEnded) -> None:
        if end.cause == "lost" and self.deployment.state.is_final:
            return  # the script has already reported the result
        if end.cause is None and end.code == 0:
            self._settle(DeploymentState.SUCCESS, at=end.at)
            return
        reason = short_text(_reason(end))
        if end.cause is None and (self.deployment.has_failed_step or (end.is_playbook and self.deployment.reason)):
            self.deployment.reason = self.hosts.sentence() or self.deployment.reason
        if end.cause == "cancelled":
            reason = self.deployment.cancel_requested or reason
            reason += f" {REMOTE_COMMANDS}" if end.is_playbook else ""
        is_explained = self.deployment.has_failed_step or self.deployment.reason is not None
        if not self.deployment.state.is_final and (end.cause is not None or not is_explained):
            self._fail_step(reason, at=end.at, name=PLAYBOOK_STEP if end.is_playbook else SCRIPT_STEP)
        outcome = DeploymentState.CANCELLED if end.cause == "cancelled" else DeploymentState.FAILURE
        self._settle(outcome, at=end.at, reason=reason)

    def _settle(self, outcome: DeploymentState, *, at: datetime, reason: str | None = None) -> None:
        deployment = self.deployment
        self.drop_open()
        if outcome is not DeploymentState.CANCELLED and deployment.has_failed_step:
            outcome = DeploymentState.FAILURE
        if outcome is DeploymentState.FAILURE:
            reason = deployment.reason or reason
        self.events += deployment.finish(outcome, now=at, reason=reason)

    def _fail_step(self, reason: str, *, at: datetime, name: str) -> None:
        """Record the reason in a failed step: the running step, or a new one with this name."""
        step = self._current or self._append(name)
        step.message = reason
        self._set_state(step, StepState.FAILURE, started=at, finished=at)
        self._emit(step)
        self.deployment.has_failed_step = True
        self.deployment.reason = reason

    def _find(self, name: str, report: StepReport, *, planned: bool) -> Step | None:
        # Ansible's ID for the task. In a script's report, `task` is a detail like any other.
        task = report.detail.get("task") if planned else None
        candidates = [step for step in self._by_name.get(name, ()) if step.id in self._open]
        if task is not None:
            same = next((step for step in candidates if step.detail.get("task") == task), None)
            return same or _pending_at(report.detail.get("path"), candidates)
        running = next((step for step in candidates if step.state is StepState.RUNNING), None)
        return running or next(iter(candidates), None)

    def _append(self, name: str) -> Step:
        self.deployment.step_count += 1
        step = Step(
            id=next(self._ids), deployment_id=self.deployment.id, name=name, position=self.deployment.step_count
        )
        self._open[step.id] = step
        self._by_name.setdefault(name, []).append(step)
        return step

    def _set_state(self, step: Step, state: StepState, *, started: datetime, finished: datetime) -> None:
        if step.run_order is None:
            self.deployment.run_count += 1
            step.run_order = self.deployment.run_count
            step.started = started
        step.state = state
        if state.is_final:
            step.finished = finished
            self._open.pop(step.id, None)
            self._running.pop(step.id, None)
            self.hosts.close(step)
        else:
            self._running.setdefault(step.id, step)

    def _start_next(self, at: datetime) -> None:
        pending = next((step for step in self._open.values() if step.state is StepState.PENDING), None)
        if pending is not None:
            self._set_state(pending, StepState.RUNNING, started=at, finished=at)
            self._emit(pending)

    def _remove(self, step: Step) -> None:
        self._open.pop(step.id, None)
        self._running.pop(step.id, None)
        self.touched.pop(step.id, None)
        self._counted.pop(step.id, None)
        self.hosts.discard(step)
        self.results = {key: result for key, result in self.results.items() if key[0] != step.id}
        self.removed.add(step.id)
        self.events.append(StepChanged(step.snapshot(), deleted=True))

    def _emit(self, step: Step) -> None:
        self.touched[step.id] = step
        self._counted.pop(step.id, None)
        self.events.append(StepChanged(step.snapshot()))

    def _note_failure(self, step: Step, *, decides: bool) -> None:
        """Keep the reason of the first failure, and fail the deployment if it `decides`.

        A failed task of a playbook does not decide, because Ansible can recover from it. Ansible's exit code does.
        """
        if self.deployment.has_failed_step or (self.deployment.reason is not None and not decides):
            return
        self.deployment.has_failed_step = decides
        self.deployment.reason = f"The step “{step.name}” failed" + (f": {step.message}" if step.message else ".")

    def _clear_errors(self) -> None:
        if not self.deployment.has_failed_step:
            self.deployment.reason = None
            self.hosts.bad.clear()


def _pending_at(path: object, candidates: Iterable[Step]) -> Step | None:
    """Return the pending step of the task at this place, or else (the file was changed) the first one."""
    pending = [step for step in candidates if step.state is StepState.PENDING]
    return next((step for step in pending if step.detail.get("path") == path), next(iter(pending), None))


def _merged(detail: dict[str, Any], reported: dict[str, Any]) -> dict[str, Any]:
    """Return the detail of a step with what was reported now. Leave out values that make it larger than DETAIL_LIMIT."""
    merged = {**detail, **reported}
    if _size(merged) <= DETAIL_LIMIT:
        return merged
    merged = {name: value for name, value in detail.items() if name not in reported}
    left = DETAIL_LIMIT - _size(merged)
    for name, value in reported.items():
        size = _size({name: value})
        kept = value if size <= left else f"… (left out: {size} characters)"
        left -= _size({name: kept})
        if left >= 0:
            merged[name] = kept
    return merged


def _size(detail: dict[str, Any]) -> int:
    return len(json.dumps(detail, ensure_ascii=False))


def _reason(end: RunEnded) -> str:
    program = "The playbook" if end.is_playbook else "The deploy script"
    # Without an exit code or a signal, the message is all that is known about how the run ended.
    if end.message and (end.cause is not None or (end.code is None and end.signal is None)):
        return end.message
    if end.signal is not None:
        return _with_hint(f"{program} was killed by {end.signal}.", SIGNAL_HINTS.get(end.signal))
    if end.code is None:
        return "The run ended without reporting a result."
    if end.is_playbook:
        return end.error or f"{program} ended with exit code {end.code}."
    return _with_hint(f"{program} ended with exit code {end.code}.", EXIT_CODE_HINTS.get(end.code))


def _with_hint(sentence: str, hint: str | None) -> str:
    return f"{sentence} {hint}" if hint else sentence
