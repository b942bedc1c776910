"""Schemas for services: their inputs, history and deployed services."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from deploy.domain.model import DeploymentState
from deploy.entrypoints.schemas.common import Detail, ResponseModel
from deploy.entrypoints.schemas.deployments import DeploymentOut, PlannedStepOut


class ServiceOut(ResponseModel):
    """A service.

    `active_deployments` contains only its oldest running and waiting ones (5 in lists, otherwise 20). `active_count`
    counts all of them; in lists, it counts at most 100 that are waiting.
    """

    id: int
    name: str
    data: dict[str, Any]
    last_deployment: DeploymentOut | None
    active_deployments: list[DeploymentOut]
    active_count: int


class ServiceDetails(ServiceOut):
    """A service with its documentation (Markdown) and the planned steps of its next deployment."""

    readme: str | None
    plan: list[PlannedStepOut]


class ChoiceProblem(ResponseModel):
    """An input whose choices could not be loaded, and the reason."""

    path: str
    detail: str


class SummaryOut(ResponseModel):
    """What a deployment will run, and where.

    `hosts` is null if only the run itself can determine them, as for scripts. `runs_as` is the deploy user (null: the
    server's own user). `ahead` counts the deployments of the service that are waiting or running.
    """

    kind: Literal["script", "playbook"]
    file: str
    hosts: list[str] | None
    runs_as: str | None
    ahead: int


class InputsOut(ResponseModel):
    """The inputs of a service: a JSON Schema with all choices filled in (null: none declared, any values are accepted).

    `last` holds the values of the user's last deployment of the service, without secrets. If `confirm` is true, the
    service's name must be typed to start a deployment.
    """

    model_config = ConfigDict(populate_by_name=True)

    json_schema: dict[str, Any] | None = Field(alias="schema", serialization_alias="schema")
    problems: list[ChoiceProblem]
    last: dict[str, Any] | None
    confirm: bool
    summary: SummaryOut


class FinishedOut(ResponseModel):
    """The result of a deployment; `seconds` is its duration (null if it never started)."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    state: DeploymentState
    started: datetime | None
    finished: datetime
    seconds: float | None


class StatisticsOut(ResponseModel):
    """The results of a service's latest deployments, oldest first.

    `success_rate` (0 to 1) ignores cancelled deployments; `median_seconds` covers successful ones. Both are null if
    there are none.
    """

    deployments: list[FinishedOut]
    success_rate: float | None
    median_seconds: float | None


class ProblemOut(ResponseModel):
    """A service folder that could not be read."""

    model_config = ConfigDict(from_attributes=True)

    folder: str
    file: str
    reason: str


class SyncOut(Detail):
    """The services that a sync added, changed and removed, and the folders it could not read."""

    added: list[str]
    changed: list[str]
    removed: list[str]
    problems: list[ProblemOut]


class DeployedServiceOut(ResponseModel):
    """What the last successful deployment of a service in an environment left running."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    deployment_id: int
    config: dict[str, Any]
    environment: str
