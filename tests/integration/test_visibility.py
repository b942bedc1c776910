"""Hidden services do not exist: hide one service from one user, and call every route, subscription, and command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio
from pydantic import SecretStr

from deploy.config import Settings
from deploy.domain import commands
from deploy.domain.commands import Command, ObjectType
from deploy.domain.errors import Forbidden, NotFound
from deploy.domain.model import HostResult, Outcome, StepReport, StepState
from deploy.domain.policy import EVERYTHING, NOTHING, WORKER, Actor, TokenType, Visible, check_role
from deploy.domain.reports import Entry, HostReported
from deploy.entrypoints.app_state import AppState, create_app_state
from deploy.entrypoints.fastapi_app import create_app
from deploy.service_layer.clock import utc_now
from deploy.service_layer.services import sync_services
from tests.conftest import FixedClock
from tests.routes import NUMBER, TOKEN_ID, Rule, rules_of
from tests.runs import START, ended, line, reported
from tests.site import Site, queued

HIDDEN, OPEN = "zq-hidden", "zq-open"
PASSWORD = "a password of twelve"
RULES = [rule for rule in rules_of(create_app().routes) if rule.action is not None]
# The bodies that routes need. Other routes do not need one.
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/service-token"): {"service": HIDDEN, "origin": "test"},
    ("POST", "/users/"): {"name": "carol", "password": PASSWORD},
    ("POST", "/users/me/password"): {"current": "wrong", "new": PASSWORD},
}
COMMANDS = get_args(Command)


@dataclass
class World:
    """An application with two services. Bob cannot view one of them, even though Bob is an administrator."""

    state: AppState
    site: Site
    hidden: int
    shown: int
    deployments: dict[int, list[int]]
    users: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    def client(self, user: str) -> httpx2.AsyncClient:
        app = create_app(ready=self.state)
        headers = {"Authorization": f"Bearer {self.tokens[user]}"}
        return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test", headers=headers)


@pytest_asyncio.fixture(loop_scope="session")
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    root = tmp_path / "services"
    for name in (HIDDEN, OPEN):
        (root / name).mkdir(parents=True)
        (root / name / "config.json").write_text(
            json.dumps({"description": name, "steps": [{"name": f"step of {name}"}]})
        )
        (root / name / "deploy.sh").write_text("#!/bin/sh\n")
        (root / name / "README.md").write_text(f"# {name}\n")
    (root / f"{HIDDEN}-broken").mkdir()
    settings = Settings(
        database_url=database_url,
        secret_key=SecretStr("0123456789abcdef" * 4),
        services_root=root,
        data_dir=tmp_path / "data",
    )
    hidden_ids: set[int] = set()

    def visible_to(actor: Actor) -> Visible:
        return Visible(frozenset(ids - hidden_ids)) if actor.name == "bob" else EVERYTHING

    state = create_app_state(settings, database_url, visible_to=visible_to)
    ids: set[int] = set()
    try:
        site = Site(state.bus, state.open_unit_of_work, FixedClock(utc_now()))
        await sync_services(state.folders, state.bus, state.open_unit_of_work, by=WORKER)
        async with state.open_unit_of_work() as uow:
            services = {service.name: service.id for service in await uow.services.list(visible=EVERYTHING)}
        ids |= set(services.values())
        hidden_ids.add(services[HIDDEN])
        world = World(state, site, services[HIDDEN], services[OPEN], {})
        await fill(world)
        yield world
    finally:
        await state.database.close()


def host_task(name: str) -> list[Entry]:
    """Return a task that ran on one host."""
    result = HostResult(task="t1", host=f"host of {name}", outcome=Outcome.OK)
    return [
        reported("Ping", "running", detail={"task": "t1"}, planned=True),
        HostReported(result, START),
        reported("Ping", detail={"task": "t1"}, planned=True),
    ]


async def fill(world: World) -> None:
    """Create users and tokens.

    For each service, create a successful, a running, and a waiting deployment with output.
    """
    state, site = world.state, world.site
    for name in ("ada", "bob"):
        user_id = world.users[name] = (await state.accounts.create(WORKER, name, PASSWORD, is_admin=True)).id
        world.tokens[name] = state.signer.sign(
            "user", str(user_id), now=utc_now(), lifetime=timedelta(hours=1), name=name, epoch=0
        )
        for service in (HIDDEN, OPEN):
            token = commands.RegisterServiceToken(
                token_id=f"{name} {service}",
                service_name=service,
                origin=service,
                expires=utc_now() + timedelta(days=1),
                user_id=user_id,
            )
            await state.bus.handle(token, by=WORKER)
    await site.beat()
    for service_id, name in ((world.hidden, HIDDEN), (world.shown, OPEN)):
        found = []
        for _ in range(3):
            start = {"origin": f"origin of {name}", "user_id": world.users["ada"], "context": {"env": {"key": name}}}
            found.append(await site.start(service_id, **start))
            if len(found) < 3:
                assert await site.claim() == found[-1]
                await site.take_in(found[-1], *host_task(name))
                await site.take_in(found[-1], line(f"output of {name}"), *([ended(0)] if len(found) == 1 else []))
        world.deployments[service_id] = found


def request(rule: Rule, service_id: int, deployment_id: int, token_id: str) -> tuple[str, Any]:
    path = rule.path.replace("{service_id}", str(service_id)).replace("{deployment_id}", str(deployment_id))
    path = path.replace("{token_id}", token_id).replace("{user_id}", str(NUMBER)).replace("{session_id}", TOKEN_ID)
    query = f"?deployment_id={deployment_id}" if rule.path == "/steps/" else ""
    return path + query, BODIES.get((rule.method, rule.path))


async def ask(client: httpx2.AsyncClient, rule: Rule, target: tuple[int, int, str]) -> tuple[int, str]:
    """Return the status and the body. Replace the IDs in the body, because error messages can contain them."""
    path, body = request(rule, *target)
    response = await client.request(rule.method, path, json=body)
    return response.status_code, response.text


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


class Socket:
    """One WebSocket connection to the application, without a network."""

    def __init__(self, world: World) -> None:
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.received: list[dict[str, Any]] = []
        self._changed = asyncio.Event()
        path = f"/deployments/ws/{uuid4()}"
        scope = {
            "type": "websocket",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [],
            "subprotocols": [],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "scheme": "ws",
            "root_path": "",
        }
        self._to_app.put_nowait({"type": "websocket.connect"})
        app = create_app(ready=world.state)
        self._task = asyncio.create_task(app(scope, self._to_app.get, self._from_app))

    async def _from_app(self, message: Any) -> None:
        if message["type"] == "websocket.send":
            self.received.append(json.loads(message["text"]))
            self._changed.set()

    def send(self, **fields: Any) -> None:
        self._to_app.put_nowait({"type": "websocket.receive", "text": json.dumps(fields)})

    async def wait_for(self, condition: Callable[[dict[str, Any]], object]) -> None:
        async def found() -> None:
            while not any(condition(message) for message in self.received):
                self._changed.clear()
                await self._changed.wait()

        await asyncio.wait_for(found(), 60)

    async def close(self) -> None:
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await self._task


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


def samples(world: World) -> dict[type, Command]:
    """Return one command of each class, about the hidden service and about another user."""
    deployment_id = world.deployments[world.hidden][1]
    expires = utc_now() + timedelta(days=1)
    return {
        type(command): command
        for command in (
            commands.CreateUser(name="eve", password_hash="hash"),
            commands.ChangeUser(user_id=1, is_admin=False),
            commands.ChangeOwnPassword(user_id=1, password_hash="hash"),
            commands.OpenSession(session_id="s1", user_id=1, expires=expires),
            commands.EndSessions(user_id=1),
            commands.RegisterServiceToken(
                token_id="t1", service_name=HIDDEN, origin="x", expires=expires, user_id=None
            ),
            commands.RegisterConfigToken(token_id="t2", origin="x", expires=expires, user_id=None),
            commands.RevokeToken(token_id=f"ada {HIDDEN}"),
            commands.SyncServices(folders=()),
            commands.DeleteService(service_id=world.hidden),
            commands.StartDeployment(service_id=world.hidden, origin="x", user="eve", user_id=None),
            commands.CancelDeployment(deployment_id=deployment_id, by="eve"),
            commands.ReleaseDeployment(deployment_id=deployment_id),
            commands.IngestOutput(deployment_id=deployment_id, entries=(line("x"),), offset_before=0, offset=1),
            commands.ShowOpenLine(deployment_id=deployment_id, number=1, at=expires, text="x"),
            commands.ReportStep(deployment_id=deployment_id, report=StepReport(name="x", state=StepState.SUCCESS)),
            commands.FinishDeployment(deployment_id=deployment_id),
            commands.ClaimDeployments(worker_id="w9"),
            commands.PrepareRun(deployment_id=deployment_id, token="x"),
            commands.KeepFiles(deployment_id=deployment_id, files={}),
            commands.FailLostRun(deployment_id=deployment_id, reason="x"),
            commands.RequeueDeployment(deployment_id=deployment_id),
            commands.ExpireDeployments(service_id=1, days=1, count=1),
            commands.Heartbeat(worker_id="w9", host="x", version="1", slots=1),
        )
    }


STRANGERS = [
    Actor(kind=TokenType.USER, expires=0, name="eve", user_id=NUMBER, visible=NOTHING),
    Actor(kind=TokenType.SERVICE, expires=0, service_id=NUMBER, visible=Visible(frozenset({NUMBER}))),
    Actor(kind=TokenType.DEPLOYMENT, expires=0, deployment_id=NUMBER, visible=NOTHING),
    Actor(kind=TokenType.CONFIG, expires=0, visible=EVERYTHING),
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
    given = samples(world)
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
    assert refused == len(COMMANDS) * len(STRANGERS) - 1  # users are allowed to sync
    assert await contents(world) == before


async def newest_entries(world: World, limit: int) -> list[Any]:
    async with world.state.open_unit_of_work() as uow:
        return list(await uow.audit.newest(limit))


async def test_commands_leave_audit_entries_in_their_transaction(world: World) -> None:
    bob = Actor(kind=TokenType.USER, expires=0, name="bob", user_id=2, visible=EVERYTHING)
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
