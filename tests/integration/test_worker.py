"""Run a worker with real runs: deployments that cannot be started, and deployments with long contexts."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.adapters.database import Unreachable
from deploy.adapters.filesystem import ServiceFolders
from deploy.adapters.notifications import Listener
from deploy.adapters.runs import spec
from deploy.adapters.runs.fork_server import ForkServer
from deploy.adapters.runs.spec import LaunchSettings
from deploy.domain.commands import CancelDeployment, Heartbeat
from deploy.domain.model import Deployment, DeploymentState
from deploy.domain.policy import WORKER
from deploy.service_layer import enforcement
from deploy.service_layer import worker as workers
from deploy.service_layer.ingest import follow
from deploy.service_layer.retention import Retention
from deploy.service_layer.run_secrets import StoredSecrets
from deploy.service_layer.unit_of_work import OpenUnitOfWork
from deploy.service_layer.worker import Worker
from tests.conftest import inputs_of
from tests.integration.supervised_runs import running
from tests.runs import line
from tests.site import Site

TIMEOUT = 60.0
SignToken = Callable[[int, timedelta], str]
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlLW9mLXRoaXMtZGVwbG95bWVudA"
Working = Callable[..., AbstractAsyncContextManager[None]]


@pytest.fixture
def working(
    busy_site: Site,
    committing_uow: OpenUnitOfWork,
    database_url: str,
    services_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Working:
    """Return a context manager for a running worker that continuously polls for runs without a follower."""
    monkeypatch.setattr(workers, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(workers, "CLAIM_SECONDS", 0.05)

    @asynccontextmanager
    async def work(
        sign_token: SignToken = lambda _id, _lifetime: TOKEN, listener: Listener | None = None
    ) -> AsyncIterator[None]:
        worker = Worker(
            identity=Heartbeat(worker_id="w1", host="host1", version="1", slots=2),
            runs_dir=tmp_path / "runs",
            launch=LaunchSettings(
                services_root=services_root,
                path=os.environ["PATH"],
                home=str(tmp_path),
                api_url="http://127.0.0.1:1",
                timeout=3600,
                output_limit=1 << 26,
            ),
            folders=ServiceFolders(services_root),
            fork_server=ForkServer(None),
            bus=busy_site.bus,
            open_unit_of_work=committing_uow,
            run_secrets=StoredSecrets(inputs_of(committing_uow, services_root).vault),
            listener=listener or Listener(database_url),
            sign_token=sign_token,
            retention=Retention(busy_site.bus, committing_uow, 0, 0),
        )
        task = asyncio.create_task(worker.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return work


def script(services_root: Path, text: str, name: str = "shop") -> None:
    """Write the deploy script of a service."""
    path = services_root / name / "deploy.sh"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


async def ended(site: Site, deployment_id: int) -> Deployment:
    """Return a deployment once it is final."""

    async def look() -> Deployment:
        while (found := await site.deployment(deployment_id)).run_ended is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return found

    return await asyncio.wait_for(look(), TIMEOUT)


class TestFailedPreparation:
    @pytest.mark.parametrize("seconds", [999_999_999_999, 1e14, 1e300])
    async def test_a_timeout_accepted_by_an_older_version(
        self, busy_site: Site, services_root: Path, working: Working, seconds: float
    ) -> None:
        script(services_root, "#!/bin/sh\n")
        deployment_id = await busy_site.start(await busy_site.service(timeout=seconds))
        async with working():
            found = await ended(busy_site, deployment_id)
        assert found.state.value == "failure"
        assert found.reason == (
            "The deployment could not be started: The service's config is invalid: timeout must be a number of seconds, "
            "greater than 0 and at most 31536000. Correct its config.json, then sync the services."
        )

    async def test_an_unexpected_error_is_reported_once_and_logged(
        self, busy_site: Site, services_root: Path, working: Working, caplog: pytest.LogCaptureFixture
    ) -> None:
        def sign_token(_deployment_id: int, _lifetime: timedelta) -> str:
            attempts.append(_deployment_id)
            raise OverflowError("date value out of range")

        attempts: list[int] = []
        script(services_root, "#!/bin/sh\n")
        deployment_id = await busy_site.start(await busy_site.service())
        async with working(sign_token):
            found = await ended(busy_site, deployment_id)
            # The worker continues and does not try the deployment again.
            next_one = await busy_site.start(found.service_id)
            await ended(busy_site, next_one)
        assert found.state.value == "failure"
        assert found.reason == "The deployment could not be started: OverflowError: date value out of range"
        assert attempts == [deployment_id, next_one]
        logged = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert len(logged) == 2
        for record in logged:
            assert record.exc_info is not None
            assert "Failed to prepare deployment" in record.message

    async def test_other_deployments_still_run(self, busy_site: Site, services_root: Path, working: Working) -> None:
        script(services_root, "#!/bin/sh\nexit 0\n")
        deployment_id = await busy_site.start(await busy_site.service(timeout=31_536_000))
        async with working():
            assert (await ended(busy_site, deployment_id)).state.value == "success"


# About the maximum request size (1 MiB), either plain or escaped.
CONTEXTS = {
    "plain": "x" * 1_040_000,
    "Cyrillic": "ж" * 520_000,
    "beyond the first plane": "\U0001f600" * 260_000,
    "double quotes": '"' * 520_000,
    "newlines": "\n" * 520_000,
    "backslashes": "\\" * 520_000,
    "control characters": "\x01" * 170_000,
    "many names": [f"{number:x}" for number in range(100_000)],
}


class TestStartsOnce:
    async def test_a_started_run_whose_folder_is_gone_is_lost_and_not_started_again(
        self, busy_site: Site, services_root: Path, working: Working
    ) -> None:
        script(services_root, "#!/bin/sh\ntouch started\n")
        deployment_id = await busy_site.running()
        await busy_site.take_in(deployment_id, line("printed before the folder was removed"))
        async with working():
            found = await ended(busy_site, deployment_id)
        assert found.state is DeploymentState.FAILURE
        assert (found.reason or "").startswith("The run was lost")
        assert not (services_root / "shop" / "started").exists()

    async def test_a_claimed_run_that_did_not_start_is_started(
        self, busy_site: Site, services_root: Path, working: Working
    ) -> None:
        script(services_root, "#!/bin/sh\ntouch started\n")
        deployment_id = await busy_site.running()
        async with working():
            found = await ended(busy_site, deployment_id)
        assert found.state is DeploymentState.SUCCESS
        assert (services_root / "shop" / "started").exists()


class TestCancel:
    async def test_a_cancel_heard_while_a_run_is_starting_stops_it(
        self,
        busy_site: Site,
        services_root: Path,
        working: Working,
        database_url: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        script(services_root, "#!/bin/sh\nsleep 20\n")
        monkeypatch.setattr(follow, "FIRST_PAUSE", 0.01)
        listener = Listener(database_url)
        starting, heard, connected = asyncio.Event(), asyncio.Event(), asyncio.Event()
        listener.on_connect(connected.set)

        def sign_token(_id: int, _lifetime: timedelta) -> str:
            """Fail like a database that is away, which delays the start, until the cancel was heard."""
            starting.set()
            if not heard.is_set():
                raise Unreachable("The database is away.")
            return TOKEN

        listening = asyncio.create_task(listener.run())
        async with working(sign_token, listener):
            await asyncio.wait_for(connected.wait(), TIMEOUT)
            # Otherwise, the worker would send the cancel of a running deployment again with its next heartbeat.
            monkeypatch.setattr(workers, "HEARTBEAT_SECONDS", 3600.0)
            deployment_id = await busy_site.start(await busy_site.service())
            await asyncio.wait_for(starting.wait(), TIMEOUT)
            listener.on("cancel", lambda _: heard.set())
            await busy_site.bus.handle(CancelDeployment(deployment_id=deployment_id, by="bob"), by=WORKER)
            found = await ended(busy_site, deployment_id)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        assert found.state is DeploymentState.CANCELLED


class TestLongContexts:
    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(
                answer, marks=pytest.mark.slow if kind in {"plain", "double quotes", "newlines"} else (), id=kind
            )
            for kind, answer in CONTEXTS.items()
        ],
    )
    async def test_a_script_gets_a_long_context_unchanged(
        self, busy_site: Site, services_root: Path, tmp_path: Path, working: Working, answer: object
    ) -> None:
        script(services_root, f'#!/bin/sh\ncp "$DEPLOY_CONFIG_FILE" {tmp_path}/arrived\n')
        deployment_id = await busy_site.start(await busy_site.service(), context={"env": {"answer": answer}})
        async with working():
            found = await ended(busy_site, deployment_id)
        assert (found.state.value, found.reason) == ("success", None)
        arrived = json.loads((tmp_path / "arrived").read_text(encoding="utf-8"))
        assert arrived["context"]["env"] == {"answer": answer}

    # In the first tier, tests/integration/test_ansible_values.py shows that values reach playbooks.
    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["Cyrillic", "double quotes", "newlines", "backslashes"])
    async def test_a_playbook_gets_a_long_context_unchanged(
        self, busy_site: Site, services_root: Path, tmp_path: Path, working: Working, kind: str
    ) -> None:
        folder = services_root / "shop"
        folder.mkdir()
        copy = {"content": "{{ answer }}", "dest": str(tmp_path / "arrived")}
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [{"copy": copy}]}
        (folder / "site.yml").write_text(json.dumps([play]))
        service_id = await busy_site.service(ansible_playbook="site.yml")
        deployment_id = await busy_site.start(service_id, context={"env": {"answer": CONTEXTS[kind]}})
        async with working():
            found = await ended(busy_site, deployment_id)
        assert (found.state.value, found.reason) == ("success", None)
        assert (tmp_path / "arrived").read_text(encoding="utf-8") == CONTEXTS[kind]


# Prints its token in several forms, waits, and prints it again.
LEAK = """#!/bin/sh
token=$(sed -n 's/.*"access_token": "\\([^"]*\\)".*/\\1/p' "$2")
leak() {
  echo "token: $token"
  printf %s "$token" | base64
  echo "{\\"name\\": \\"Use $token\\", \\"state\\": \\"success\\", \\"message\\": \\"$token\\", \\"found\\": [\\"$token\\"]}"
}
leak
touch waiting
while [ ! -e go ]; do sleep 0.02; done
leak >&2
echo "{\\"name\\": \\"Fail\\", \\"state\\": \\"failure\\", \\"message\\": \\"$token\\"}"
"""


class TestDeploymentToken:
    async def test_it_is_masked_also_by_a_worker_that_adopts_the_run(
        self, busy_site: Site, services_root: Path, working: Working
    ) -> None:
        script(services_root, LEAK)
        deployment_id = await busy_site.start(await busy_site.service())
        folder = services_root / "shop"
        async with working():
            while not (folder / "waiting").exists():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        (folder / "go").touch()
        async with working(lambda _id, _lifetime: "the token of another run"):
            found = await ended(busy_site, deployment_id)
        assert found.reason == "The step “Fail” failed: ***"
        shown = json.dumps(await busy_site.messages(deployment_id))
        assert shown.count("token: ***") == 2
        lines = base64.b64encode(TOKEN.encode()).decode()
        parts = [TOKEN[:20], TOKEN[-20:], *(lines[start : start + 12] for start in range(len(lines) - 12))]
        assert [part for part in parts if part in shown] == []
        async with busy_site.open_uow() as uow:
            assert await uow.secrets.get(deployment_id) is None


# `supervisor` and `keeper` are the two processes above the script.
HOSTILE = """#!/bin/sh
keeper=$PPID
supervisor=$(cut -d ' ' -f 4 /proc/$PPID/stat)
echo $supervisor $keeper $$ > processes
"""


def processes_of(services_root: Path) -> list[int]:
    """Return the processes that a hostile script wrote down: its supervisor, its keeper, itself, and its children."""
    return [int(pid) for pid in (services_root / "shop" / "processes").read_text().split()]


async def until_hostile(services_root: Path) -> None:
    """Wait until a hostile script has done what it wanted to do."""
    while not (services_root / "shop" / "done").exists():  # noqa: ASYNC110
        await asyncio.sleep(0.02)


class TestEnforcement:
    @pytest.fixture(autouse=True)
    def impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(enforcement, "WATCH_SECONDS", 0.05)
        monkeypatch.setattr(enforcement, "STOPPED_GRACE", 0.1)
        monkeypatch.setattr(spec, "SCRIPT_GRACE", 0.5)

    @pytest.mark.parametrize("stop", ["kill -STOP $supervisor", "kill -STOP $supervisor $keeper"])
    async def test_a_stopped_supervisor_is_resumed_at_the_timeout(
        self, busy_site: Site, services_root: Path, working: Working, stop: str
    ) -> None:
        script(services_root, f"{HOSTILE}{stop}\ntouch done\nexec sleep 600\n")
        deployment_id = await busy_site.start(await busy_site.service(timeout=3))
        async with working():
            found = await ended(busy_site, deployment_id)
        assert (found.state.value, found.reason) == ("failure", "The run was stopped after its timeout of 3 s.")
        assert not [pid for pid in processes_of(services_root) if running(pid)]

    @pytest.mark.parametrize("ending", ["timeout", "cancel"])
    async def test_a_supervisor_that_is_stopped_again_and_again_is_replaced(
        self,
        busy_site: Site,
        services_root: Path,
        working: Working,
        monkeypatch: pytest.MonkeyPatch,
        ending: str,
    ) -> None:
        script(
            services_root,
            f"{HOSTILE}trap '' TERM INT HUP\nsetsid env -i sleep 600 &\necho $! >> processes\n"
            "touch done\nwhile :; do kill -STOP $supervisor $keeper; done\n",
        )
        deployment_id = await busy_site.start(await busy_site.service(timeout=600))
        async with working():
            await asyncio.wait_for(until_hostile(services_root), TIMEOUT)
        if ending == "cancel":  # while no worker is there
            await busy_site.bus.handle(CancelDeployment(deployment_id=deployment_id, by="bob"), by=WORKER)
        else:  # for the worker; the clock of the supervisor does not matter, it never gets far enough to read it
            later = SimpleNamespace(monotonic=lambda: time.monotonic() + 600)
            monkeypatch.setattr(enforcement, "time", later)
        async with working():
            found = await ended(busy_site, deployment_id)
        assert not [pid for pid in processes_of(services_root) if running(pid)]
        if ending == "cancel":
            assert (found.state.value, found.reason) == ("cancelled", found.cancel_requested)
        else:
            assert (found.state.value, found.reason) == ("failure", "The run was stopped after its timeout of 600 s.")
        assert "did not react" in json.dumps(await busy_site.messages(deployment_id))

    @pytest.mark.parametrize(
        "kill",
        [
            "kill -KILL $supervisor",
            "kill -KILL $keeper",
            "kill -KILL $supervisor $keeper",
            "kill -STOP $keeper; kill -KILL $supervisor",
        ],
    )
    async def test_nothing_of_a_killed_run_is_left_when_the_next_one_starts(
        self, busy_site: Site, services_root: Path, working: Working, monkeypatch: pytest.MonkeyPatch, kill: str
    ) -> None:
        monkeypatch.setattr(enforcement, "ORPHAN_GRACE", 0.1)
        script(
            services_root,
            "#!/bin/sh\n[ ! -e processes ] || { for pid in $(cat processes); do [ -e /proc/$pid/exe ] && echo $pid; done"
            " > left; exit 0; }\n"
            f"{HOSTILE.partition(chr(10))[2]}sleep 600 &\necho $! >> processes\nsetsid sleep 600 &\n"
            f"echo $! >> processes\n{kill}\nsleep 600\n",
        )
        service_id = await busy_site.service()
        first, second = await busy_site.start(service_id), await busy_site.start(service_id)
        async with working():
            found = await ended(busy_site, first)
            later = await ended(busy_site, second)
        assert found.state.value == "failure"
        assert str(found.reason).startswith("The run was lost: ")
        assert later.state.value == "success"
        assert (services_root / "shop" / "left").read_text() == ""
