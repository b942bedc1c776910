"""Services: what they ask for, how they went, what they left running."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from deploy.domain.model import DeploymentState
from deploy.entrypoints.schemas.common import Answer, Detail
from deploy.entrypoints.schemas.deployments import DeploymentOut, PlannedStepOut


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
