"""Commands. Each has one handler in service_layer/handlers.

Each command class has a rule: the action that it performs, and on what. The message bus loads the object, checks that the
actor may perform the action on it, and writes an audit entry in the same transaction if the rule says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, ClassVar, TypeAlias

from deploy.domain.inputs import CheckedValues
from deploy.domain.model import StepReport
from deploy.domain.policy import Action
from deploy.domain.reports import Entry


class ObjectType(str, Enum):
    """What commands are performed on. Each names the field of the command that identifies the object."""

    SITE = ""
    SERVICE = "service_id"
    SERVICE_NAME = "service_name"
    DEPLOYMENT = "deployment_id"
    USER = "user_id"
    TOKEN = "token_id"  # noqa: S105 - a field


@dataclass(frozen=True, slots=True)
class Rule:
    """What it takes to have a command executed.

    `audited` lists the fields that the audit entry includes; they must not be secret. Commands that are not audited say
    why in `unaudited`.
    """

    action: Action
    on: ObjectType
    audited: tuple[str, ...] = ()
    unaudited: str = ""


_RUN = "It belongs to the stream of a run, which the deployment records."
_UPKEEP = "No one asked for it: it follows from settings, or from the state of the deployment, which records it."


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFolder:
    """A valid service folder: its config (`data`) and README."""

    name: str
    data: dict[str, Any]
    readme: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateUser:
    """Add a user; `password_hash` is an Argon2 hash. With `only_first`, fail if any user exists."""

    rule: ClassVar[Rule] = Rule(Action.MANAGE_USERS, ObjectType.SITE, audited=("name", "is_admin"))

    name: str
    password_hash: str
    is_admin: bool = False
    has_generated_password: bool = False
    only_first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeUser:
    """Change a user's fields that are not None. This ends the user's sessions."""

    rule: ClassVar[Rule] = Rule(Action.MANAGE_USERS, ObjectType.USER, audited=("is_admin", "is_active"))

    user_id: int
    password_hash: str | None = None
    is_admin: bool | None = None
    is_active: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeOwnPassword:
    """Change the password of one's own account. This ends the user's sessions."""

    rule: ClassVar[Rule] = Rule(Action.CHANGE_OWN_PASSWORD, ObjectType.USER, audited=("user_id",))

    user_id: int
    password_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenSession:
    """Store a browser session. `session_id` is the hash of its cookie."""

    rule: ClassVar[Rule] = Rule(Action.START_OWN_SESSION, ObjectType.USER, audited=("expires",))

    session_id: str
    user_id: int
    expires: datetime
    user_agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndSessions:
    """Sign out browsers of a user: `session_id`, or all except `keep`."""

    rule: ClassVar[Rule] = Rule(Action.END_OWN_SESSIONS, ObjectType.USER, audited=("session_id",))

    user_id: int
    session_id: str | None = None
    keep: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterServiceToken:
    """Record a service token before it is issued."""

    rule: ClassVar[Rule] = Rule(
        Action.MAKE_SERVICE_TOKEN, ObjectType.SERVICE_NAME, audited=("token_id", "origin", "expires")
    )

    token_id: str
    service_name: str
    origin: str
    expires: datetime
    user_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterConfigToken:
    """Record a config token before it is issued."""

    rule: ClassVar[Rule] = Rule(Action.MAKE_CONFIG_TOKEN, ObjectType.SITE, audited=("token_id", "origin", "expires"))

    token_id: str
    origin: str
    expires: datetime
    user_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeToken:
    """Revoke a token."""

    rule: ClassVar[Rule] = Rule(Action.REVOKE_TOKEN, ObjectType.TOKEN, audited=("token_id",))

    token_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncServices:
    """Sync the services in the database with the valid folders. Services of folders in `broken` stay unchanged."""

    rule: ClassVar[Rule] = Rule(Action.SYNC_SERVICES, ObjectType.SITE, audited=("broken",))

    folders: tuple[ServiceFolder, ...]
    broken: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteService:
    """Delete a service from the list; its deployments are kept."""

    rule: ClassVar[Rule] = Rule(Action.DELETE_SERVICE, ObjectType.SERVICE, audited=("service_id",))

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

    @property
    def rule(self) -> Rule:
        """Service tokens start deployments, too, but by an action of their own: they cannot confirm or retry."""
        action = Action.START_DEPLOYMENT if self.by_person else Action.START_AS_SERVICE
        return Rule(action, ObjectType.SERVICE, audited=("origin", "retry_of"))


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelDeployment:
    """Cancel a deployment, or remove it from the queue."""

    rule: ClassVar[Rule] = Rule(Action.CANCEL_DEPLOYMENT, ObjectType.DEPLOYMENT, audited=("deployment_id",))

    deployment_id: int
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOutput:
    """Store the output of a run from `offset_before` to `offset` (bytes in its spool)."""

    rule: ClassVar[Rule] = Rule(Action.OPERATE, ObjectType.DEPLOYMENT, unaudited=_RUN)

    deployment_id: int
    entries: tuple[Entry, ...]
    offset_before: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportStep:
    """Apply a step report that a script sent over HTTP."""

    rule: ClassVar[Rule] = Rule(Action.REPORT_STEP, ObjectType.DEPLOYMENT, unaudited=_RUN)

    deployment_id: int
    report: StepReport


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishDeployment:
    """Finish a deployment whose script reported over HTTP that it is done."""

    rule: ClassVar[Rule] = Rule(Action.FINISH_DEPLOYMENT, ObjectType.DEPLOYMENT, unaudited=_RUN)

    deployment_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimDeployments:
    """Claim the next deployments that may run for a worker, at most `limit`."""

    rule: ClassVar[Rule] = Rule(Action.OPERATE, ObjectType.SITE, unaudited=_RUN)

    worker_id: str
    limit: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepFiles:
    """Store the digests of a service's files at the start of a deployment, by path; None if there are too many."""

    rule: ClassVar[Rule] = Rule(Action.OPERATE, ObjectType.DEPLOYMENT, unaudited=_RUN)

    deployment_id: int
    files: dict[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailLostRun:
    """Fail a run that can no longer be followed: its supervisor, run directory or host is gone."""

    rule: ClassVar[Rule] = Rule(Action.OPERATE, ObjectType.DEPLOYMENT, unaudited=_UPKEEP)

    deployment_id: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequeueDeployment:
    """Queue a waiting deployment again whose job is missing (a restored backup, or manual changes to the queue)."""

    rule: ClassVar[Rule] = Rule(Action.OPERATE, ObjectType.DEPLOYMENT, unaudited=_UPKEEP)

    deployment_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireDeployments:
    """Delete old deployments. The config of a service overrides these limits; 0 means no limit."""

    rule: ClassVar[Rule] = Rule(Action.OPERATE, ObjectType.SITE, unaudited=_UPKEEP)

    days: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """Record that a worker is alive."""

    rule: ClassVar[Rule] = Rule(Action.OPERATE, ObjectType.SITE, unaudited=_UPKEEP)

    worker_id: str
    host: str
    version: str
    slots: int


Command: TypeAlias = (
    CreateUser
    | ChangeUser
    | ChangeOwnPassword
    | OpenSession
    | EndSessions
    | RegisterServiceToken
    | RegisterConfigToken
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
