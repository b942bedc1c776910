"""Deployments, their steps, services, users and tokens: what they are and how they change.

States of a deployment (docs: explanation/life-of-a-deployment):

    queued ──start──▶ running ──finish──▶ success | failure | cancelled
       └──────cancel────────────────────▶ cancelled

A method that changes something returns the events it causes; nothing here knows how they are stored or told.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any

from deploy.domain.errors import Conflict
from deploy.domain.events import CancelRequested, DeploymentChanged, Event

# Seconds: a year. Whatever computes with the timeout of a run (the end of its token, say) has room for it.
MAX_TIMEOUT = 31_536_000


class DeploymentState(str, Enum):
    """Where a deployment stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen."""
        return self not in (DeploymentState.QUEUED, DeploymentState.RUNNING)


class StepState(str, Enum):
    """Where a step stands. `skipped` is Ansible's: no host had anything to do."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    SKIPPED = "skipped"

    @property
    def is_final(self) -> bool:
        """Whether the step has ended."""
        return self not in (StepState.PENDING, StepState.RUNNING)


class Outcome(str, Enum):
    """What an Ansible task did on one host."""

    OK = "ok"
    CHANGED = "changed"
    SKIPPED = "skipped"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    IGNORED = "ignored"
    RESCUED = "rescued"


@dataclass(eq=False)
class User:
    """Somebody who signs in. `epoch` goes up whenever all their sessions have to end.

    `has_generated_password`: the server made the password up at its first start, and it has not been changed since.
    """

    name: str
    password_hash: str
    is_admin: bool = False
    is_active: bool = True
    epoch: int = 0
    has_generated_password: bool = False
    created: datetime | None = None
    id: int = None  # type: ignore[assignment]  # given by the database


@dataclass(eq=False)
class Service:
    """Something that can be deployed: a folder below the services root."""

    name: str
    data: dict[str, Any]
    readme: str | None = None
    updated: datetime | None = None
    deleted: datetime | None = None
    id: int = None  # type: ignore[assignment]

    @property
    def concurrency(self) -> int:
        """How many of its deployments may run at once."""
        return int(self.data.get("concurrency", 1))


class TokenKind(str, Enum):
    """Tokens that leave a row, so that they can be listed and revoked."""

    SERVICE = "service"
    CONFIG = "config"


@dataclass(eq=False)
class Token:
    """The record of a token that was handed out; never the token itself. `id` is its `jti` claim."""

    id: str
    kind: TokenKind
    origin: str
    created: datetime
    expires: datetime
    user_id: int | None = None
    service_id: int | None = None
    last_used: datetime | None = None
    revoked: datetime | None = None


@dataclass(eq=False)
class BrowserSession:
    """A signed-in browser. Only a hash of its cookie is kept."""

    id: str
    user_id: int
    user_epoch: int
    created: datetime
    expires: datetime
    user_agent: str = ""
    last_used: datetime | None = None


@dataclass(eq=False, slots=True)
class DeployedService:
    """What the last successful deployment of a service left running."""

    deployment_id: int
    service_id: int
    config: dict[str, Any]
    id: int = None  # type: ignore[assignment]


@dataclass(slots=True)
class Step:
    """One named action of a deployment.

    `position` is where the plan has it, `run_order` counts up as steps begin; `first_line` and `last_line` are
    numbers of output lines; `expected_seconds` is what the step took lately. `hosts` holds, for an Ansible task, one result per host.
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

    def snapshot(self) -> Step:
        """Return the step as it is now, for an event that tells of this moment."""
        # Written out: `dataclasses.replace` takes four times as long, and there is one for each change of a step.
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
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What a script or a playbook says of one of its steps."""

    name: str
    state: StepState
    message: str = ""
    started: datetime | None = None
    finished: datetime | None = None
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostResult:
    """What an Ansible task did on one host. `task` is Ansible's id of it, `duration` is in seconds."""

    task: str
    host: str
    outcome: Outcome
    duration: float | None = None
    message: str = ""
    diff: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """A step that is expected, before it reports; `expected_seconds` is what it took lately, where that is known."""

    name: str
    description: str = ""
    expected_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a deployment is expected to do, and how many seconds that took lately, where that is known."""

    steps: tuple[PlannedStep, ...]
    expected_seconds: float | None = None


@dataclass(eq=False, slots=True)
class Deployment:
    """One run of a service.

    `seq` is the number of the last event that was recorded of it, `lines` the number of output lines, `spool_offset`
    how far (bytes) the run's spool has been taken in, `expected_seconds` what earlier successes took. The values of
    `secret_inputs` are not in `context`.
    """

    service_id: int
    service: str
    origin: str
    user: str
    context: dict[str, Any]
    created: datetime
    state: DeploymentState = DeploymentState.QUEUED
    started: datetime | None = None
    finished: datetime | None = None
    reason: str | None = None
    exit_code: int | None = None
    retry_of: int | None = None
    user_id: int | None = None
    idempotency_key: str | None = None
    worker_id: str | None = None
    job_id: int | None = None
    cancel_requested: str | None = None
    run_ended: datetime | None = None
    seq: int = 0
    lines: int = 0
    spool_offset: int = 0
    step_count: int = 0
    run_count: int = 0
    has_failed_step: bool = False
    expected_seconds: float | None = None
    secret_inputs: list[str] = field(default_factory=list)
    request_fingerprint: str | None = None
    id: int = None  # type: ignore[assignment]

    @property
    def goes_on(self) -> bool:
        """Whether it has begun, and its processes have not ended; its script may have told the outcome before that."""
        return self.started is not None and self.run_ended is None

    def start(self, *, worker_id: str, now: datetime) -> list[Event]:
        """A worker has taken the deployment up.

        Raises:
            Conflict: the deployment does not wait any more.
        """
        if self.state is not DeploymentState.QUEUED:
            raise Conflict(f"Deployment {self.id} is {self.state.value}, it cannot start again.")
        self.state = DeploymentState.RUNNING
        self.worker_id = worker_id
        self.started = now
        return [DeploymentChanged(self.id)]

    def finish(self, state: DeploymentState, *, now: datetime, reason: str | None = None) -> list[Event]:
        """Settle the outcome. Final is final, but for one case: a script that reported its own success and then
        broke off has failed after all.
        """
        broke_off_after_success = self.state is DeploymentState.SUCCESS and state is DeploymentState.FAILURE
        if self.state.is_final and not broke_off_after_success:
            return []
        self.state = state
        self.finished = now
        self.reason = reason
        return [DeploymentChanged(self.id)]

    def request_cancel(self, by: str, *, now: datetime) -> list[Event]:
        """Cancel at once when it still waits; otherwise ask the run to stop. An outcome that its script has told stays.

        Raises:
            Conflict: it is over already.
        """
        if self.state.is_final and not self.goes_on:
            raise Conflict(f"Deployment {self.id} is over already ({self.state.value}), there is nothing to cancel.")
        if self.cancel_requested is not None:
            return []
        self.cancel_requested = f"Cancelled by {by}."
        if self.state is DeploymentState.QUEUED:
            return self.finish(DeploymentState.CANCELLED, now=now, reason=self.cancel_requested)
        return [DeploymentChanged(self.id), CancelRequested(self.id)]
