"""Follow real runs: everything in their spool is stored in the database, each line once."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from deploy.adapters.database.url import dsn_of
from deploy.adapters.runs.directory import RunDirectory
from deploy.domain.masking import Mask
from deploy.domain.model import DeploymentState
from deploy.domain.rights import EVERYTHING
from deploy.service_layer import reaper
from deploy.service_layer.ingest import follow as follower
from deploy.service_layer.ingest.follow import Follower
from deploy.service_layer.output import read_lines
from deploy.service_layer.reaper import Reaper
from deploy.service_layer.unit_of_work import UnitOfWork
from tests.databases import Databases
from tests.integration.supervised_runs import Runs, supervised_runs, wait_until
from tests.site import Site

TIMEOUT = 60.0


@pytest.fixture
def runs() -> Iterator[Runs]:
    with supervised_runs() as started:
        yield started


@dataclass
class Followed:
    """A deployment, and the directory of its run."""

    site: Site
    deployment_id: int
    directory: RunDirectory

    def follower(self, *secrets: str, refusal: str = "") -> Follower:
        """Return a new follower, like the one a worker creates after it starts."""
        mask = Mask(secrets)
        return Follower(
            self.deployment_id, self.directory, self.site.bus, self.site.open_uow, mask, refusal=lambda: refusal
        )

    async def follow(self, *secrets: str, refusal: str = "") -> None:
        """Follow the run until it ends."""
        await asyncio.wait_for(self.follower(*secrets, refusal=refusal).follow(), TIMEOUT)

    async def lines(self) -> list[str]:
        """Return the stored output. Its line numbers must not have gaps."""
        async with self.site.open_uow() as uow:
            found, _ = await read_lines(uow, self.deployment_id, after=0, limit=1_000_000, visible=EVERYTHING)
        assert [line["n"] for line in found] == list(range(1, len(found) + 1))
        return [line["text"] for line in found]

    async def state(self) -> DeploymentState:
        return (await self.site.deployment(self.deployment_id)).state


async def started(site: Site, runs: Runs, script: str, **more: Any) -> Followed:
    """Return a deployment whose script is running."""
    deployment_id = await site.running()
    run = runs.sh(script, **more)
    return Followed(site, deployment_id, run.directory)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition in the database. Fail after TIMEOUT."""

    async def look() -> None:
        while not await follower.persistently(condition):  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)

    await asyncio.wait_for(look(), TIMEOUT)


async def until_lines(followed: Followed, count: int) -> None:
    """Wait until `count` lines are stored."""

    async def are_stored() -> bool:
        return (await followed.site.deployment(followed.deployment_id)).lines >= count

    await until(are_stored)


class TestFollow:
    async def test_a_successful_run_is_stored(self, busy_site: Site, runs: Runs) -> None:
        followed = await started(busy_site, runs, 'echo one; echo \'{"name": "A", "state": "success"}\'; echo two >&2')
        await followed.follow()
        assert await followed.lines() == ["one", "two"]
        assert await followed.state() is DeploymentState.SUCCESS
        assert await busy_site.states(followed.deployment_id) == {"A": "success"}

    async def test_a_failing_run_is_stored(self, busy_site: Site, runs: Runs) -> None:
        followed = await started(busy_site, runs, "echo one; exit 3")
        await followed.follow()
        deployment = await busy_site.deployment(followed.deployment_id)
        assert (deployment.state, deployment.exit_code) == (DeploymentState.FAILURE, 3)

    async def test_an_error_of_the_supervisor_is_reported_unchanged(self, busy_site: Site, runs: Runs) -> None:
        followed = await started(busy_site, runs, "echo ready; exec sleep 600")
        (run,) = runs.started
        run.wait_for("ready")
        resource.prlimit(run.process.pid, resource.RLIMIT_NOFILE, (0, 1024))
        run.cancel()  # must fail, because the supervisor cannot even list the script's processes
        await followed.follow()
        deployment = await busy_site.deployment(followed.deployment_id)
        assert deployment.state is DeploymentState.FAILURE
        assert str(deployment.reason).startswith("The run's supervisor failed and stopped the run: ")

    async def test_lines_are_stored_while_the_run_continues(self, busy_site: Site, runs: Runs) -> None:
        gate = runs.folder / "gate"
        followed = await started(busy_site, runs, f"echo one; while [ ! -e {gate} ]; do sleep 0.01; done; echo two")
        following = asyncio.create_task(followed.follow())
        await until_lines(followed, 1)
        assert await followed.state() is DeploymentState.RUNNING
        gate.touch()
        await following
        assert await followed.lines() == ["one", "two"]

    async def test_a_flood_of_output_is_stored_completely(self, busy_site: Site, runs: Runs) -> None:
        followed = await started(busy_site, runs, "seq 30000")
        await followed.follow()
        assert await followed.lines() == [str(number) for number in range(1, 30_001)]

    async def test_another_follower_continues_where_one_stopped(self, busy_site: Site, runs: Runs) -> None:
        gate = runs.folder / "gate"
        script = f"seq 100; while [ ! -e {gate} ]; do sleep 0.01; done; seq 101 200"
        followed = await started(busy_site, runs, script)
        for count in (1, 50, 100):
            following = asyncio.create_task(followed.follow())
            await until_lines(followed, count)
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following
        gate.touch()
        await followed.follow()
        assert await followed.lines() == [str(number) for number in range(1, 201)]

    async def test_a_follower_starting_within_a_long_line_masks_the_rest_of_a_secret(
        self, busy_site: Site, runs: Runs
    ) -> None:
        gate = runs.folder / "gate"
        script = f"printf 'password: hunter2-hun'; while [ ! -e {gate} ]; do sleep 0.01; done; echo ter2; echo done"
        followed = await started(busy_site, runs, script, line_limit=20)
        following = asyncio.create_task(followed.follow("hunter2-hunter2"))
        await until_lines(followed, 1)
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
        gate.touch()
        await followed.follow("hunter2-hunter2")
        assert await followed.lines() == ["password: ***", "***", "done"]

    async def test_the_reason_that_a_run_did_not_start_is_masked(self, busy_site: Site, runs: Runs) -> None:
        directory = RunDirectory.create(runs.root, await busy_site.running())
        followed = Followed(busy_site, int(directory.path.name), directory)
        await followed.follow("hunter2-hunter2", refusal="sudo: hunter2-hunter2 is not allowed")
        reason = (await busy_site.deployment(followed.deployment_id)).reason
        assert reason == "The deployment could not be started: sudo: *** is not allowed"

    async def test_two_followers_count_nothing_twice(self, busy_site: Site, runs: Runs) -> None:
        followed = await started(busy_site, runs, "seq 3000")
        await asyncio.gather(followed.follow(), followed.follow())
        assert await followed.lines() == [str(number) for number in range(1, 3001)]

    async def test_a_follower_of_a_stored_run_has_nothing_to_do(self, busy_site: Site, runs: Runs) -> None:
        followed = await started(busy_site, runs, "echo one")
        await followed.follow()
        before = await busy_site.messages(followed.deployment_id)
        await followed.follow()
        assert await busy_site.messages(followed.deployment_id) == before

    async def test_the_follower_polls_without_wake_ups(
        self, busy_site: Site, runs: Runs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(follower, "POLL_SECONDS", 0.01)
        monkeypatch.setattr(Follower, "_on_wake", lambda _follower, wake: RunDirectory.drain_wake(wake))
        followed = await started(busy_site, runs, "echo one; sleep 0.1; echo two")
        await followed.follow()
        assert await followed.lines() == ["one", "two"]


class TestLostRuns:
    async def test_a_dead_supervisor_fails_the_run(self, busy_site: Site, runs: Runs) -> None:
        followed = await started(busy_site, runs, "echo one; exec sleep 600")
        runs.started[0].wait_for("one")
        runs.started[0].process.kill()
        await followed.follow()
        deployment = await busy_site.deployment(followed.deployment_id)
        assert deployment.state is DeploymentState.FAILURE
        assert (deployment.reason or "").startswith("The run was lost: its supervisor died before reporting a result")
        assert await followed.lines() == ["one"]

    @pytest.mark.parametrize("refusal", ["sudo: no", "sudo: n\0"])
    async def test_a_supervisor_that_cannot_be_started_fails_the_run(
        self, busy_site: Site, runs: Runs, refusal: str
    ) -> None:
        directory = RunDirectory.create(runs.root, 1)
        followed = Followed(busy_site, await busy_site.running(), directory)
        await followed.follow(refusal=refusal)
        deployment = await busy_site.deployment(followed.deployment_id)
        assert deployment.state is DeploymentState.FAILURE
        assert (deployment.reason or "").startswith("The deployment could not be started: sudo: n")

    @pytest.mark.parametrize("first", ["exec sleep 600", "echo one; exec sleep 600"])
    async def test_a_run_that_had_started_is_reported_as_lost(self, busy_site: Site, runs: Runs, first: str) -> None:
        followed = await started(busy_site, runs, first)
        run = runs.started[0]
        following = asyncio.create_task(followed.follow(refusal="sudo: no"))
        if "echo" in first:
            await until_lines(followed, 1)
        else:
            await asyncio.to_thread(wait_until, run.directory.started)
        run.process.kill()
        await following
        deployment = await busy_site.deployment(followed.deployment_id)
        assert (deployment.reason or "").startswith("The run was lost: its supervisor died before reporting a result")

    async def test_a_damaged_spool_fails_the_run(self, busy_site: Site, runs: Runs) -> None:
        followed = await started(busy_site, runs, "echo one")
        runs.started[0].outcome()
        with open(followed.directory.spool, "ab") as spool:
            spool.write(b"no record\n")
        await followed.follow()
        deployment = await busy_site.deployment(followed.deployment_id)
        assert deployment.state is DeploymentState.FAILURE
        assert "its spool cannot be read" in (deployment.reason or "")


class TestWithoutTheDatabase:
    @pytest_asyncio.fixture(loop_scope="session")
    async def followed(self, busy_site: Site, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Followed]:
        """Yield a run that prints a line whenever the test creates the next file."""
        monkeypatch.setattr(follower, "FIRST_PAUSE", 0.01)
        gates = runs.folder / "gates"
        gates.mkdir()
        script = f"for n in 1 2 3 4; do while [ ! -e {gates}/$n ]; do sleep 0.01; done; seq 100; done"
        yield await started(busy_site, runs, script)

    async def test_runs_continue_and_nothing_is_lost(
        self, followed: Followed, runs: Runs, databases: Databases, database_url: str
    ) -> None:
        following = asyncio.create_task(followed.follow())
        for number in (1, 2, 3, 4):
            (runs.folder / "gates" / str(number)).touch()
            await databases.cut_connections(database_url)
        await following
        assert await followed.lines() == [str(number) for number in range(1, 101)] * 4
        assert await followed.state() is DeploymentState.SUCCESS


class Monotonic:
    """A monotonic clock that stands still until a test advances it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Return the current time of this clock."""
        return self.now


async def _is(value: bool) -> bool:
    return value


class TestReaper:
    @pytest.fixture
    def reaper_without_grace(self, busy_site: Site, monkeypatch: pytest.MonkeyPatch) -> Reaper:
        """Return a reaper without a grace period."""
        monkeypatch.setattr(reaper, "OUTAGE_GRACE_SECONDS", 0.0)
        return Reaper(busy_site.bus, busy_site.open_uow, grace_seconds=0.0)

    async def test_runs_of_dead_workers_fail(self, busy_site: Site, reaper_without_grace: Reaper) -> None:
        await busy_site.beat("w1", "far")
        deployment_id = await busy_site.running()
        await reaper_without_grace._check()
        deployment = await busy_site.deployment(deployment_id)
        assert deployment.state is DeploymentState.FAILURE
        assert (deployment.reason or "").startswith("The run was lost: the worker on far has not been seen")

    async def test_after_an_outage_workers_get_time_for_a_heartbeat(
        self, busy_site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await busy_site.beat()
        deployment_id = await busy_site.running()
        async with busy_site.open_uow() as uow:
            await uow.workers._driver.execute("UPDATE workers SET last_seen = now() - interval '1 hour'")
        reaper_with_grace = Reaper(busy_site.bus, busy_site.open_uow, grace_seconds=60.0)
        await reaper_with_grace._check()
        await reaper_with_grace._check()
        assert (await busy_site.deployment(deployment_id)).state is DeploymentState.RUNNING
        monkeypatch.setattr(reaper, "OUTAGE_GRACE_SECONDS", 0.0)
        await reaper_with_grace._check()
        assert (await busy_site.deployment(deployment_id)).state is DeploymentState.FAILURE

    async def test_an_outage_gives_workers_time_for_a_heartbeat(
        self,
        busy_site: Site,
        monkeypatch: pytest.MonkeyPatch,
        databases: Databases,
        database_url: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """During a real outage, workers cannot send heartbeats. Only the reaper's clock is under control."""
        clock, checks = Monotonic(), 0
        monkeypatch.setattr(reaper, "time", clock)
        monkeypatch.setattr(reaper, "POLL_SECONDS", 0.01)

        @contextlib.asynccontextmanager
        async def counted() -> AsyncIterator[UnitOfWork]:
            nonlocal checks
            async with busy_site.open_uow() as uow:
                yield uow
            checks += 1

        async def until_checked() -> None:
            before = checks
            await until(lambda: _is(checks >= before + 3))

        async def is_final(deployment_id: int) -> bool:
            return (await busy_site.deployment(deployment_id)).state.is_final

        await busy_site.beat("w0", "gone")
        await busy_site.beat("w1", "here")
        lost, survivor = await busy_site.running("blog"), await busy_site.running("shop")
        silent = "UPDATE workers SET last_seen = now() - interval '2 hours' WHERE id = $1"
        async with busy_site.open_uow() as uow:
            await uow.workers._driver.execute("UPDATE deployments SET worker_id = 'w0' WHERE id = $1", lost)
            await uow.workers._driver.execute(silent, "w0")
        working = asyncio.create_task(Reaper(busy_site.bus, counted, grace_seconds=60.0).run())
        await until_checked()
        clock.now += 100
        await until(lambda: is_final(lost))  # from now on, the reaper acts at once
        outage = await asyncpg.connect(dsn_of(database_url))
        change = outage.transaction()
        await change.start()
        await outage.execute(silent, "w1")  # while the database is away, no heartbeat arrives
        await databases.allow_connections(database_url, allowed=False)
        others = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> $1"
        )
        await outage.execute(others, outage.get_server_pid())
        await until(lambda: _is("Failed to check for lost runs" in caplog.text))
        await change.commit()
        await outage.close()
        await databases.allow_connections(database_url, allowed=True)
        await until_checked()
        assert not await is_final(survivor)
        clock.now += 100
        await until(lambda: is_final(survivor))
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working

    async def test_deployments_without_a_job_are_requeued(self, busy_site: Site, reaper_without_grace: Reaper) -> None:
        deployment_id = await busy_site.start(await busy_site.service())
        async with busy_site.open_uow() as uow:
            job = (await uow.deployments.get(deployment_id, visible=EVERYTHING)).job_id
            assert job is not None
            await uow.queue.withdraw(job)
        assert await busy_site.claim() is None
        await reaper_without_grace._check()
        assert await busy_site.claim() == deployment_id

    async def test_an_outage_does_not_stop_the_reaper(
        self,
        busy_site: Site,
        reaper_without_grace: Reaper,
        monkeypatch: pytest.MonkeyPatch,
        databases: Databases,
        database_url: str,
    ) -> None:
        monkeypatch.setattr(reaper, "POLL_SECONDS", 0.01)
        await busy_site.beat()
        deployment_id = await busy_site.running()
        reaper_without_grace._grace_seconds = 1_000_000.0
        working = asyncio.create_task(reaper_without_grace.run())
        for _ in range(3):
            await databases.cut_connections(database_url)
        reaper_without_grace._grace_seconds = 0.0

        async def is_over() -> bool:
            return (await busy_site.deployment(deployment_id)).state.is_final

        await until(is_over)
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
