"""What can be asked. Each command has one handler in service_layer/handlers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from deploy.domain.inputs import Answers
from deploy.domain.model import StepReport, TokenKind
from deploy.domain.reports import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFolder:
    """A service folder that was read and found good. `tasks` are the steps its playbook promises."""

    name: str
    data: dict[str, Any]
    readme: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateUser:
    """Add a user; `password_hash` is argon2's. `only_first`: refuse if there is a user already."""

    name: str
    password_hash: str
    is_admin: bool = False
    has_generated_password: bool = False
    only_first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeUser:
    """Change what is not None. A new password or a lost right ends the user's sessions."""

    user_id: int
    password_hash: str | None = None
    is_admin: bool | None = None
    is_active: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession:
    """Remember a browser that signed in. `session_id` is the hash of its cookie."""

    session_id: str
    user_id: int
    expires: datetime
    user_agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseSession:
    """Forget a browser."""

    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndSessions:
    """Sign other browsers of a user out: the one named, or all but `keep`."""

    user_id: int
    session_id: str | None = None
    keep: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterToken:
    """Record a service or config token that is about to be handed out."""

    token_id: str
    kind: TokenKind
    origin: str
    expires: datetime
    user_id: int | None
    service_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeToken:
    """Make a token worthless. `user_id`: only if it is his own (None: an administrator asks)."""

    token_id: str
    user_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncServices:
    """Make the services in the database equal to the good folders. Folders in `broken` keep what they had."""

    folders: tuple[ServiceFolder, ...]
    broken: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteService:
    """Take a service off the list; its past deployments stay."""

    service_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDeployment:
    """Queue a deployment of a service.

    `by_person`: somebody who can be asked to `confirm` by the service's name. A retry brings its secrets `again`;
    those that it had are `needed_again`. `answers` is what the check has made of all this.
    """

    service_id: int
    origin: str
    user: str
    user_id: int | None
    context: dict[str, Any] = field(default_factory=dict, repr=False)
    idempotency_key: str | None = None
    retry_of: int | None = None
    by_person: bool = False
    confirm: str | None = None
    again: dict[str, Any] = field(default_factory=dict, repr=False)
    needed_again: tuple[str, ...] = ()
    answers: Answers | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelDeployment:
    """Stop a deployment, or take it out of the queue."""

    deployment_id: int
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeIn:
    """Store what a run has said since `offset_before` (bytes of its spool), up to `offset`."""

    deployment_id: int
    entries: tuple[Entry, ...]
    offset_before: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportStep:
    """A script reports a step by itself, over HTTP."""

    deployment_id: int
    report: StepReport


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishDeployment:
    """A script says by itself, over HTTP, that it is done."""

    deployment_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimDeployments:
    """A worker asks for the next deployments that may run, at most `limit` of them."""

    worker_id: str
    limit: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepFiles:
    """Remember what the files of a service were when a deployment of it started: digests by paths, None: too many."""

    deployment_id: int
    files: dict[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailLostRun:
    """A run cannot be followed any more: its supervisor, its folder or its host is gone."""

    deployment_id: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequeueDeployment:
    """A deployment waits, but its job is gone (a restored backup, a hand in the queue's tables)."""

    deployment_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireDeployments:
    """Forget old deployments. Of each service its own config rules, else these: 0 keeps all."""

    days: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """A worker lives."""

    worker_id: str
    host: str
    version: str
    slots: int


Command: TypeAlias = (
    CreateUser
    | ChangeUser
    | OpenSession
    | CloseSession
    | EndSessions
    | RegisterToken
    | RevokeToken
    | SyncServices
    | DeleteService
    | StartDeployment
    | CancelDeployment
    | TakeIn
    | ReportStep
    | FinishDeployment
    | ClaimDeployments
    | KeepFiles
    | FailLostRun
    | RequeueDeployment
    | ExpireDeployments
    | Heartbeat
)
