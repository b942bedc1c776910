"""Bodies of requests and answers."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from deploy.domain.model import DeploymentState, Outcome, StepState, TokenKind

Name = Annotated[str, Field(min_length=1, max_length=64)]
Password = Annotated[str, Field(min_length=8, max_length=1024)]
Origin = Annotated[str, Field(min_length=1, max_length=200)]
Id = Annotated[int, Field(ge=1, le=2**63 - 1)]
LARGEST = 2**63 - 1


def in_utc(moment: datetime) -> datetime:
    """Return a time in UTC; one that does not say where it is from is in UTC already."""
    try:
        return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)
    except OverflowError as error:
        raise ValueError("This time is out of range.") from error


Moment = Annotated[datetime, AfterValidator(in_utc)]


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


class SignIn(BaseModel):
    """Name and password."""

    username: str = Field(max_length=1024)
    password: str = Field(max_length=1024)


class SignInForm(BaseModel):
    """Name and password, as OAuth 2 sends them; what else it knows is ignored."""

    model_config = ConfigDict(json_schema_extra={"required": ["username", "password"]})

    grant_type: Literal["password"] | None = None
    username: str = ""
    password: str = Field(default="", json_schema_extra={"format": "password"})


class UserOut(Answer):
    """A user, never with his password's hash."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    is_admin: bool
    is_active: bool
    created: datetime


class UserIn(BaseModel):
    """A new user."""

    name: Name
    password: Password
    is_admin: bool = False


class UserChange(BaseModel):
    """What to change of a user; null leaves it as it is."""

    password: Password | None = None
    is_admin: bool | None = None
    is_active: bool | None = None


class PasswordChange(BaseModel):
    """A user's own new password."""

    current: str = Field(max_length=1024)
    new: Password


class ServiceTokenIn(BaseModel):
    """For which service, who uses it, for how long."""

    service: str = Field(max_length=200)
    origin: Origin
    expiration_in_days: int = Field(default=1, ge=1, le=180)


class ServiceToken(Answer):
    """A service token; it is shown this once."""

    service_token: str
    token_type: Literal["bearer"]


class ConfigTokenIn(BaseModel):
    """Who uses it, for how long."""

    origin: Origin = "config"
    expiration_in_days: int = Field(default=30, ge=1, le=3650)


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


class StepIn(BaseModel):
    """A step, as a script reports it."""

    name: str = Field(min_length=1, max_length=500)
    state: StepState = StepState.SUCCESS
    started: Moment | None = None
    finished: Moment | None = None
    message: str | None = Field(default="", max_length=65_536)


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
