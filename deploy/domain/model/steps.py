"""Steps of a deployment, what scripts and playbooks report about them, and what is expected of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any


class StepState(str, Enum):
    """The state of a step. `skipped` is used by Ansible: no host had anything to do."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    SKIPPED = "skipped"

    @property
    def is_final(self) -> bool:
        """Return True if the state is final."""
        return self in FINAL_STEPS


# Each state is in exactly one of the two sets.
OPEN_STEPS = frozenset({StepState.PENDING, StepState.RUNNING})
FINAL_STEPS = frozenset({StepState.SUCCESS, StepState.FAILURE, StepState.SKIPPED})


@dataclass(slots=True)
class Step:
    """One named action of a deployment.

    `position` is its place in the plan, and `run_order` its place in the order of starts. `first_line` and `last_line`
    are output line numbers. `expected_seconds` is based on earlier runs. For Ansible tasks, `host_counts` holds the
    number of hosts by outcome, and `hosts` a few results, failed ones first. All results are rows of their own. Steps
    that were stored by versions without such rows have no `host_counts`, and all results in `hosts`.
    """

    id: int
    deployment_id: int
    name: str
    position: int
    state: StepState = StepState.PENDING
    description: str = ""
    message: str = ""
    started: datetime | None = None
    finished: datetime | None = None
    run_order: int | None = None
    first_line: int | None = None
    last_line: int | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    hosts: list[dict[str, Any]] = field(default_factory=list)
    expected_seconds: float | None = None
    host_counts: dict[str, int] | None = field(default_factory=dict)

    def snapshot(self) -> Step:
        """Return a copy of the step for an event."""
        # Spelled out because `dataclasses.replace` takes four times as long, and every step change makes a copy.
        return Step(
            self.id,
            self.deployment_id,
            self.name,
            self.position,
            self.state,
            self.description,
            self.message,
            self.started,
            self.finished,
            self.run_order,
            self.first_line,
            self.last_line,
            self.detail.copy(),
            self.hosts.copy(),
            self.expected_seconds,
            None if self.host_counts is None else self.host_counts.copy(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """A report from a script or playbook about one of its steps."""

    name: str
    state: StepState
    message: str = ""
    started: datetime | None = None
    finished: datetime | None = None
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """A step that is expected but has not reported yet. `expected_seconds` is based on earlier runs, if any.

    For an Ansible task, `path` is its file and line.
    """

    name: str
    description: str = ""
    path: str = ""
    expected_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps that a deployment is expected to run, and its expected duration in seconds, if known."""

    steps: tuple[PlannedStep, ...]
    expected_seconds: float | None = None
