"""Deployments, steps, services, users, and tokens, and their state changes.

States of a deployment (docs: explanation/life-of-a-deployment):

    queued ──start──▶ running ──finish──▶ success | failure | cancelled
       └──────cancel────────────────────▶ cancelled

A queued deployment can be `held`: it is not in the queue until it is released.

Methods that change state return the resulting events. Other modules store and publish them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple

from deploy.domain.errors import Conflict
from deploy.domain.events import CancelRequested, DeploymentChanged, Event

# Seconds: one year. Leaves room for computations with a timeout, such as the expiration of the run's token.
MAX_TIMEOUT = 31_536_000


class DeploymentState(str, Enum):
    """The state of a deployment."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Return True if the state is final."""
        return self not in (DeploymentState.QUEUED, DeploymentState.RUNNING)


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
        return self not in (StepState.PENDING, StepState.RUNNING)


class Outcome(str, Enum):
    """The outcome of an Ansible task on one host."""

    OK = "ok"
    CHANGED = "changed"
    SKIPPED = "skipped"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    IGNORED = "ignored"
    RESCUED = "rescued"


@dataclass(eq=False)
class User:
    """A user. Incrementing `epoch` ends all their sessions.

    `has_generated_password` is True if the server generated the password at its first start and it has not been
    changed.
    """

    name: str
    password_hash: str
    is_admin: bool = False
    is_active: bool = True
    epoch: int = 0
    has_generated_password: bool = False
    created: datetime | None = None
    id: int = None  # type: ignore[assignment]  # set by the database


@dataclass(eq=False)
class Service:
    """Something that can be deployed: a folder in the services root."""

    name: str
    data: dict[str, Any]
    readme: str | None = None
    updated: datetime | None = None
    deleted: datetime | None = None
    id: int = None  # type: ignore[assignment]

    @property
    def concurrency(self) -> int:
        """Return the number of the service's deployments that can run at the same time."""
        return int(self.data.get("concurrency", 1))


class TokenKind(str, Enum):
    """The types of tokens that are recorded, so that they can be listed and revoked."""

    SERVICE = "service"
    CONFIG = "config"


@dataclass(eq=False)
class Token:
    """The record of an issued token, not the token itself. `id` is its `jti` claim."""

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
    """A signed-in browser. Only a hash of its cookie is stored."""

    id: str
    user_id: int
    user_epoch: int
    created: datetime
    expires: datetime
    user_agent: str = ""
    last_used: datetime | None = None


class Lane(NamedTuple):
    """What deployments queue for: a service in one of its environments, or ("") without an environment.

    Deployments of a lane run in order, at most as many at once as the service's `concurrency`. Planned steps, expected
    durations, previous values, and comparisons with the last success are based on deployments of the same lane.
    """

    service_id: int
    environment: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """Why a deployment is held, and (if it is known) until when. A held deployment is queued without a job."""

    reason: str
    until: datetime | None = None


@dataclass(eq=False, slots=True)
class DeployedService:
    """What the last successful deployment of a lane left running."""

    deployment_id: int
    service_id: int
    config: dict[str, Any]
    environment: str = ""
    id: int = None  # type: ignore[assignment]


@dataclass(slots=True)
class Step:
    """One named action of a deployment.

    `position` is its place in the plan, and `run_order` its place in the order of starts. `first_line` and `last_line`
    are output line numbers. `expected_seconds` is based on earlier runs. For Ansible tasks, `hosts` holds one result
    per host.
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
class HostResult:
    """The result of an Ansible task on one host. `task` is Ansible's ID for the task, and `duration` is in seconds."""

    task: str
    host: str
    outcome: Outcome
    duration: float | None = None
    message: str = ""
    diff: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """A step that is expected but has not reported yet. `expected_seconds` is based on earlier runs, if any."""

    name: str
    description: str = ""
    expected_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps that a deployment is expected to run, and its expected duration in seconds, if known."""

    steps: tuple[PlannedStep, ...]
    expected_seconds: float | None = None


@dataclass(eq=False, slots=True)
class Deployment:
    """One run of a service.

    `seq` is the number of its last recorded event, `lines` is the number of output lines, and `spool_offset` is the
    number of bytes of the run's spool that have been stored. `expected_seconds` is based on earlier successes.
    `context` does not contain the values of `secret_inputs`.
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
    environment: str = ""
    held: Held | None = None
    id: int = None  # type: ignore[assignment]

    @property
    def lane(self) -> Lane:
        """Return the lane that the deployment belongs to."""
        return Lane(self.service_id, self.environment)

    @property
    def has_live_process(self) -> bool:
        """Return True if it started and its processes have not ended, even if its script has reported a result."""
        return self.started is not None and self.run_ended is None

    def start(self, *, worker_id: str, now: datetime) -> list[Event]:
        """Start the deployment on a worker.

        Raises:
            Conflict: The deployment is not queued.
        """
        if self.state is not DeploymentState.QUEUED:
            raise Conflict(f"Deployment {self.id} is {self.state.value} and cannot be started again.")
        self.state = DeploymentState.RUNNING
        self.worker_id = worker_id
        self.started = now
        return [DeploymentChanged(self.id)]

    def release(self) -> list[Event]:
        """End the hold, so that the deployment can be queued.

        Raises:
            Conflict: The deployment is not held.
        """
        if self.held is None or self.state is not DeploymentState.QUEUED:
            raise Conflict(f"Deployment {self.id} is not held.")
        self.held = None
        return [DeploymentChanged(self.id)]

    def finish(self, state: DeploymentState, *, now: datetime, reason: str | None = None) -> list[Event]:
        """Set the final state.

        A final state only changes in one case: to failure, if a script reported success and then crashed.
        """
        crashed_after_success = self.state is DeploymentState.SUCCESS and state is DeploymentState.FAILURE
        if self.state.is_final and not crashed_after_success:
            return []
        self.state = state
        self.held = None
        self.finished = now
        self.reason = reason
        return [DeploymentChanged(self.id)]

    def request_cancel(self, by: str, *, now: datetime) -> list[Event]:
        """Cancel a queued deployment immediately, or request that a running one stop. Do not change a final state.

        Raises:
            Conflict: The deployment and its processes have ended.
        """
        if self.state.is_final and not self.has_live_process:
            raise Conflict(
                f"Deployment {self.id} has already finished ({self.state.value}); there is nothing to cancel."
            )
        if self.cancel_requested is not None:
            return []
        self.cancel_requested = f"Cancelled by {by}."
        if self.state is DeploymentState.QUEUED:
            return self.finish(DeploymentState.CANCELLED, now=now, reason=self.cancel_requested)
        return [DeploymentChanged(self.id), CancelRequested(self.id)]
