"""What has happened. Events are for telling; whoever must know reads the rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from deploy.domain.model import Deployment, Step


@dataclass(frozen=True, slots=True)
class UserCreated:
    """There is a new user."""

    user_id: int


@dataclass(frozen=True, slots=True)
class DeploymentQueued:
    """A deployment was asked for; `is_new` is False where the same request had come before."""

    deployment: Deployment
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class DeploymentClaimed:
    """A worker has taken up a deployment and is to run it, as the config of its service says at this moment."""

    deployment: Deployment
    config: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DeploymentExpired:
    """An old deployment was deleted, with its output."""

    deployment_id: int


@dataclass(frozen=True, slots=True)
class DeploymentChanged:
    """A deployment was queued, has started, has ended, or is to be cancelled."""

    deployment_id: int


@dataclass(frozen=True, slots=True)
class StepChanged:
    """A step is new, has changed or has been removed; `step` is a copy made at that moment."""

    step: Step
    deleted: bool = False


class LinePrinted(NamedTuple):
    """A line of output (without its newline), and the step it belongs to. A named tuple, as `Line` is."""

    text: str
    at: datetime
    number: int
    step_id: int | None


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Somebody wants a running deployment to stop; its worker has to act."""

    deployment_id: int


@dataclass(frozen=True, slots=True)
class ServiceChanged:
    """A service was added, changed or removed. `change` is `added`, `changed` or `removed`."""

    service_id: int
    name: str
    change: str


@dataclass(frozen=True, slots=True)
class AccessChanged:
    """A user's password, role or state has changed, or one of his sessions or (None: anybody's) tokens has ended:
    cached answers must go.
    """

    user_id: int | None


Event: TypeAlias = (
    UserCreated
    | DeploymentQueued
    | DeploymentClaimed
    | DeploymentExpired
    | DeploymentChanged
    | StepChanged
    | LinePrinted
    | CancelRequested
    | ServiceChanged
    | AccessChanged
)
