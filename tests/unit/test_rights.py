"""Resolve grants into rights, and compare the rights before and after a change."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.domain.access import AccessState, differences, needs_tags, reasons, resolve
from deploy.domain.commands import ChangeAccess, Membership, NewGrant
from deploy.domain.model import Grant, Group, Permission, User
from deploy.domain.rights import ALL_RIGHTS, EVERYTHING, NO_RIGHTS, NOTHING, Visible

VIEW, DEPLOY, MANAGE, SYNC = Permission
SHOP, BLOG, WIKI = 1, 2, 3
TAGS = {SHOP: frozenset({"web", "shop"}), BLOG: frozenset({"web"}), WIKI: frozenset[str]()}


def grant(permission: Permission, **where: Any) -> Grant:
    return Grant(permission, **{"user_id": 1, **where})


@pytest.mark.parametrize("held", Permission)
@pytest.mark.parametrize("other", Permission)
def test_a_permission_includes_those_before_it_and_syncing_is_apart(held: Permission, other: Permission) -> None:
    ladder = [VIEW, DEPLOY, MANAGE]
    if SYNC in (held, other):
        assert held.includes(other) is (held is other)
    else:
        assert held.includes(other) is (ladder.index(held) >= ladder.index(other))


def test_without_grants_there_are_no_rights() -> None:
    assert resolve([], TAGS) == NO_RIGHTS
    assert NO_RIGHTS.visible == NOTHING
    assert NO_RIGHTS.on(SHOP) is None
    assert not NO_RIGHTS.can_sync


def test_a_grant_on_all_services_includes_later_ones() -> None:
    rights = resolve([grant(DEPLOY)], TAGS)
    assert rights.visible == EVERYTHING
    assert rights.on(999) is DEPLOY
    assert rights.with_permission(DEPLOY) == EVERYTHING
    assert rights.with_permission(MANAGE) == NOTHING


def test_the_highest_permission_counts() -> None:
    rights = resolve([grant(VIEW), grant(MANAGE, service_id=SHOP), grant(DEPLOY, service_id=SHOP)], TAGS)
    assert (rights.on(SHOP), rights.on(BLOG)) == (MANAGE, VIEW)
    assert rights.with_permission(MANAGE) == Visible(frozenset({SHOP}))


def test_a_tag_stands_for_the_services_that_have_it() -> None:
    grants = [grant(DEPLOY, tag="web"), grant(VIEW, tag="unknown")]
    rights = resolve(grants, TAGS)
    assert rights.visible == Visible(frozenset({SHOP, BLOG}))
    assert needs_tags(grants)
    assert not needs_tags([grant(VIEW), grant(VIEW, service_id=SHOP, environment="staging")])


def test_a_grant_on_an_environment_is_limited_to_it() -> None:
    rights = resolve([grant(MANAGE, service_id=SHOP, environment="staging"), grant(VIEW, service_id=BLOG)], TAGS)
    assert rights.visible == Visible(frozenset({SHOP, BLOG}), frozenset({SHOP}), frozenset({(SHOP, "staging")}))
    assert rights.visible.shows(SHOP, "staging")
    assert not rights.visible.shows(SHOP, "production")
    assert rights.visible.shows(BLOG, "production")
    assert (rights.on(SHOP, "staging"), rights.on(SHOP, "production"), rights.on(SHOP)) == (MANAGE, None, None)


def test_an_environment_of_all_services_applies_to_the_services_that_exist() -> None:
    grants = [grant(DEPLOY, environment="staging")]
    assert needs_tags(grants)
    rights = resolve(grants, TAGS)
    assert rights.visible.services == rights.visible.limited == frozenset({SHOP, BLOG, WIKI})
    assert rights.on(WIKI, "staging") is DEPLOY
    assert rights.on(WIKI, "") is None


def test_a_wider_grant_ends_the_limit_to_an_environment() -> None:
    rights = resolve([grant(MANAGE, service_id=SHOP, environment="staging"), grant(VIEW, tag="web")], TAGS)
    assert rights.visible == Visible(frozenset({SHOP, BLOG}))
    assert (rights.on(SHOP, "staging"), rights.on(SHOP, "production")) == (MANAGE, VIEW)


ADA, BOB, EVE, GONE = (
    User(name, "hash", id=number, is_admin=name == "ada", is_active=name != "gone")
    for number, name in enumerate(("ada", "bob", "eve", "gone"), start=1)
)
EVERYONE, CREW = Group("everyone", is_everyone=True, id=1), Group("crew", id=2)
ALL = Grant(MANAGE, group_id=1, id=1)
STATE = AccessState(
    users=[ADA, BOB, EVE, GONE],
    groups=[EVERYONE, CREW],
    members={CREW.id: frozenset({BOB.id})},
    grants=[ALL, Grant(SYNC, group_id=1, id=2), Grant(DEPLOY, group_id=2, tag="web", id=3)],
    tags=TAGS,
)


def test_administrators_can_do_everything_and_disabled_users_nothing() -> None:
    nothing = AccessState(STATE.users, STATE.groups, {}, [], TAGS)
    assert nothing.rights(ADA) == ALL_RIGHTS
    assert nothing.rights(BOB) == NO_RIGHTS
    assert STATE.rights(GONE) == NO_RIGHTS


def test_a_preview_lists_what_each_user_loses_and_gains() -> None:
    change = ChangeAccess(
        remove=(1, 2), add=(NewGrant(VIEW, user_id=EVE.id, service_id=WIKI),), join=(Membership(2, EVE.id),)
    )
    assert list(differences(STATE, STATE.after(change))) == [
        (BOB.id, None, None, SYNC, None),
        (BOB.id, SHOP, None, MANAGE, DEPLOY),
        (BOB.id, BLOG, None, MANAGE, DEPLOY),
        (BOB.id, WIKI, None, MANAGE, None),
        (EVE.id, None, None, SYNC, None),
        (EVE.id, SHOP, None, MANAGE, DEPLOY),
        (EVE.id, BLOG, None, MANAGE, DEPLOY),
        (EVE.id, WIKI, None, MANAGE, VIEW),
    ]


def test_a_preview_names_the_environments_that_change() -> None:
    narrowed = STATE.after(ChangeAccess(remove=(1, 2, 3)))
    added = narrowed.after(ChangeAccess(add=(NewGrant(DEPLOY, group_id=2, service_id=SHOP, environment="staging"),)))
    assert list(differences(narrowed, added)) == [(BOB.id, SHOP, "staging", None, DEPLOY)]
    left = added.after(ChangeAccess(leave=(Membership(2, BOB.id),)))
    assert list(differences(added, left)) == [(BOB.id, SHOP, "staging", DEPLOY, None)]


def test_a_change_without_effect_has_an_empty_preview() -> None:
    change = ChangeAccess(add=(NewGrant(VIEW, user_id=EVE.id, service_id=SHOP),), leave=(Membership(2, EVE.id),))
    assert list(differences(STATE, STATE.after(change))) == []


def test_the_reasons_for_a_permission_begin_with_the_highest() -> None:
    of_bob, of_eve = reasons(STATE, BOB), reasons(STATE, EVE)
    assert [(reason.grant.id, reason.group) for reason in of_bob[SHOP]] == [(1, EVERYONE), (3, CREW)]
    assert [reason.grant.id for reason in of_bob[WIKI]] == [1]
    assert [reason.grant.id for reason in of_eve[SHOP]] == [1]
