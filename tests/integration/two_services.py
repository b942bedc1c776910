"""An application with two services, for tests of who can do what."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
from pydantic import SecretStr

from deploy.config import Settings
from deploy.domain import commands
from deploy.domain.commands import Command
from deploy.domain.model import HostResult, Outcome, Permission, StepReport, StepState
from deploy.domain.policy import WORKER
from deploy.domain.reports import Entry, HostReported
from deploy.domain.rights import EVERYTHING
from deploy.entrypoints.app_state import AppState, create_app_state
from deploy.entrypoints.fastapi_app import create_app
from deploy.service_layer.clock import utc_now
from deploy.service_layer.services import sync_services
from tests.conftest import FixedClock
from tests.routes import NUMBER, TOKEN_ID, Rule, rules_of
from tests.runs import START, ended, line, reported
from tests.site import Site

HIDDEN, OPEN = "zq-hidden", "zq-open"
PASSWORD = "a password of twelve"
RULES = [rule for rule in rules_of(create_app().routes) if rule.action is not None]
# The bodies that routes need. Other routes do not need one.
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/service-token"): {"service": HIDDEN, "origin": "test"},
    ("POST", "/users/"): {"name": "carol", "password": PASSWORD},
    ("POST", "/groups/"): {"name": "crew"},
    ("PATCH", "/groups/{group_id}"): {"name": "crew"},
    ("POST", "/access/"): {},
    ("POST", "/access/preview"): {},
    ("POST", "/users/me/password"): {"current": "wrong", "new": PASSWORD},
}


@dataclass
class World:
    """An application with two services. The open one has the tag `web`. Ada is an administrator, and Bob is not."""

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


@asynccontextmanager
async def two_services(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """Yield an application with two services."""
    root = tmp_path / "services"
    for name in (HIDDEN, OPEN):
        (root / name).mkdir(parents=True)
        (root / name / "config.json").write_text(
            json.dumps(
                {"description": name, "steps": [{"name": f"step of {name}"}], "tags": ["web"] if name == OPEN else []}
            )
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
    state = create_app_state(settings, database_url)
    try:
        site = Site(state.bus, state.open_unit_of_work, FixedClock(utc_now()))
        await sync_services(state.folders, state.bus, state.open_unit_of_work, by=WORKER)
        async with state.open_unit_of_work() as uow:
            services = {service.name: service.id for service in await uow.services.list(visible=EVERYTHING)}
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
        user_id = world.users[name] = (await state.accounts.create(WORKER, name, PASSWORD, is_admin=name == "ada")).id
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
    path = path.replace("{group_id}", str(NUMBER))
    query = f"?deployment_id={deployment_id}" if rule.path == "/steps/" else ""
    return path + query, BODIES.get((rule.method, rule.path))


async def ask(client: httpx2.AsyncClient, rule: Rule, target: tuple[int, int, str]) -> tuple[int, str]:
    """Return the status and the body. Replace the IDs in the body, because error messages can contain them."""
    path, body = request(rule, *target)
    response = await client.request(rule.method, path, json=body)
    return response.status_code, response.text


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


def samples(world: World, service: str) -> dict[type, Command]:
    """Return one command of each class, about one of the services or about the first user."""
    service_id = world.hidden if service == HIDDEN else world.shown
    deployment_id = world.deployments[service_id][1]
    expires = utc_now() + timedelta(days=1)
    return {
        type(command): command
        for command in (
            commands.CreateUser(name="eve", password_hash="hash"),
            commands.ChangeUser(user_id=1, is_admin=False),
            commands.ChangeOwnPassword(user_id=1, password_hash="hash"),
            commands.ChangeAccess(add=(commands.NewGrant(Permission.VIEW, user_id=1),)),
            commands.CreateGroup(name="crew"),
            commands.RenameGroup(group_id=1, name="crew"),
            commands.DeleteGroup(group_id=1),
            commands.OpenSession(session_id="s1", user_id=1, expires=expires),
            commands.EndSessions(user_id=1),
            commands.RegisterServiceToken(
                token_id="t1", service_name=service, origin="x", expires=expires, user_id=None
            ),
            commands.RegisterConfigToken(token_id="t2", origin="x", expires=expires, user_id=None),
            commands.RevokeToken(token_id=f"ada {service}"),
            commands.SyncServices(folders=()),
            commands.DeleteService(service_id=service_id),
            commands.StartDeployment(service_id=service_id, origin="x", user="eve", user_id=None),
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
