"""Commands. Each has one handler in service_layer/handlers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from deploy.domain.inputs import CheckedValues
from deploy.domain.model import StepReport, TokenKind
from deploy.domain.reports import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFolder:
    """A valid service folder: its config (`data`) and README."""

    name: str
    data: dict[str, Any]
    readme: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateUser:
    """Add a user; `password_hash` is an Argon2 hash. With `only_first`, fail if any user exists."""

    name: str
    password_hash: str
    is_admin: bool = False
    has_generated_password: bool = False
    only_first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeUser:
    """Change a user's fields that are not None. This ends the user's sessions."""

    user_id: int
    password_hash: str | None = None
    is_admin: bool | None = None
    is_active: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession:
    """Store a browser session. `session_id` is the hash of its cookie."""

    session_id: str
    user_id: int
    expires: datetime
    user_agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseSession:
    """Delete a browser session."""

    session_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndSessions:
    """Sign out browsers of a user: `session_id`, or all except `keep`."""

    user_id: int
    session_id: str | None = None
    keep: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterToken:
    """Record a service or config token before it is issued."""

    token_id: str
    kind: TokenKind
    origin: str
    expires: datetime
    user_id: int | None
    service_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeToken:
    """Revoke a token. With `user_id`, only if the token belongs to that user; None is for administrators."""

    token_id: str
    user_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncServices:
    """Sync the services in the database with the valid folders. Services of folders in `broken` stay unchanged."""

    folders: tuple[ServiceFolder, ...]
    broken: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteService:
    """Delete a service from the list; its deployments are kept."""

    service_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDeployment:
    """Queue a deployment of a service.

    `by_person` is True if a person started it, who can `confirm` with the service's name. For a retry, `again` holds
    the secrets given now, and `needed_again` the names of those the first deployment had. `values` holds the checked
    values.
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
    values: CheckedValues | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelDeployment:
    """Cancel a deployment, or remove it from the queue."""

    deployment_id: int
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOutput:
    """Store the output of a run from `offset_before` to `offset` (bytes in its spool)."""

    deployment_id: int
    entries: tuple[Entry, ...]
    offset_before: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportStep:
    """Apply a step report that a script sent over HTTP."""

    deployment_id: int
    report: StepReport


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishDeployment:
    """Finish a deployment whose script reported over HTTP that it is done."""

    deployment_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimDeployments:
    """Claim the next deployments that may run for a worker, at most `limit`."""

    worker_id: str
    limit: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepFiles:
    """Store the digests of a service's files at the start of a deployment, by path; None if there are too many."""

    deployment_id: int
    files: dict[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailLostRun:
    """Fail a run that can no longer be followed: its supervisor, run directory or host is gone."""

    deployment_id: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequeueDeployment:
    """Queue a waiting deployment again whose job is missing (a restored backup, or manual changes to the queue)."""

    deployment_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireDeployments:
    """Delete old deployments. The config of a service overrides these limits; 0 means no limit."""

    days: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """Record that a worker is alive."""

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
    | IngestOutput
    | ReportStep
    | FinishDeployment
    | ClaimDeployments
    | KeepFiles
    | FailLostRun
    | RequeueDeployment
    | ExpireDeployments
    | Heartbeat
)
