"""Who can do what: every route, command, and subscription, for every way in which a user can have a permission.

The tables are written out again here, so that a change of the policy fails until it is changed here as well.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest_asyncio

from deploy.domain import commands
from deploy.domain.commands import Command
from deploy.domain.errors import DomainError, Forbidden, NotFound
from deploy.domain.model import Permission
from deploy.domain.policy import WORKER, TokenType
from deploy.entrypoints.app_state import create_app_state
from deploy.service_layer.clock import utc_now
from tests.integration.two_services import HIDDEN, OPEN, PASSWORD, RULES, Socket, World, samples, two_services
from tests.routes import NUMBER, TOKEN_ID
from tests.runs import line, reported

VIEW, DEPLOY, MANAGE, SYNC = Permission
LADDER = (None, VIEW, DEPLOY, MANAGE)
ADMINISTRATOR, USER, OTHER_TOKEN, OWN = "administrator", "user", "other token", "own service"
STAGING = "staging"
NEEDED: dict[tuple[str, str], str | Permission] = {
    ("GET", "/sessions/"): USER,
    ("DELETE", "/sessions/{session_id}"): USER,
    ("DELETE", "/sessions/"): USER,
    ("GET", "/users/me"): USER,
    ("POST", "/users/me/password"): USER,
    ("GET", "/users/"): ADMINISTRATOR,
    ("POST", "/users/"): ADMINISTRATOR,
    ("PATCH", "/users/{user_id}"): ADMINISTRATOR,
    ("GET", "/access/"): ADMINISTRATOR,
    ("POST", "/access/"): ADMINISTRATOR,
    ("POST", "/access/preview"): ADMINISTRATOR,
    ("POST", "/groups/"): ADMINISTRATOR,
    ("PATCH", "/groups/{group_id}"): ADMINISTRATOR,
    ("DELETE", "/groups/{group_id}"): ADMINISTRATOR,
    ("GET", "/users/me/rights"): USER,
    ("GET", "/users/{user_id}/rights"): ADMINISTRATOR,
    ("GET", "/services/"): USER,
    ("GET", "/services/names/"): USER,
    ("GET", "/services/names"): USER,
    ("GET", "/services/problems"): USER,
    ("POST", "/services/sync"): SYNC,
    ("GET", "/services/{service_id}"): VIEW,
    ("DELETE", "/services/{service_id}"): MANAGE,
    ("GET", "/services/own/inputs"): OWN,
    ("GET", "/services/{service_id}/inputs"): VIEW,
    ("GET", "/services/{service_id}/statistics"): VIEW,
    ("GET", "/deployments/{deployment_id}/changes"): VIEW,
    ("POST", "/service-token"): MANAGE,
    ("POST", "/config-token"): ADMINISTRATOR,
    ("GET", "/tokens/"): USER,
    ("DELETE", "/tokens/{token_id}"): MANAGE,
    ("GET", "/deployments/{deployment_id}/events"): VIEW,
    ("GET", "/deployments/{deployment_id}/output"): VIEW,
    ("GET", "/deployments/{deployment_id}/output.txt"): VIEW,
    ("GET", "/deployments/{deployment_id}/hosts"): VIEW,
    ("GET", "/deployments/{deployment_id}/hosts/result"): VIEW,
    ("GET", "/deployments/{deployment_id}/recap"): VIEW,
    ("POST", "/deployments/"): OTHER_TOKEN,
    ("POST", "/services/{service_id}/deployments"): DEPLOY,
    ("GET", "/deployments/"): USER,
    ("GET", "/deployments/{deployment_id}"): VIEW,
    ("POST", "/deployments/{deployment_id}/cancel"): DEPLOY,
    ("POST", "/deployments/{deployment_id}/retry"): DEPLOY,
    ("PUT", "/deployments/finish/"): OTHER_TOKEN,
    ("PUT", "/deployments/finish"): OTHER_TOKEN,
    ("POST", "/steps/"): OTHER_TOKEN,
    ("GET", "/steps/"): VIEW,
    ("GET", "/queue/"): USER,
    ("GET", "/workers/"): USER,
    ("GET", "/deployed-services/"): OTHER_TOKEN,
}
SYSTEM = "system"
NEEDED_BY_COMMAND: dict[type, str | Permission] = {
    commands.CreateUser: ADMINISTRATOR,
    commands.ChangeUser: ADMINISTRATOR,
    commands.ChangeAccess: ADMINISTRATOR,
    commands.CreateGroup: ADMINISTRATOR,
    commands.RenameGroup: ADMINISTRATOR,
    commands.DeleteGroup: ADMINISTRATOR,
    commands.RegisterConfigToken: ADMINISTRATOR,
    commands.RegisterServiceToken: MANAGE,
    commands.RevokeToken: MANAGE,
    commands.DeleteService: MANAGE,
    commands.SyncServices: SYNC,
    commands.StartDeployment: DEPLOY,
    commands.CancelDeployment: DEPLOY,
}
# On the caller's own account, whatever the grants are.
PERSONAL = {commands.ChangeOwnPassword, commands.OpenSession, commands.EndSessions}


class Held(NamedTuple):
    """What an identity holds on the open service, in all environments and in one, and on the whole site."""

    everywhere: Permission | None = None
    staging: Permission | None = None
    is_admin: bool = False
    can_sync: bool = False


IDENTITIES = {
    "administrator": Held(MANAGE, is_admin=True, can_sync=True),
    "manager": Held(MANAGE),
    "deployer": Held(DEPLOY),
    "viewer": Held(VIEW),
    "viewer of all": Held(VIEW),
    "deployer by group": Held(DEPLOY),
    "deployer by tag": Held(DEPLOY),
    "manager of staging": Held(staging=MANAGE),
    "viewer who manages staging": Held(VIEW, MANAGE),
    "syncer": Held(can_sync=True),
    "stranger": Held(),
    "former manager": Held(),
}
SEES_HIDDEN = {"administrator", "viewer of all"}


class Object(NamedTuple):
    """What a request is about."""

    service_id: int
    service: str
    deployment_id: int
    token_id: str


@dataclass
class Matrix:
    world: World
    objects: dict[str, Object]


@pytest_asyncio.fixture(loop_scope="session")
async def matrix(database_url: str, tmp_path: Path) -> AsyncIterator[Matrix]:
    async with two_services(database_url, tmp_path) as world:
        staging = await world.site.start(world.shown, environment=STAGING, origin=f"origin of {STAGING}")
        objects = {
            "open": Object(world.shown, OPEN, world.deployments[world.shown][1], f"ada {OPEN}"),
            "staging": Object(world.shown, OPEN, staging, f"ada {OPEN}"),
            "hidden": Object(world.hidden, HIDDEN, world.deployments[world.hidden][1], f"ada {HIDDEN}"),
            "missing": Object(NUMBER, "zq-missing", NUMBER, TOKEN_ID),
        }
        found = Matrix(world, objects)
        await add_identities(found)
        yield found


async def add_identities(matrix: Matrix) -> None:
    """Create a user for each identity. The former manager loses the permission in another process."""
    world = matrix.world
    for name, held in IDENTITIES.items():
        user = name.replace(" ", "-")
        user_id = (await world.state.accounts.create(WORKER, user, PASSWORD, is_admin=held.is_admin)).id
        world.users[name] = user_id
        world.tokens[name] = world.state.signer.sign(
            "user", str(user_id), now=utc_now(), lifetime=timedelta(hours=1), name=user, epoch=0
        )
    await world.state.bus.handle(commands.CreateGroup(name="deployers"), by=WORKER)
    async with world.state.open_unit_of_work() as uow:
        given = tuple([grant.id for grant in await uow.grants.list()])
        group = next(group.id for group in await uow.groups.list() if group.name == "deployers")

    def grant(name: str, permission: Permission, **where: Any) -> commands.NewGrant:
        return commands.NewGrant(permission, user_id=world.users[name], **where)

    shown: dict[str, Any] = {"service_id": world.shown}
    add = (
        grant("manager", MANAGE, **shown),
        grant("former manager", MANAGE, **shown),
        grant("deployer", DEPLOY, **shown),
        grant("viewer", VIEW, **shown),
        grant("viewer of all", VIEW),
        commands.NewGrant(DEPLOY, group_id=group, **shown),
        grant("deployer by tag", DEPLOY, tag="web"),
        grant("manager of staging", MANAGE, environment=STAGING, **shown),
        grant("viewer who manages staging", VIEW, tag="web"),
        grant("viewer who manages staging", MANAGE, environment=STAGING, tag="web"),
        grant("syncer", SYNC),
    )
    join = (commands.Membership(group, world.users["deployer by group"]),)
    await world.state.bus.handle(commands.ChangeAccess(remove=given, add=add, join=join), by=WORKER)
    await revoke_in_another_process(matrix)


async def revoke_in_another_process(matrix: Matrix) -> None:
    """Take the former manager's grant elsewhere, after this process has cached the permission."""
    world = matrix.world
    other = create_app_state(world.state.settings, world.state.settings.database_url)
    listening = asyncio.Event()
    world.state.listener.on_connect(listening.set)
    listener = asyncio.create_task(world.state.listener.run())
    try:
        await asyncio.wait_for(listening.wait(), 60)
        assert await outcome(matrix, "former manager", ("GET", "/services/{service_id}"), "open") == "allowed"
        async with other.open_unit_of_work() as uow:
            grants = await uow.grants.of_user(world.users["former manager"])
        await other.bus.handle(commands.ChangeAccess(remove=(grants[0].id,)), by=WORKER)

        async def until_applied() -> None:
            route = ("GET", "/services/{service_id}")
            while await outcome(matrix, "former manager", route, "open") == "allowed":  # noqa: ASYNC110
                await asyncio.sleep(0.02)

        await asyncio.wait_for(until_applied(), 60)
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
        await other.database.close()


BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/users/"): {"name": "carol", "password": PASSWORD},
    ("PATCH", "/users/{user_id}"): {},
    ("POST", "/groups/"): {"name": "crew"},
    ("PATCH", "/groups/{group_id}"): {"name": "crew"},
    ("POST", "/access/"): {},
    ("POST", "/access/preview"): {},
    ("POST", "/users/me/password"): {"current": "wrong", "new": PASSWORD},
    ("POST", "/config-token"): {"origin": "test"},
}
REFUSALS = ("Not allowed", "Only administrators", "You need the permission", "Wrong service token", "Only its creator")


async def outcome(matrix: Matrix, identity: str, route: tuple[str, str], about: str) -> str:
    """Call a route and return `allowed`, `forbidden`, `missing`, or `refused` (the token does not fit)."""
    method, path = route
    target = matrix.objects[about]
    body = BODIES.get(route, {"service": target.service, "origin": "test"} if path == "/service-token" else None)
    for name, value in (("{service_id}", target.service_id), ("{deployment_id}", target.deployment_id)):
        path = path.replace(name, str(value))
    path = path.replace("{token_id}", target.token_id).replace("{session_id}", TOKEN_ID)
    path = path.replace("{user_id}", str(NUMBER)).replace("{group_id}", str(NUMBER))
    query: dict[str, str | int] = {"deployment_id": target.deployment_id} if path == "/steps/" else {}
    if path.endswith("/hosts/result"):
        query = {"step_id": NUMBER, "host": "web1"}
    async with matrix.world.client(identity) as client:
        response = await client.request(method, path, json=body, params=query)
    if response.status_code == 401:
        return "refused"
    if response.status_code == 404 and "result" not in response.json()["detail"]:
        return "missing"
    if path == "/steps/" and response.json() == []:
        return "missing"
    detail = response.json().get("detail") if response.status_code == 403 else ""
    return "forbidden" if str(detail).startswith(REFUSALS) else "allowed"


def permission_on(held: Held, path: str, about: str) -> Permission | None:
    """Return the permission that an identity has on the object of a route."""
    is_deployment = "{deployment_id}" in path or path == "/steps/"
    in_staging = [held.staging] if about == "staging" and is_deployment else []
    return max((held.everywhere, *in_staging), key=LADDER.index)


def expected(identity: str, route: tuple[str, str], about: str) -> str:
    """Return the outcome that the documented rules require."""
    held, needed, path = IDENTITIES[identity], NEEDED[route], route[1]
    if needed == OTHER_TOKEN:
        return "refused"
    if needed == OWN:
        return "missing"  # users have no service of their own
    if needed in (USER, ADMINISTRATOR, SYNC):
        permitted = {USER: True, ADMINISTRATOR: held.is_admin, SYNC: held.can_sync}[needed]
        if not permitted:
            return "forbidden"
        return "missing" if any(name in path for name in ("{user_id}", "{group_id}", "{session_id}")) else "allowed"
    if about == "missing":
        return "missing"
    if about == "hidden":
        permission = (MANAGE if held.is_admin else VIEW) if identity in SEES_HIDDEN else None
    else:
        permission = permission_on(held, path, about)
    # A service is visible to those who can view one of its environments.
    is_service = "{deployment_id}" not in path and path != "/steps/"
    sees = permission is not None or (is_service and about != "hidden" and held.staging is not None)
    if not sees:
        return "missing"
    if needed is VIEW:
        return "allowed"
    return "allowed" if LADDER.index(permission) >= LADDER.index(needed) else "forbidden"


def is_site_route(path: str) -> bool:
    return not any(
        name in path for name in ("{service_id}", "{deployment_id}", "{token_id}", "/service-token", "/steps/")
    )


async def test_every_route_for_every_identity_on_every_object(matrix: Matrix) -> None:
    assert {(rule.method, rule.path) for rule in RULES} == NEEDED.keys()
    wrong = []
    for route in sorted(NEEDED, key=lambda route: route[0] != "GET"):  # reads first, because others cancel deployments
        for identity in IDENTITIES:
            for about in ["open"] if is_site_route(route[1]) else matrix.objects:
                found, wanted = await outcome(matrix, identity, route, about), expected(identity, route, about)
                if found != wanted:
                    wrong.append(f"{identity}: {route} on {about}: {found} instead of {wanted}")
    assert not wrong, "\n".join(wrong)


async def test_lists_counts_and_searches_contain_only_what_is_visible(matrix: Matrix) -> None:
    world = matrix.world
    of_open, of_hidden = set(world.deployments[world.shown]), set(world.deployments[world.hidden])
    staging = {matrix.objects["staging"].deployment_id}
    for identity, held in IDENTITIES.items():
        visible = set()
        visible |= of_hidden if identity in SEES_HIDDEN else set()
        visible |= of_open | staging if held.everywhere is not None else set()
        visible |= staging if held.staging is not None else set()
        services = {OPEN} if held.everywhere or held.staging else set()
        services |= {HIDDEN} if identity in SEES_HIDDEN else set()
        async with world.client(identity) as client:
            deployments = (await client.get("/deployments/")).json()
            filtered = (await client.get("/deployments/", params={"service_id": world.shown})).json()
            by_origin = (await client.get("/deployments/", params={"origin": f"origin of {STAGING}"})).json()
            queue = (await client.get("/queue/")).json()
            workers = (await client.get("/workers/")).json()
            listed = (await client.get("/services/")).json()
            tokens = (await client.get("/tokens/")).json()
        assert {one["id"] for one in deployments} == visible, identity
        assert {one["id"] for one in filtered} == visible - of_hidden, identity
        assert {one["id"] for one in by_origin} == visible & staging, identity
        assert {one["id"] for one in (*queue["running"], *queue["waiting"])} <= visible, identity
        assert queue["waiting_count"] == len(queue["waiting"]), identity
        assert {number for worker in workers for number in worker["running"]} <= visible, identity
        assert {one["name"] for one in listed} == services, identity
        for one in listed:
            shown = [*one["active_deployments"], *([one["last_deployment"]] if one["last_deployment"] else [])]
            assert {each["id"] for each in shown} <= visible, identity
            assert one["active_count"] == len(one["active_deployments"]), identity
        managed = services if held.is_admin else services & ({OPEN} if held.everywhere is MANAGE else set())
        assert {token["service"] for token in tokens} - {None} == managed, identity


async def test_every_command_for_every_identity(matrix: Matrix) -> None:
    world = matrix.world
    given = {kind: command for kind, command in samples(world, OPEN).items() if kind not in PERSONAL}
    given[commands.StartDeployment] = commands.StartDeployment(
        service_id=world.shown, origin="x", user="eve", user_id=None, by_person=True
    )
    assert given.keys() == set(get_args(Command)) - PERSONAL
    wrong = []
    for identity, held in IDENTITIES.items():
        actor = await world.state.authenticator.authenticate(world.tokens[identity], frozenset({TokenType.USER}))
        for kind, command in given.items():
            needed = NEEDED_BY_COMMAND.get(kind, SYSTEM)
            if needed in (SYSTEM, ADMINISTRATOR, SYNC):
                permitted = {SYSTEM: False, ADMINISTRATOR: held.is_admin, SYNC: held.can_sync}[needed]
            else:
                permitted = LADDER.index(held.everywhere) >= LADDER.index(needed)
            if await is_permitted(world, command, actor) is not permitted:
                wrong.append(f"{identity}: {kind.__name__} should be {'permitted' if permitted else 'refused'}")
    assert not wrong, "\n".join(wrong)


async def is_permitted(world: World, command: Command, actor: Any) -> bool:
    """Return True if the bus executes the command. Everything is undone."""
    try:
        await world.state.bus.rehearse(command, by=actor)
    except (Forbidden, NotFound):
        return False
    except DomainError:
        return True
    return True


def contains(text: str, message: dict[str, Any]) -> bool:
    return text in json.dumps(message)


async def test_every_subscription_for_every_identity(matrix: Matrix) -> None:
    world = matrix.world
    feed = asyncio.create_task(world.state.feed.run())
    sockets = {identity: Socket(world) for identity in IDENTITIES}
    followed = {about: matrix.objects[about].deployment_id for about in ("open", "hidden")}
    try:
        for identity, socket in sockets.items():
            socket.send(access_token=world.tokens[identity])
            await socket.wait_for(lambda message: message.get("status") == "success")
            for deployment_id in followed.values():
                socket.send(subscribe={"deployment_id": deployment_id, "after": 0})
        for about, deployment_id in followed.items():
            # Steps are also sent to clients that have not subscribed to the deployment.
            await world.site.take_in(deployment_id, line(f"zq news of {about}"), reported(f"zq step of {about}"))
        cancel = commands.CancelDeployment(deployment_id=matrix.objects["staging"].deployment_id, by="zq canceler")
        await world.state.bus.handle(cancel, by=WORKER)
        for text in ("zq news of open", "zq step of open", "zq news of hidden", "zq step of hidden", "zq canceler"):
            await sockets["administrator"].wait_for(partial(contains, text))
        for identity, socket in sockets.items():
            held = IDENTITIES[identity]
            socket.send(unknown=True)
            await socket.wait_for(lambda message: message.get("code") == "not_understood")
            received = json.dumps(socket.received)
            for text in ("zq news of", "zq step of"):
                assert (f"{text} open" in received) is (held.everywhere is not None), identity
                assert (f"{text} hidden" in received) is (identity in SEES_HIDDEN), identity
            sees_staging = held.everywhere is not None or held.staging is not None
            assert ("zq canceler" in received) is sees_staging, identity
    finally:
        await asyncio.gather(*(socket.close() for socket in sockets.values()))
        feed.cancel()
        await asyncio.gather(feed, return_exceptions=True)
