"""Deployments: their steps, output and differences."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from deploy.domain.model import DeploymentState, Outcome, StepState
from deploy.domain.reports import is_deep, step_state
from deploy.entrypoints.schemas.common import Answer, Moment, Origin


class DeploymentIn(BaseModel):
    """What the run gets to know."""

    env: dict[str, Any] = Field(default_factory=dict, max_length=1000)


class UserDeploymentIn(DeploymentIn):
    """What the run gets to know, and where the user asks from; `confirm` is the service's name, where it asks for it."""

    origin: Origin = "frontend"
    confirm: str | None = Field(default=None, max_length=200)


class RetryIn(BaseModel):
    """What a retry needs besides what is stored: the secret inputs, and the service's name where it asks for it."""

    env: dict[str, Any] = Field(default_factory=dict, max_length=1000)
    confirm: str | None = Field(default=None, max_length=200)


def _known_state(said: Any) -> Any:
    """Return the state that a word means; anything else as it is, to be refused."""
    return (step_state(said) or said) if isinstance(said, str) else said


class StepIn(BaseModel):
    """A step, as a script reports it: what it may print as a line of output.

    `error_message` is used where there is no `message`; any other field is kept as detail. Ansible's words are understood
    as states, too.
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
            raise ValueError("The lists and objects in it lie in each other too deeply.")
        return self


class DeploymentOut(Answer):
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
    expected_seconds: float | None
    secret_inputs: list[str]
    seq: int
    lines: int


class DeploymentStarted(DeploymentOut):
    """A deployment, and where to look at it."""

    details: str


class HostResultOut(Answer):
    """What an Ansible task did on one host."""

    host: str
    outcome: Outcome
    duration: float | None
    message: str
    diff: str | None


class StepOut(Answer):
    """A step."""

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


class WaitingOut(Answer):
    """Why a deployment waits."""

    reason: str
    position: int
    blocked_by: int | None


class DeploymentDetails(DeploymentStarted):
    """A deployment with its steps."""

    steps: list[StepOut]
    waiting: WaitingOut | None


class PlannedStepOut(Answer):
    """A step that is expected, with the seconds that it took lately (null: not known)."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    description: str
    expected_seconds: float | None


class ChangeOut(Answer):
    """A value or a file that differs; `before` and `after` are null for files, and where there is no value."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    kind: Literal["added", "removed", "changed"]
    before: Any = None
    after: Any = None


class ChangesOut(Answer):
    """What has changed since the last success before a deployment (null: there was none).

    `unknown` names what cannot be compared: nothing was kept of one of them, or its folder was too large.
    """

    since: DeploymentOut | None
    env: list[ChangeOut]
    config: list[ChangeOut]
    files: list[ChangeOut]
    unknown: list[Literal["config", "files"]]


class EventsOut(Answer):
    """Messages as the WebSocket sends them, and whether there are more."""

    events: list[dict[str, Any]]
    last_seq: int
    more: bool


class LineOut(Answer):
    """A line of output."""

    n: int
    at: datetime
    text: str
    step_id: int | None


class OutputOut(Answer):
    """Lines of output; `total` is how many there are, `next_after` where to go on (null at the end)."""

    lines: list[LineOut]
    total: int
    next_after: int | None
