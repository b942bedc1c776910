"""Commands. Each has one handler in service_layer/handlers.

Each command class has a rule: the action it performs and the type of object it performs it on. The message bus loads
the object and checks that the actor is allowed to perform the action on it. If the rule requires it, the bus also
writes an audit entry in the same transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, ClassVar, TypeAlias

from deploy.domain.inputs import CheckedValues
from deploy.domain.model import Held, StepReport
from deploy.domain.policy import Action
from deploy.domain.reports import Entry


class ObjectType(str, Enum):
    """The types of objects that commands act on. Each value names the command field that identifies the object."""

    SITE = ""
    SERVICE = "service_id"
    SERVICE_NAME = "service_name"
    DEPLOYMENT = "deployment_id"
    USER = "user_id"
    TOKEN = "token_id"  # noqa: S105 - a field


@dataclass(frozen=True, slots=True)
class Rule:
    """What an actor needs in order to execute a command.

    `audited` lists the fields to include in the audit entry; they must not be secret. Commands that are not audited
    give the reason in `unaudited`.
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
    """Add a user. `password_hash` is an Argon2 hash. If `only_first` is true, fail if any user exists."""

    rule: ClassVar[Rule] = Rule(Action.MANAGE_USERS, ObjectType.SITE, audited=("name", "is_admin"))

    name: str
    password_hash: str
    is_admin: bool = False
    has_generated_password: bool = False
    only_first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeUser:
    """Change the fields of a user that are not None. This ends the user's sessions."""

    rule: ClassVar[Rule] = Rule(Action.MANAGE_USERS, ObjectType.USER, audited=("is_admin", "is_active"))

    user_id: int
    password_hash: str | None = None
    is_admin: bool | None = None
    is_active: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeOwnPassword:
    """Change the password of the user's own account. This ends the user's sessions."""

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
    """Sign out browsers of a user: the session `session_id`, or all sessions except `keep`."""

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
    """Sync the services in the database with the valid folders. Do not change services whose folder is in `broken`."""

    rule: ClassVar[Rule] = Rule(Action.SYNC_SERVICES, ObjectType.SITE, audited=("broken",))

    folders: tuple[ServiceFolder, ...]
    broken: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteService:
    """Delete a service from the list. Keep its deployments."""

    rule: ClassVar[Rule] = Rule(Action.DELETE_SERVICE, ObjectType.SERVICE, audited=("service_id",))

    service_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDeployment:
    """Queue a deployment of a service.

    `by_person` is True if a person starts it, who can `confirm` it with the service's name. `values` holds the checked
    values. For a retry, `again` holds the secrets that were given again, and `needed_again` the names of the secrets
    that the first deployment had. If `held` is given, the deployment does not enter the queue until it is released.
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
    environment: str = ""
    held: Held | None = None

    @property
    def rule(self) -> Rule:
        """Return the rule.

        Service tokens have their own action for starting deployments: they cannot confirm or retry.
        """
        action = Action.START_DEPLOYMENT if self.by_person else Action.START_AS_SERVICE
        return Rule(action, ObjectType.SERVICE, audited=("origin", "environment", "retry_of"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseDeployment:
    """End the hold of a deployment and queue it."""

    rule: ClassVar[Rule] = Rule(Action.OPERATE, ObjectType.DEPLOYMENT, audited=("deployment_id",))

    deployment_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelDeployment:
    """Cancel a deployment, or remove it from the queue."""

    rule: ClassVar[Rule] = Rule(Action.CANCEL_DEPLOYMENT, ObjectType.DEPLOYMENT, audited=("deployment_id",))

    deployment_id: int
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestOutput:
    """Store the output of a run from `offset_before` to `offset`, which are byte offsets in its spool."""

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
    """Claim up to `limit` deployments that can run next, for a worker."""

    rule: ClassVar[Rule] = Rule(Action.OPERATE, ObjectType.SITE, unaudited=_RUN)

    worker_id: str
    limit: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepFiles:
    """Store the digests of a service's files at the start of a deployment, by path.

    None if there are too many files.
    """

    rule: ClassVar[Rule] = Rule(Action.OPERATE, ObjectType.DEPLOYMENT, unaudited=_RUN)

    deployment_id: int
    files: dict[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailLostRun:
    """Fail a run that can no longer be followed because its supervisor, run directory, or host is gone."""

    rule: ClassVar[Rule] = Rule(Action.OPERATE, ObjectType.DEPLOYMENT, unaudited=_UPKEEP)

    deployment_id: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequeueDeployment:
    """Queue a waiting deployment again because its job is missing.

    This happens after restoring a backup or changing the queue manually.
    """

    rule: ClassVar[Rule] = Rule(Action.OPERATE, ObjectType.DEPLOYMENT, unaudited=_UPKEEP)

    deployment_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireDeployments:
    """Delete old deployments. The config of a service overrides these limits. 0 means no limit."""

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
    | ReleaseDeployment
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
