"""Deployments and their state changes.

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
from typing import Any

from typing_extensions import assert_never

from deploy.domain.errors import Conflict
from deploy.domain.events import CancelRequested, DeploymentChanged, Event
from deploy.domain.fields import CHANGES, CHANGES_AND_SENT, SENT
from deploy.domain.model.services import Lane


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
        return self in FINAL


# Each state is in exactly one of the two sets.
ACTIVE = frozenset({DeploymentState.QUEUED, DeploymentState.RUNNING})
FINAL = frozenset({DeploymentState.SUCCESS, DeploymentState.FAILURE, DeploymentState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Held:
    """Why a deployment is held, and (if it is known) until when. A held deployment is queued without a job."""

    reason: str
    until: datetime | None = None


@dataclass(eq=False, slots=True)
class Deployment:
    """One run of a service.

    `seq` is the number of its last recorded event, `lines` is the number of output lines, and `spool_offset` is the
    number of bytes of the run's spool that have been stored. `expected_seconds` is based on earlier successes.
    `context` does not contain the values of `secret_inputs`.

    This is the only declaration of a field: statements and messages follow from it (`domain/fields`), and tests compare
    the table, the response model, and the page's types with it.
    """

    service_id: int = field(metadata=SENT)
    service: str = field(metadata=SENT)
    origin: str = field(metadata=SENT)
    user: str = field(metadata=SENT)
    context: dict[str, Any] = field(metadata=SENT)
    created: datetime = field(metadata=SENT)
    state: DeploymentState = field(default=DeploymentState.QUEUED, metadata=CHANGES_AND_SENT)
    started: datetime | None = field(default=None, metadata=CHANGES_AND_SENT)
    finished: datetime | None = field(default=None, metadata=CHANGES_AND_SENT)
    reason: str | None = field(default=None, metadata=CHANGES_AND_SENT)
    exit_code: int | None = field(default=None, metadata=CHANGES_AND_SENT)
    retry_of: int | None = field(default=None, metadata=SENT)
    user_id: int | None = None
    idempotency_key: str | None = None
    worker_id: str | None = field(default=None, metadata=CHANGES)
    job_id: int | None = field(default=None, metadata=CHANGES)
    cancel_requested: str | None = field(default=None, metadata=CHANGES_AND_SENT)
    run_ended: datetime | None = field(default=None, metadata=CHANGES_AND_SENT)
    seq: int = field(default=0, metadata=CHANGES_AND_SENT)
    lines: int = field(default=0, metadata=CHANGES_AND_SENT)
    spool_offset: int = field(default=0, metadata=CHANGES)
    step_count: int = field(default=0, metadata=CHANGES)
    run_count: int = field(default=0, metadata=CHANGES)
    has_failed_step: bool = field(default=False, metadata=CHANGES)
    expected_seconds: float | None = field(default=None, metadata=SENT)
    secret_inputs: list[str] = field(default_factory=list, metadata=SENT)
    request_fingerprint: str | None = None
    environment: str = field(default="", metadata=SENT)
    held: Held | None = field(default=None, metadata=CHANGES_AND_SENT)
    id: int = field(default=None, metadata=SENT)  # type: ignore[assignment]

    @property
    def lane(self) -> Lane:
        """Return the lane that the deployment belongs to."""
        return Lane(self.service_id, self.environment)

    @property
    def has_live_process(self) -> bool:
        """Return True if it started and its processes have not ended, even if its script has reported a result."""
        return self.started is not None and self.run_ended is None

    def ensure_retryable(self) -> None:
        """Check that the deployment can be started again.

        Raises:
            Conflict: It has not finished.
        """
        if not self.state.is_final:
            raise Conflict(f"Deployment {self.id} has not finished yet. Wait for it to finish, or cancel it.")

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
        match self.state:
            case DeploymentState.QUEUED:
                return self.finish(DeploymentState.CANCELLED, now=now, reason=self.cancel_requested)
            case (
                DeploymentState.RUNNING | DeploymentState.SUCCESS | DeploymentState.FAILURE | DeploymentState.CANCELLED
            ):
                return [DeploymentChanged(self.id), CancelRequested(self.id)]
            case _:
                assert_never(self.state)
