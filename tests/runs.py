"""Process runs in memory: batches of entries as the handler does, with a dictionary instead of the database."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from itertools import count
from typing import Any

from deploy.domain.events import Event, LinePrinted, StepChanged
from deploy.domain.hosts import Hosts
from deploy.domain.model import Deployment, DeploymentState, PlannedStep, Step, StepReport, StepResult, StepState
from deploy.domain.reports import Entry, HostReported, Line, Reported, RunEnded
from deploy.domain.run import Run, plan
from deploy.service_layer.messages import stored_events

START = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def at(second: float) -> datetime:
    """Return the time `second` seconds after the start of the run."""
    return START + timedelta(seconds=second)


def a_deployment(**fields: Any) -> Deployment:
    """Return a running deployment. `fields` override its defaults."""
    defaults: dict[str, Any] = {
        "id": 7,
        "service_id": 3,
        "service": "shop",
        "origin": "GitHub",
        "user": "ada",
        "context": {"env": {}},
        "created": START,
        "state": DeploymentState.RUNNING,
    }
    return Deployment(**{**defaults, **fields})


def reported(name: str, state: str = "success", *, second: float = 1, planned: bool = False, **more: Any) -> Reported:
    """Return a step report."""
    return Reported(StepReport(name=name, state=StepState(state), **more), at(second), planned)


def line(text: str = "hello", second: float = 1) -> Line:
    """Return a line of output."""
    return Line(text, at(second))


def ended(code: int | None = 0, second: float = 99, **more: Any) -> RunEnded:
    """Return the end of a run."""
    return RunEnded(at=at(second), code=code, **more)


class History:
    """A deployment with its stored state and every event that was published."""

    def __init__(self, planned: Sequence[str] = (), deployment: Deployment | None = None) -> None:
        self.deployment = deployment or a_deployment()
        self.stored: dict[int, Step] = {}
        self.results: dict[tuple[int, str], StepResult] = {}
        self.hosts = Hosts()
        self.events: list[Event] = []
        self.messages: list[dict[str, Any]] = []
        self._ids: Iterator[int] = count(101)
        self._publish(plan(self.deployment, [PlannedStep(name=name) for name in planned], self._ids))
        for event in self.events:
            assert isinstance(event, StepChanged)
            self.stored[event.step.id] = event.step

    def take(self, *entries: Entry) -> Run:
        """Process one batch, with the open steps read from the stored state."""
        run = self.run()
        for entry in entries:
            run.take(entry)
        self.keep(run)
        return run

    def run(self) -> Run:
        """Return the run as a handler sees it at the beginning of a batch."""
        is_open = (StepState.PENDING, StepState.RUNNING)
        return Run(
            self.deployment, [s.snapshot() for s in self.stored.values() if s.state in is_open], self._ids, self.hosts
        )

    def keep(self, run: Run) -> None:
        """Store the changes of a batch, as a handler does at the end of the batch."""
        run.flush()
        self.stored.update({step.id: step.snapshot() for step in run.touched.values()})
        self.results.update(run.results)
        for gone in run.removed:
            self.stored.pop(gone, None)
            self.results = {key: result for key, result in self.results.items() if key[0] != gone}
        self._publish(run.events)

    def states(self) -> dict[str, str]:
        """Return the state of each step by its name, in plan order."""
        return {step.name: step.state.value for step in sorted(self.stored.values(), key=lambda s: s.position)}

    def step(self, name: str) -> Step:
        """Return the only step with that name."""
        (found,) = (step for step in self.stored.values() if step.name == name)
        return found

    def lines(self) -> list[LinePrinted]:
        """Return every published line, in order."""
        return [event for event in self.events if isinstance(event, LinePrinted)]

    def published_states(self, name: str) -> list[str]:
        """Return the published states of a step, in order. A removal is `deleted`."""
        changes = [event for event in self.events if isinstance(event, StepChanged) and event.step.name == name]
        return ["deleted" if change.deleted else change.step.state.value for change in changes]

    def _publish(self, events: Iterable[Event]) -> None:
        published_states = list(events)
        self.events += published_states
        self.messages += [json.loads(event.message) for event in stored_events(self.deployment, published_states)]


__all__ = ["START", "History", "HostReported", "a_deployment", "at", "ended", "line", "reported"]
