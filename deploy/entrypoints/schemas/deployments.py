"""Schemas for deployments, their steps, output and changes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from deploy.domain.model import DeploymentState, StepState
from deploy.domain.reports import MAX_DEPTH, is_deep, step_state
from deploy.domain.rules import MAX_VALUES
from deploy.entrypoints.schemas.common import Moment, Origin, ResponseModel
from deploy.entrypoints.schemas.hosts import HostResultOut, HostSummaryOut


class DeploymentIn(BaseModel):
    """The values for a deployment."""

    env: dict[str, Any] = Field(default_factory=dict, max_length=MAX_VALUES)


class UserDeploymentIn(DeploymentIn):
    """The values and origin of a deployment. If the service requires confirmation, set `confirm` to its name."""

    origin: Origin = "frontend"
    confirm: str | None = Field(default=None, max_length=200)


class RetryIn(BaseModel):
    """The secret inputs, which are not stored. If the service requires confirmation, set `confirm` to its name."""

    env: dict[str, Any] = Field(default_factory=dict, max_length=MAX_VALUES)
    confirm: str | None = Field(default=None, max_length=200)


def _known_state(said: Any) -> Any:
    """Return the state for a state name. Return anything else unchanged, so that validation rejects it."""
    return (step_state(said) or said) if isinstance(said, str) else said


class StepIn(BaseModel):
    """A step report, with the same fields as a JSON line in the output of a script.

    `error_message` replaces the `message` of a failed step, and is used if there is no `message`; other fields are stored as details. Ansible's state names (`ok`,
    `changed`, `failed`, `unreachable`) are accepted.
    """

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1, max_length=500)
    state: Annotated[StepState, BeforeValidator(_known_state)] = StepState.SUCCESS
    started: Moment | None = None
    finished: Moment | None = None
    message: str | None = Field(default="", max_length=65_536)

    @model_validator(mode="after")
    def _can_be_kept(self) -> StepIn:
        if is_deep(self.model_extra):
            raise ValueError(f"It is nested too deeply ({MAX_DEPTH} levels at most).")
        return self


class HeldOut(ResponseModel):
    """Why a queued deployment is not in the queue, and until when (null if unknown)."""

    model_config = ConfigDict(from_attributes=True)

    reason: str
    until: datetime | None


class DeploymentOut(ResponseModel):
    """A deployment."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    service_id: int
    service: str
    origin: str
    user: str
    state: DeploymentState
    created: datetime
    started: datetime | None
    finished: datetime | None
    context: dict[str, Any]
    reason: str | None
    exit_code: int | None
    retry_of: int | None
    cancel_requested: str | None
    run_ended: datetime | None
    expected_seconds: float | None
    secret_inputs: list[str]
    seq: int
    lines: int
    environment: str
    held: HeldOut | None


class DeploymentStarted(DeploymentOut):
    """A deployment and its URL (`details`)."""

    details: str


class StepOut(ResponseModel):
    """A step of a deployment.

    `host_counts` is the number of hosts by outcome. `hosts` contains some results (10 at most), failures first.
    """

    model_config = ConfigDict(from_attributes=True)

    id: int
    deployment_id: int
    name: str
    description: str
    state: StepState
    started: datetime | None
    finished: datetime | None
    message: str
    position: int
    run_order: int | None
    first_line: int | None
    last_line: int | None
    detail: dict[str, Any]
    hosts: list[HostResultOut]
    expected_seconds: float | None
    host_counts: dict[str, int] | None


class WaitingOut(ResponseModel):
    """Why a deployment is waiting, its position in the queue (from 1; 0 while held), and the deployment it waits for."""

    reason: str
    position: int
    blocked_by: int | None


class DeploymentDetails(DeploymentStarted):
    """A deployment with its steps. `hosts` is null if it has no results on hosts."""

    steps: list[StepOut]
    hosts: HostSummaryOut | None
    waiting: WaitingOut | None


class PlannedStepOut(ResponseModel):
    """A planned step; `expected_seconds` is based on earlier runs (null if unknown)."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    description: str
    expected_seconds: float | None


class ChangeOut(ResponseModel):
    """A value or file that changed; `before` and `after` are null for files, secrets and missing values."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    kind: Literal["added", "removed", "changed"]
    before: Any = None
    after: Any = None


class ChangesOut(ResponseModel):
    """What changed since the last successful deployment before this one (`since`; null if there was none).

    `unknown` lists what cannot be compared, because it was not recorded or the folder was too large.
    """

    since: DeploymentOut | None
    env: list[ChangeOut]
    config: list[ChangeOut]
    files: list[ChangeOut]
    unknown: list[Literal["config", "files"]]


class EventsOut(ResponseModel):
    """Messages as the WebSocket sends them; `more` is true if there are more."""

    events: list[dict[str, Any]]
    last_seq: int
    more: bool


class LineOut(ResponseModel):
    """A line of output; `n` is its number, from 1."""

    n: int
    at: datetime
    text: str
    step_id: int | None


class OutputOut(ResponseModel):
    """Lines of output. `total` counts all lines; `next_after` is the `after` of the next page (null at the end).

    A page can contain fewer lines than `limit`, or none, although there are more.
    """

    lines: list[LineOut]
    total: int
    next_after: int | None
