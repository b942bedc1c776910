"""Domain events. They are only notifications: the rows in the database are authoritative."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from deploy.domain.service_config import ServiceConfig

if TYPE_CHECKING:
    from deploy.domain.model import Deployment, Step, StepResult
    from deploy.domain.run_secrets import RunSecrets


@dataclass(frozen=True, slots=True)
class UserCreated:
    """A user was created."""

    user_id: int


@dataclass(frozen=True, slots=True)
class DeploymentQueued:
    """A deployment was queued. `is_new` is False if an earlier request with the same idempotency key queued it."""

    deployment: Deployment
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class DeploymentClaimed:
    """A worker claimed a deployment to run it with the current config of its service."""

    deployment: Deployment
    config: ServiceConfig


@dataclass(frozen=True, slots=True)
class RunPrepared:
    """A run can start with these secrets."""

    deployment_id: int
    secrets: RunSecrets


@dataclass(frozen=True, slots=True)
class DeploymentExpired:
    """An old deployment and its output were deleted."""

    deployment_id: int


@dataclass(frozen=True, slots=True)
class DeploymentChanged:
    """A deployment was queued, started, or finished, or someone requested its cancellation."""

    deployment_id: int


@dataclass(frozen=True, slots=True)
class StepChanged:
    """A step was added, changed, or removed. `step` is a copy made when the event was created."""

    step: Step
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class HostResultAdded:
    """A step reported its result on one host."""

    result: StepResult


class LinePrinted(NamedTuple):
    """A line of output (without its newline) and the step it belongs to. A named tuple for speed, like `Line`."""

    text: str
    at: datetime
    number: int
    step_id: int | None


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Someone requested the cancellation of a running deployment. Its worker must stop the run."""

    deployment_id: int


@dataclass(frozen=True, slots=True)
class ServiceChanged:
    """A service was added, changed, or removed. `change` is `added`, `changed`, or `removed`."""

    service_id: int
    name: str
    change: str


@dataclass(frozen=True, slots=True)
class GroupCreated:
    """A group was created."""

    group_id: int


@dataclass(frozen=True, slots=True)
class GrantChanged:
    """A grant was added or removed. `change` is `added` or `removed`, and `grant` contains its fields."""

    change: str
    grant: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AccessChanged:
    """A user's access changed, so cached access must be invalidated.

    Either the user's password, role, or state changed, or one of their sessions ended. `user_id` None means any user;
    this happens when a token is revoked, and when services, groups, or grants change.
    """

    user_id: int | None


Event: TypeAlias = (
    UserCreated
    | DeploymentQueued
    | DeploymentClaimed
    | RunPrepared
    | DeploymentExpired
    | DeploymentChanged
    | StepChanged
    | HostResultAdded
    | LinePrinted
    | CancelRequested
    | ServiceChanged
    | GroupCreated
    | GrantChanged
    | AccessChanged
)
