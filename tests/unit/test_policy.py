"""Test the access rules: the product's table, written out again from the contract, and the rule of each command."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args

import pytest

from deploy.domain.commands import Command, ObjectType
from deploy.domain.errors import Forbidden, NotFound
from deploy.domain.policy import (
    COMMAND_LINE,
    EVERYTHING,
    FOR_ADMINISTRATORS,
    KINDS,
    NOTHING,
    SITE,
    WORKER,
    Action,
    Actor,
    Target,
    TokenType,
    Visible,
    check,
    check_role,
    may,
    visible_to,
)

USER = Actor(kind=TokenType.USER, expires=0, name="ada", user_id=1, visible=EVERYTHING)
ADMINISTRATOR = Actor(kind=TokenType.USER, expires=0, name="root", user_id=2, is_admin=True, visible=EVERYTHING)
SERVICE = Actor(kind=TokenType.SERVICE, expires=0, service_id=3, visible=Visible(frozenset({3})))
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
    Action.START_OWN_SESSION: USERS,
    Action.END_OWN_SESSIONS: USERS,
    Action.OPERATE: (),
}


COMMANDS = get_args(Command)
OWN_SERVICE = Target(name="Service", service_id=3)
OTHER_SERVICE = Target(name="Service", service_id=4)


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("actor", EVERYBODY, ids=["user", "administrator", "service", "run", "config"])
def test_roles_match_the_table(actor: Actor, action: Action) -> None:
    if actor in ALLOWED[action]:
        check_role(actor, action)
    else:
        with pytest.raises(Forbidden):
            check_role(actor, action)
        assert not may(actor, action, SITE)


def test_every_action_lists_its_token_types() -> None:
    assert KINDS.keys() == ALLOWED.keys() == set(Action)
    assert KINDS.keys() >= FOR_ADMINISTRATORS


@pytest.mark.parametrize("action", [Action.READ_DEPLOYMENT, Action.READ_INPUTS, Action.START_AS_SERVICE])
def test_a_service_token_is_limited_to_its_service(action: Action) -> None:
    assert may(SERVICE, action, OWN_SERVICE)
    with pytest.raises(Forbidden, match="Wrong service token"):
        check(SERVICE, action, OTHER_SERVICE)


@pytest.mark.parametrize("actor", USERS)
def test_users_can_read_every_service(actor: Actor) -> None:
    assert visible_to(actor) == EVERYTHING
    assert may(actor, Action.READ_DEPLOYMENT, OTHER_SERVICE)


def test_an_invisible_service_does_not_exist_for_users() -> None:
    restricted = Actor(kind=TokenType.USER, expires=0, user_id=1, is_admin=True, visible=Visible(frozenset({4})))
    assert may(restricted, Action.READ_SERVICES, OTHER_SERVICE)
    with pytest.raises(NotFound, match="Service not found"):
        check(restricted, Action.READ_SERVICES, OWN_SERVICE)
    assert Actor(kind=TokenType.USER, expires=0).visible == NOTHING


def test_a_deployment_token_is_limited_to_its_deployment() -> None:
    assert visible_to(RUN) == NOTHING
    assert may(RUN, Action.REPORT_STEP, Target(service_id=3, deployment_id=5))
    assert not may(RUN, Action.REPORT_STEP, Target(service_id=3, deployment_id=6))
    assert not may(RUN, Action.REPORT_STEP, SITE)


@pytest.mark.parametrize("action", [Action.CHANGE_OWN_PASSWORD, Action.START_OWN_SESSION, Action.END_OWN_SESSIONS])
def test_personal_actions_are_limited_to_the_users_own_account(action: Action) -> None:
    assert may(USER, action, Target(user_id=1))
    assert not may(USER, action, Target(user_id=2))
    assert not may(ADMINISTRATOR, action, Target(user_id=1))


def test_tokens_are_revoked_by_their_creators_and_by_administrators() -> None:
    assert may(USER, Action.REVOKE_TOKEN, Target(user_id=1))
    assert may(ADMINISTRATOR, Action.REVOKE_TOKEN, Target(user_id=1))
    with pytest.raises(Forbidden, match="Only the creator"):
        check(USER, Action.REVOKE_TOKEN, Target(user_id=2))
    assert not may(USER, Action.REVOKE_TOKEN, Target(user_id=None))


@pytest.mark.parametrize("actor", [WORKER, COMMAND_LINE])
@pytest.mark.parametrize("action", Action)
def test_the_system_can_do_everything(actor: Actor, action: Action) -> None:
    assert may(actor, action, OTHER_SERVICE)


def test_the_administrator_flag_only_applies_to_users() -> None:
    forged = Actor(kind=TokenType.SERVICE, expires=0, is_admin=True, service_id=3)
    assert not may(forged, Action.MANAGE_USERS, SITE)


@pytest.mark.parametrize(
    ("actor", "action", "text"),
    [
        (SERVICE, Action.READ_DEPLOYMENT, "Wrong service token"),
        (USER, Action.MANAGE_USERS, "Only administrators can do this."),
        (CONFIG, Action.READ_DEPLOYMENT, "Not allowed"),
    ],
)
def test_a_refusal_gives_the_reason(actor: Actor, action: Action, text: str) -> None:
    with pytest.raises(Forbidden, match=text):
        check(actor, action, OTHER_SERVICE)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_every_command_is_audited_or_says_why_not(command: type) -> None:
    rule = rule_of(command)
    names = {field.name for field in fields(command) if field.repr}
    assert bool(rule.audited) != bool(rule.unaudited)
    assert set(rule.audited) <= names - {"password_hash"}
    assert rule.on is ObjectType.SITE or rule.on.value in names


def rule_of(command: type) -> Any:
    """Return the rule of a command class. The rule of StartDeployment depends on the caller."""
    rule = vars(command)["rule"]
    return (
        rule.__get__(command(service_id=1, origin="", user="", user_id=None)) if isinstance(rule, property) else rule
    )
