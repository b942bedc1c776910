"""Access control: two tables and one function, used by routes, the message bus, and the WebSocket.

Anything that is not in the tables is denied. An action is allowed if the tables accept the caller's token type and the
caller has the permission that the action needs on the service concerned. Some actions also require that the object
belongs to the caller.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from deploy.domain.errors import Forbidden, NotFound
from deploy.domain.model.grants import Permission
from deploy.domain.rights import ALL_RIGHTS, NO_RIGHTS, Granted, Rights, Visible, rights_of


class TokenType(str, Enum):
    """The types of tokens."""

    USER = "user"
    SERVICE = "service"
    DEPLOYMENT = "deployment"
    CONFIG = "config"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """The actor of an action: the caller of a request, identified by a token, or (`kind` None) this installation
    itself.

    `expires` is in seconds since the epoch. `session` is the ID of a browser session. By default, an actor has no rights
    on any service.
    """

    kind: TokenType | None
    expires: float
    name: str = ""
    origin: str = ""
    user_id: int | None = None
    is_admin: bool = False
    service_id: int | None = None
    deployment_id: int | None = None
    session: str | None = None
    rights: Rights = NO_RIGHTS

    @property
    def visible(self) -> Visible:
        """Return the services that the actor can view."""
        return self.rights.visible

    @property
    def is_system(self) -> bool:
        """Return True for workers and for commands on the server's machine, which can access the database anyway."""
        return self.kind is None


def internal_actor(name: str) -> Actor:
    """Return the actor for a part of this installation, such as a worker."""
    return Actor(kind=None, expires=float("inf"), name=name, rights=ALL_RIGHTS)


WORKER = internal_actor("worker")
SERVER = internal_actor("server")
COMMAND_LINE = internal_actor("command line")


def rights_of_token(actor: Actor) -> Rights:
    """Return the rights of a caller whose token does not belong to a user. A user's rights depend on grants."""
    if actor.kind is TokenType.CONFIG:
        return Rights(Permission.VIEW)
    if actor.kind is TokenType.SERVICE and actor.service_id is not None:
        return rights_of([Granted(Permission.DEPLOY, actor.service_id)])
    return NO_RIGHTS


class Action(str, Enum):
    """The actions that callers can perform."""

    READ_OWN_USER = "read own user"
    CHANGE_OWN_PASSWORD = "change own password"  # noqa: S105 - not a password
    MANAGE_USERS = "manage users"
    MANAGE_ACCESS = "manage access"
    MAKE_SERVICE_TOKEN = "make service token"  # noqa: S105
    MAKE_CONFIG_TOKEN = "make config token"  # noqa: S105
    READ_TOKENS = "read tokens"
    REVOKE_TOKEN = "revoke token"  # noqa: S105
    READ_SERVICES = "read services"
    READ_INPUTS = "read inputs of service"
    SYNC_SERVICES = "sync services"
    DELETE_SERVICE = "delete service"
    START_AS_SERVICE = "start deployment as service"
    START_DEPLOYMENT = "start deployment"
    LIST_DEPLOYMENTS = "list deployments"
    READ_DEPLOYMENT = "read deployment"
    CANCEL_DEPLOYMENT = "cancel deployment"
    REPORT_STEP = "report step"
    FINISH_DEPLOYMENT = "finish deployment"
    READ_DEPLOYED_SERVICES = "read deployed services"
    READ_WORKERS = "read workers"
    READ_CHANGES = "read changes"
    READ_QUEUE = "read queue"
    READ_OWN_SESSIONS = "read own sessions"
    START_OWN_SESSION = "start own session"
    END_OWN_SESSIONS = "end own sessions"
    OPERATE = "operate"


_USER = frozenset({TokenType.USER})
_RUN = frozenset({TokenType.DEPLOYMENT})

# The token types that each action accepts.
KINDS: dict[Action, frozenset[TokenType]] = {
    Action.READ_OWN_USER: _USER,
    Action.CHANGE_OWN_PASSWORD: _USER,
    Action.MANAGE_USERS: _USER,
    Action.MANAGE_ACCESS: _USER,
    Action.MAKE_SERVICE_TOKEN: _USER,
    Action.MAKE_CONFIG_TOKEN: _USER,
    Action.READ_TOKENS: _USER,
    Action.REVOKE_TOKEN: _USER,
    Action.READ_SERVICES: _USER,
    Action.READ_INPUTS: frozenset({TokenType.USER, TokenType.SERVICE}),
    Action.SYNC_SERVICES: _USER,
    Action.DELETE_SERVICE: _USER,
    Action.START_AS_SERVICE: frozenset({TokenType.SERVICE}),
    Action.START_DEPLOYMENT: _USER,
    Action.LIST_DEPLOYMENTS: _USER,
    Action.READ_DEPLOYMENT: frozenset({TokenType.USER, TokenType.SERVICE}),
    Action.CANCEL_DEPLOYMENT: _USER,
    Action.REPORT_STEP: _RUN,
    Action.FINISH_DEPLOYMENT: _RUN,
    Action.READ_DEPLOYED_SERVICES: frozenset({TokenType.CONFIG}),
    Action.READ_WORKERS: _USER,
    # Not for service tokens, because it shows the service's config.
    Action.READ_CHANGES: _USER,
    Action.READ_QUEUE: _USER,
    Action.READ_OWN_SESSIONS: _USER,
    Action.START_OWN_SESSION: _USER,
    Action.END_OWN_SESSIONS: _USER,
    # Only for the system: claim deployments and store their output.
    Action.OPERATE: frozenset(),
}
# The permission that each action needs on the service concerned. All others need the permission to view it.
NEEDED: dict[Action, Permission] = {
    Action.START_AS_SERVICE: Permission.DEPLOY,
    Action.START_DEPLOYMENT: Permission.DEPLOY,
    Action.CANCEL_DEPLOYMENT: Permission.DEPLOY,
    Action.MAKE_SERVICE_TOKEN: Permission.MANAGE,
    Action.DELETE_SERVICE: Permission.MANAGE,
    Action.SYNC_SERVICES: Permission.SYNC,
}
FOR_ADMINISTRATORS = frozenset({Action.MANAGE_USERS, Action.MANAGE_ACCESS, Action.MAKE_CONFIG_TOKEN})
# Only for the user's own account.
PERSONAL = frozenset({Action.CHANGE_OWN_PASSWORD, Action.START_OWN_SESSION, Action.END_OWN_SESSIONS})
_WRONG_SERVICE_TOKEN = "Wrong service token"  # noqa: S105 - a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The object of an action: `name` for messages, and the service or user that the object belongs to, if any.

    `environment` is the one that a deployment belongs to, or would. None means the service as a whole.
    """

    name: str = ""
    service_id: int | None = None
    environment: str | None = None
    deployment_id: int | None = None
    user_id: int | None = None


SITE = Target()


def may(actor: Actor, action: Action, target: Target) -> bool:
    """Return True if the actor is allowed to perform the action on the target."""
    return refusal(actor, action, target) is None


def check(actor: Actor, action: Action, target: Target) -> None:
    """Check that the actor is allowed to perform the action on the target.

    Raises:
        NotFound: The actor is not allowed to know that the target exists.
        Forbidden: The actor is not allowed to do this.
    """
    error = refusal(actor, action, target)
    if error is not None:
        raise error


def check_role(actor: Actor, action: Action) -> None:
    """Check only the token type and the role: is there any target on which the actor can perform the action?

    Raises:
        Forbidden: The actor is not allowed to perform the action on any target.
    """
    error = _refusal_of_role(actor, action)
    if error is not None:
        raise error


def refusal(actor: Actor, action: Action, target: Target) -> Forbidden | NotFound | None:
    """Return the reason the actor is not allowed to perform the action on the target, or None if it is allowed."""
    if actor.is_system:
        return None
    return (
        _refusal_of_role(actor, action)
        or _refusal_of_service(actor, action, target)
        or _refusal_of_owner(actor, action, target)
    )


def _refusal_of_role(actor: Actor, action: Action) -> Forbidden | None:
    if actor.is_system:
        return None
    if actor.kind not in KINDS.get(action, frozenset()):
        return Forbidden(_WRONG_SERVICE_TOKEN if actor.kind is TokenType.SERVICE else "Not allowed")
    if action in FOR_ADMINISTRATORS and not actor.is_admin:
        return Forbidden("Only administrators can do this.")
    if NEEDED.get(action) is Permission.SYNC and not actor.rights.can_sync:
        return _missing(Permission.SYNC)
    return None


def _missing(permission: Permission, what: str = "") -> Forbidden:
    return Forbidden(
        f"You need the permission to {permission.value} {what or 'services'}. Ask an administrator for it."
    )


def _refusal_of_service(actor: Actor, action: Action, target: Target) -> Forbidden | NotFound | None:
    if actor.kind is TokenType.DEPLOYMENT:
        return None if actor.deployment_id == target.deployment_id else Forbidden("Not allowed")
    if target.service_id is None:
        return None
    # Part of the API contract: a service token of another service gets this message instead of 404.
    if actor.kind is TokenType.SERVICE and actor.service_id != target.service_id:
        return Forbidden(_WRONG_SERVICE_TOKEN)
    # A deployment belongs to its environment. A service is visible to everyone who can view one of its environments.
    shown_in = None if target.deployment_id is None else target.environment
    if not actor.rights.allow(Permission.VIEW, target.service_id, shown_in):
        return NotFound(f"{target.name} not found")
    needed = NEEDED.get(action, Permission.VIEW)
    if needed is Permission.VIEW or actor.rights.allow(needed, target.service_id, target.environment):
        return None
    return _missing(needed, "this service")


def _refusal_of_owner(actor: Actor, action: Action, target: Target) -> Forbidden | None:
    if action in PERSONAL and actor.user_id != target.user_id:
        return Forbidden("Not allowed")
    if action is Action.REVOKE_TOKEN and not _can_revoke(actor, target):
        return Forbidden("Only its creator, someone who manages its service, or an administrator can revoke a token.")
    return None


def _can_revoke(actor: Actor, target: Target) -> bool:
    manages = target.service_id is not None and actor.rights.allow(Permission.MANAGE, target.service_id)
    return actor.is_admin or manages or actor.user_id == target.user_id
