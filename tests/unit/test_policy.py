"""Test the access rules: the product's table, written out again from the contract, and the rule of each command."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, get_args

import pytest

from deploy.domain.commands import Command, ObjectType
from deploy.domain.errors import Forbidden, NotFound
from deploy.domain.model import Permission
from deploy.domain.policy import (
    COMMAND_LINE,
    FOR_ADMINISTRATORS,
    KINDS,
    SITE,
    WORKER,
    Action,
    Actor,
    Target,
    TokenType,
    check,
    check_role,
    may,
    rights_of_token,
)
from deploy.domain.rights import ALL_RIGHTS, EVERYTHING, NO_RIGHTS, NOTHING, Rights
from tests.rights import of_service

USER = Actor(kind=TokenType.USER, expires=0, name="ada", user_id=1, rights=ALL_RIGHTS)
ADMINISTRATOR = Actor(kind=TokenType.USER, expires=0, name="root", user_id=2, is_admin=True, rights=ALL_RIGHTS)
SERVICE = Actor(kind=TokenType.SERVICE, expires=0, service_id=3, rights=of_service(3))
RUN = Actor(kind=TokenType.DEPLOYMENT, expires=0, deployment_id=5)
CONFIG = Actor(kind=TokenType.CONFIG, expires=0)
EVERYBODY = (USER, ADMINISTRATOR, SERVICE, RUN, CONFIG)
USERS = (USER, ADMINISTRATOR)

ALLOWED: dict[Action, tuple[Actor, ...]] = {
    Action.READ_OWN_USER: USERS,
    Action.CHANGE_OWN_PASSWORD: USERS,
    Action.MANAGE_USERS: (ADMINISTRATOR,),
    Action.MANAGE_ACCESS: (ADMINISTRATOR,),
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
    assert actor.visible == EVERYTHING
    assert may(actor, Action.READ_DEPLOYMENT, OTHER_SERVICE)


def test_an_invisible_service_does_not_exist_for_users() -> None:
    restricted = Actor(kind=TokenType.USER, expires=0, user_id=1, is_admin=True, rights=of_service(4))
    assert may(restricted, Action.READ_SERVICES, OTHER_SERVICE)
    with pytest.raises(NotFound, match="Service not found"):
        check(restricted, Action.READ_SERVICES, OWN_SERVICE)
    assert Actor(kind=TokenType.USER, expires=0).visible == NOTHING


def test_a_deployment_token_is_limited_to_its_deployment() -> None:
    assert rights_of_token(RUN) == NO_RIGHTS
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
    with pytest.raises(Forbidden, match="Only its creator"):
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


VIEW, DEPLOY, MANAGE = Permission.VIEW, Permission.DEPLOY, Permission.MANAGE
NEEDS = {
    Action.READ_SERVICES: VIEW,
    Action.READ_INPUTS: VIEW,
    Action.READ_DEPLOYMENT: VIEW,
    Action.READ_CHANGES: VIEW,
    Action.START_DEPLOYMENT: DEPLOY,
    Action.CANCEL_DEPLOYMENT: DEPLOY,
    Action.MAKE_SERVICE_TOKEN: MANAGE,
    Action.DELETE_SERVICE: MANAGE,
}
LADDER = [VIEW, DEPLOY, MANAGE]


@pytest.mark.parametrize("held", LADDER)
@pytest.mark.parametrize("action", NEEDS)
def test_each_permission_allows_its_actions_and_those_before_it(action: Action, held: Permission) -> None:
    actor = Actor(kind=TokenType.USER, expires=0, user_id=1, rights=of_service(3, held))
    is_allowed = LADDER.index(held) >= LADDER.index(NEEDS[action])
    assert may(actor, action, OWN_SERVICE) is is_allowed
    if not is_allowed:
        with pytest.raises(Forbidden, match=f"You need the permission to {NEEDS[action].value} this service"):
            check(actor, action, OWN_SERVICE)
    with pytest.raises(NotFound):
        check(actor, action, OTHER_SERVICE)


def test_a_permission_in_one_environment_does_not_reach_others() -> None:
    actor = Actor(kind=TokenType.USER, expires=0, user_id=1, rights=of_service(3, MANAGE, "staging"))
    staging, production, none = (
        Target(name="Deployment", service_id=3, environment=name, deployment_id=7)
        for name in ("staging", "production", "")
    )
    assert may(actor, Action.CANCEL_DEPLOYMENT, staging)
    for target in (production, none):
        with pytest.raises(NotFound):
            check(actor, Action.CANCEL_DEPLOYMENT, target)
        with pytest.raises(Forbidden):
            check(actor, Action.START_DEPLOYMENT, replace(target, deployment_id=None))
    assert may(actor, Action.START_DEPLOYMENT, replace(staging, deployment_id=None))
    assert may(actor, Action.READ_SERVICES, OWN_SERVICE)
    for action in (Action.DELETE_SERVICE, Action.MAKE_SERVICE_TOKEN, Action.START_DEPLOYMENT):
        with pytest.raises(Forbidden):
            check(actor, action, OWN_SERVICE)


def test_only_holders_of_the_permission_can_sync() -> None:
    for rights in (of_service(3), Rights(MANAGE)):
        with pytest.raises(Forbidden, match="You need the permission to sync services"):
            check_role(Actor(kind=TokenType.USER, expires=0, rights=rights), Action.SYNC_SERVICES)
    check_role(Actor(kind=TokenType.USER, expires=0, rights=Rights(can_sync=True)), Action.SYNC_SERVICES)


def test_tokens_are_also_revoked_by_those_who_manage_their_service() -> None:
    token = Target(name="Token", user_id=9, service_id=3)
    for held in LADDER:
        actor = Actor(kind=TokenType.USER, expires=0, user_id=1, rights=of_service(3, held))
        assert may(actor, Action.REVOKE_TOKEN, token) is (held is MANAGE)
