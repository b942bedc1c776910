"""Bodies of answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from deploy.domain.model import DeploymentState, Outcome, StepState, TokenKind


class Answer(BaseModel):
    """What all answers have in common: they are built once they are needed, which in the first seconds few are."""

    model_config = ConfigDict(defer_build=True)


class Detail(Answer):
    """A sentence."""

    detail: str


class AccessToken(Answer):
    """A user token."""

    access_token: str
    token_type: Literal["bearer"]


class SessionToken(AccessToken):
    """A user token for the page, with its life in seconds."""

    expires_in: float


class UserOut(Answer):
    """A user, never with his password's hash."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    is_admin: bool
    is_active: bool
    created: datetime


class ServiceToken(Answer):
    """A service token; it is shown this once."""

    service_token: str
    token_type: Literal["bearer"]


class ConfigToken(Answer):
    """A config token; it is shown this once."""

    config_token: str
    token_type: Literal["bearer"]


class TokenOut(Answer):
    """The record of a token."""

    id: str
    kind: TokenKind
    service: str | None
    origin: str
    user: str | None
    created: datetime
    expires: datetime
    last_used: datetime | None
    revoked: datetime | None


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


class ServiceOut(Answer):
    """A service."""

    id: int
    name: str
    data: dict[str, Any]
    last_deployment: DeploymentOut | None
    active_deployments: list[DeploymentOut]


class ServiceDetails(ServiceOut):
    """A service with its documentation (Markdown) and the steps that its next deployment is expected to take."""

    readme: str | None
    plan: list[PlannedStepOut]


class ChoiceProblem(Answer):
    """Choices that could not be found out."""

    path: str
    detail: str


class SummaryOut(Answer):
    """What will happen and where: `hosts` is null where that is the script's affair, `runs_as` where it is ours."""

    kind: Literal["script", "playbook"]
    file: str
    hosts: list[str] | None
    runs_as: str | None
    ahead: int


class InputsOut(Answer):
    """What to ask for before a deployment: a JSON Schema with all choices filled in (null: any settings).

    `last` are the values of the user's last deployment of the service, without secrets. `confirm` says whether the
    service's name has to be typed.
    """

    model_config = ConfigDict(populate_by_name=True)

    json_schema: dict[str, Any] | None = Field(alias="schema", serialization_alias="schema")
    problems: list[ChoiceProblem]
    last: dict[str, Any] | None
    confirm: bool
    summary: SummaryOut


class FinishedOut(Answer):
    """How one deployment went; `seconds` from its start to its end (null: it never started)."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    state: DeploymentState
    started: datetime | None
    finished: datetime
    seconds: float | None


class StatisticsOut(Answer):
    """How the last deployments of a service went, oldest first.

    The rate leaves out those that were cancelled; the median is that of the successes. Both are null where there are none.
    """

    deployments: list[FinishedOut]
    success_rate: float | None
    median_seconds: float | None


class ProblemOut(Answer):
    """A service folder that could not be read."""

    model_config = ConfigDict(from_attributes=True)

    folder: str
    file: str
    reason: str


class SyncOut(Detail):
    """What a sync has changed, and what it could not read."""

    added: list[str]
    changed: list[str]
    removed: list[str]
    problems: list[ProblemOut]


class DeployedServiceOut(Answer):
    """What the last successful deployment of a service left running."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    deployment_id: int
    config: dict[str, Any]


class WorkerOut(Answer):
    """A process that runs deployments."""

    id: str
    host: str
    version: str
    slots: int
    running: list[int]
    started: datetime
    last_seen: datetime
    alive: bool


class WaitingDeployment(DeploymentOut):
    """A deployment in the queue, and why it waits."""

    waiting: WaitingOut


class QueueOut(Answer):
    """What runs, what waits, and who works."""

    running: list[DeploymentOut]
    waiting: list[WaitingDeployment]
    workers: list[WorkerOut]


class SessionOut(Answer):
    """A browser that is signed in; `current` is the one that asks."""

    id: str
    created: datetime
    expires: datetime
    last_used: datetime | None
    user_agent: str
    current: bool


class Health(Answer):
    """Whether the process works, and if not, why."""

    status: str
    reasons: list[str]
