"""Hidden services do not exist: hide one service from one user, and call every route, subscription, and command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import pytest
import pytest_asyncio

from deploy.domain import commands
from deploy.domain.commands import Command, ObjectType
from deploy.domain.errors import Forbidden, NotFound
from deploy.domain.model import Permission
from deploy.domain.policy import WORKER, Actor, TokenType, check_role
from deploy.domain.rights import ALL_RIGHTS
from tests.integration.two_services import HIDDEN, OPEN, RULES, Socket, World, ask, samples, two_services
from tests.rights import of_service
from tests.routes import NUMBER, TOKEN_ID
from tests.runs import line, reported
from tests.site import queued

COMMANDS = get_args(Command)


@pytest_asyncio.fixture(loop_scope="session")
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    async with two_services(database_url, tmp_path) as world:
        await grant(world)
        yield world


async def grant(world: World) -> None:
    """Take the permissions that all users have by default, and let Bob manage one service and sync."""
    async with world.state.open_unit_of_work() as uow:
        given = tuple([grant.id for grant in await uow.grants.list()])
    bob = world.users["bob"]
    allowed = (
        commands.NewGrant(Permission.MANAGE, user_id=bob, service_id=world.shown),
        commands.NewGrant(Permission.SYNC, user_id=bob),
    )
    await world.state.bus.handle(commands.ChangeAccess(remove=given, add=allowed), by=WORKER)


async def test_a_hidden_service_does_not_exist_for_any_route(world: World) -> None:
    hidden = (world.hidden, world.deployments[world.hidden][0], f"ada {HIDDEN}")
    missing = (NUMBER, NUMBER, TOKEN_ID)
    async with world.client("bob") as bob:
        for rule in RULES:
            status, text = await ask(bob, rule, hidden)
            assert HIDDEN not in text, rule
            if "{service_id}" in rule.path or "{deployment_id}" in rule.path or rule.path == "/steps/":
                assert (status, text) == await ask(bob, rule, missing), rule
        body = {"service": "zq-missing", "origin": "test"}
        assert (await bob.post("/service-token", json=body)).text == (
            await bob.post("/service-token", json=body | {"service": HIDDEN})
        ).text


async def test_the_same_requests_show_the_service_to_others(world: World) -> None:
    """Positive control: the marker appears wherever the service is visible."""
    shown = set()
    async with world.client("ada") as ada:
        for rule in RULES:
            if rule.method == "GET":
                for deployment_id in world.deployments[world.hidden]:
                    _, text = await ask(ada, rule, (world.hidden, deployment_id, TOKEN_ID))
                    if HIDDEN in text:
                        shown.add(rule.path)
    assert shown >= {
        "/services/",
        "/services/names/",
        "/services/{service_id}",
        "/services/{service_id}/inputs",
        "/tokens/",
        "/deployments/",
        "/deployments/{deployment_id}",
        "/deployments/{deployment_id}/events",
        "/deployments/{deployment_id}/output",
        "/deployments/{deployment_id}/output.txt",
        "/deployments/{deployment_id}/hosts",
        "/deployments/{deployment_id}/recap",
        "/steps/",
        "/queue/",
    }


async def test_counts_and_workers_leave_out_hidden_deployments(world: World) -> None:
    async with world.client("bob") as bob:
        queue = (await bob.get("/queue/")).json()
        workers = (await bob.get("/workers/")).json()
        statistics = await bob.get(f"/services/{world.shown}/statistics")
    visible = set(world.deployments[world.shown])
    assert {entry["id"] for entry in (*queue["running"], *queue["waiting"])} == visible - {min(visible)}
    assert {number for worker in (*workers, *queue["workers"]) for number in worker["running"]} <= visible
    assert len(statistics.json()["deployments"]) == 1


async def test_subscriptions_show_nothing_of_a_hidden_service(world: World) -> None:
    feed = asyncio.create_task(world.state.feed.run())
    bob, ada = Socket(world), Socket(world)
    try:
        for name, socket in (("bob", bob), ("ada", ada)):
            socket.send(access_token=world.tokens[name])
            await socket.wait_for(lambda message: message.get("status") == "success")
            socket.send(subscribe={"deployment_id": world.deployments[world.hidden][1], "after": 0})
            socket.send(subscribe={"deployment_id": world.deployments[world.shown][1], "after": 0})
            await socket.wait_for(lambda message: f"output of {OPEN}" in json.dumps(message))
        for service_id, name in ((world.hidden, HIDDEN), (world.shown, OPEN)):
            # Steps are also sent to clients that have not subscribed to the deployment.
            await world.site.take_in(
                world.deployments[service_id][1], line(f"more of {name}"), reported(f"step of {name}")
            )
            async with world.state.open_unit_of_work() as uow:
                await uow.events.wake(f"service {service_id}")
            world.state.feed._on_service(str(service_id))
        await ada.wait_for(lambda message: f"more of {HIDDEN}" in json.dumps(message))
        await ada.wait_for(lambda message: f"step of {HIDDEN}" in json.dumps(message))
        for socket in (bob, ada):
            await socket.wait_for(lambda message: f"more of {OPEN}" in json.dumps(message))
            await socket.wait_for(lambda message: message.get("type") == "service" and message["name"] == OPEN)
        assert HIDDEN in json.dumps(ada.received)
        assert HIDDEN not in json.dumps(bob.received)
        assert [message["detail"] for message in bob.received if message["type"] == "warning"] == [
            "Deployment not found"
        ]
    finally:
        await asyncio.gather(bob.close(), ada.close())
        feed.cancel()
        await asyncio.gather(feed, return_exceptions=True)


STRANGERS = [
    Actor(kind=TokenType.USER, expires=0, name="eve", user_id=NUMBER),
    Actor(kind=TokenType.SERVICE, expires=0, service_id=NUMBER, rights=of_service(NUMBER)),
    Actor(kind=TokenType.DEPLOYMENT, expires=0, deployment_id=NUMBER),
    Actor(kind=TokenType.CONFIG, expires=0, rights=ALL_RIGHTS),
]


async def contents(world: World) -> dict[str, Any]:
    """Return the rows of all tables."""
    async with world.state.database.connection() as connection:
        names = [
            row[0] for row in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        ]
        return {
            name: await connection.fetchval(f"SELECT json_agg(t ORDER BY t::text)::text FROM {name} AS t")  # noqa: S608
            for name in names
        }


def is_allowed(command: Command, actor: Actor) -> bool:
    """Return True if the command is about the whole site and the actor's role allows it."""
    try:
        check_role(actor, command.rule.action)
    except Forbidden:
        return False
    return command.rule.on is ObjectType.SITE


async def test_commands_without_the_required_right_are_rejected(world: World) -> None:
    given = samples(world, HIDDEN)
    assert given.keys() == set(COMMANDS)
    before = await contents(world)
    refused = 0
    for command in given.values():
        for actor in STRANGERS:
            if is_allowed(command, actor):
                continue
            refused += 1
            with pytest.raises((Forbidden, NotFound)):
                await world.state.bus.handle(command, by=actor)
    assert refused == len(COMMANDS) * len(STRANGERS)
    assert await contents(world) == before


async def newest_entries(world: World, limit: int) -> list[Any]:
    async with world.state.open_unit_of_work() as uow:
        return list(await uow.audit.newest(limit))


async def test_commands_leave_audit_entries_in_their_transaction(world: World) -> None:
    bob = Actor(kind=TokenType.USER, expires=0, name="bob", user_id=2, rights=ALL_RIGHTS)
    started = await world.state.bus.handle(
        commands.StartDeployment(
            service_id=world.shown,
            origin="page",
            user="bob",
            user_id=2,
            context={"env": {"key": "hush"}},
            by_person=True,
        ),
        by=bob,
    )
    (entry,) = await newest_entries(world, 1)
    assert (entry.actor_type, entry.actor, entry.user_id, entry.action) == ("user", "bob", 2, "start deployment")
    assert (entry.object_type, entry.object_id) == ("service", str(world.shown))
    deployment_id = queued(started)
    assert entry.details == {"origin": "page", "environment": "", "deployment_id": deployment_id}
    with pytest.raises(NotFound):
        await world.state.bus.handle(commands.DeleteService(service_id=NUMBER), by=WORKER)
    await world.state.bus.handle(commands.Heartbeat(worker_id="w1", host="x", version="1", slots=1), by=WORKER)
    assert await newest_entries(world, 1) == [entry]
