"""The policy: who may do what, written again from the contract."""

from __future__ import annotations

import pytest

from deploy.domain.errors import Forbidden
from deploy.domain.policy import FOR_ADMINISTRATORS, KINDS, Action, Actor, TokenType, check, may

USER = Actor(kind=TokenType.USER, expires=0, name="ada", user_id=1)
ADMINISTRATOR = Actor(kind=TokenType.USER, expires=0, name="root", user_id=2, is_admin=True)
SERVICE = Actor(kind=TokenType.SERVICE, expires=0, service_id=3)
RUN = Actor(kind=TokenType.DEPLOYMENT, expires=0, deployment_id=5)
CONFIG = Actor(kind=TokenType.CONFIG, expires=0)
EVERYBODY = (USER, ADMINISTRATOR, SERVICE, RUN, CONFIG)
USERS = (USER, ADMINISTRATOR)

ALLOWED: dict[Action, tuple[Actor, ...]] = {
    Action.READ_OWN_USER: USERS,
    Action.CHANGE_OWN_PASSWORD: USERS,
    Action.MANAGE_USERS: (ADMINISTRATOR,),
    Action.MAKE_SERVICE_TOKEN: USERS,
    Action.MAKE_CONFIG_TOKEN: (ADMINISTRATOR,),
    Action.READ_TOKENS: USERS,
    Action.REVOKE_TOKEN: USERS,
    Action.READ_SERVICES: USERS,
    Action.READ_INPUTS: (USER, ADMINISTRATOR, SERVICE),
    Action.SYNC_SERVICES: USERS,
    Action.DELETE_SERVICE: USERS,
    Action.START_AS_SERVICE: (SERVICE,),
    Action.START_DEPLOYMENT: USERS,
    Action.LIST_DEPLOYMENTS: USERS,
    Action.READ_DEPLOYMENT: (USER, ADMINISTRATOR, SERVICE),
    Action.CANCEL_DEPLOYMENT: USERS,
    Action.REPORT_STEP: (RUN,),
    Action.FINISH_DEPLOYMENT: (RUN,),
    Action.READ_DEPLOYED_SERVICES: (CONFIG,),
    Action.READ_WORKERS: USERS,
    Action.READ_CHANGES: USERS,
    Action.READ_QUEUE: USERS,
    Action.READ_OWN_SESSIONS: USERS,
    Action.END_OWN_SESSIONS: USERS,
}


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("actor", EVERYBODY, ids=["user", "administrator", "service", "run", "config"])
def test_the_table(actor: Actor, action: Action) -> None:
    allowed = actor in ALLOWED[action]
    assert may(actor, action) is allowed
    if allowed:
        check(actor, action)
    else:
        with pytest.raises(Forbidden):
            check(actor, action)


def test_every_action_lists_its_token_types() -> None:
    assert KINDS.keys() == ALLOWED.keys() == set(Action)
    assert KINDS.keys() >= FOR_ADMINISTRATORS


@pytest.mark.parametrize("action", Action)
def test_a_service_token_is_valid_only_for_its_own_service(action: Action) -> None:
    assert may(SERVICE, action, service_id=3) is may(SERVICE, action)
    assert not may(SERVICE, action, service_id=4)


@pytest.mark.parametrize("actor", USERS)
def test_users_may_read_every_service(actor: Actor) -> None:
    assert may(actor, Action.READ_DEPLOYMENT, service_id=99)


def test_administrator_rights_apply_to_users_only() -> None:
    forged = Actor(kind=TokenType.SERVICE, expires=0, is_admin=True, service_id=3)
    assert not may(forged, Action.MANAGE_USERS)


@pytest.mark.parametrize(
    ("actor", "action", "text"),
    [
        (SERVICE, Action.READ_DEPLOYMENT, "Wrong service token"),
        (USER, Action.MANAGE_USERS, "Only administrators can do this."),
        (CONFIG, Action.READ_DEPLOYMENT, "Not allowed"),
    ],
)
def test_the_error_says_why(actor: Actor, action: Action, text: str) -> None:
    with pytest.raises(Forbidden, match=text):
        check(actor, action, service_id=4)
