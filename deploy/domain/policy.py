"""Access control: one table and one function for HTTP and WebSocket. Anything not in the table is denied."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from deploy.domain.errors import Forbidden


class TokenType(str, Enum):
    """The types of tokens."""

    USER = "user"
    SERVICE = "service"
    DEPLOYMENT = "deployment"
    CONFIG = "config"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """The caller of a request, as proven by a token. `expires` is in seconds since the epoch; `session` is the id of a
    browser session.
    """

    kind: TokenType
    expires: float
    name: str = ""
    origin: str = ""
    user_id: int | None = None
    is_admin: bool = False
    service_id: int | None = None
    deployment_id: int | None = None
    session: str | None = None


class Action(str, Enum):
    """The actions that callers can perform."""

    READ_OWN_USER = "read own user"
    CHANGE_OWN_PASSWORD = "change own password"  # noqa: S105 - not a password
    MANAGE_USERS = "manage users"
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
    END_OWN_SESSIONS = "end own sessions"


_USER = frozenset({TokenType.USER})
_RUN = frozenset({TokenType.DEPLOYMENT})

# The token types that each action accepts.
KINDS: dict[Action, frozenset[TokenType]] = {
    Action.READ_OWN_USER: _USER,
    Action.CHANGE_OWN_PASSWORD: _USER,
    Action.MANAGE_USERS: _USER,
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
    # Not for service tokens: it shows the service's config.
    Action.READ_CHANGES: _USER,
    Action.READ_QUEUE: _USER,
    Action.READ_OWN_SESSIONS: _USER,
    Action.END_OWN_SESSIONS: _USER,
}
FOR_ADMINISTRATORS = frozenset({Action.MANAGE_USERS, Action.MAKE_CONFIG_TOKEN})


def may(actor: Actor, action: Action, *, service_id: int | None = None) -> bool:
    """Return True if the actor may perform the action (on the service, if one is given)."""
    if actor.kind not in KINDS.get(action, frozenset()):
        return False
    if action in FOR_ADMINISTRATORS and not actor.is_admin:
        return False
    return not (actor.kind is TokenType.SERVICE and service_id is not None and actor.service_id != service_id)


def check(actor: Actor, action: Action, *, service_id: int | None = None) -> None:
    """Check that the actor may perform the action.

    Raises:
        Forbidden: they may not.
    """
    if may(actor, action, service_id=service_id):
        return
    if actor.kind is TokenType.SERVICE:
        raise Forbidden("Wrong service token")
    raise Forbidden("Only administrators can do this." if action in FOR_ADMINISTRATORS else "Not allowed")
