"""Count the statements of a deployment. Each one is a round trip that takes processor time in two processes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from deploy.adapters.database import Database
from deploy.adapters.filesystem import ServiceFolders
from deploy.adapters.repository import Change, Version
from deploy.domain.commands import ClaimDeployments, IngestOutput, PrepareRun, StartDeployment
from deploy.domain.policy import WORKER, Actor, TokenType
from deploy.domain.rights import ALL_RIGHTS, EVERYTHING
from deploy.service_layer.bootstrap import create_bus
from deploy.service_layer.unit_of_work import unit_of_work
from tests.conftest import FixedClock, inputs_of
from tests.runs import ended, reported
from tests.site import Site, queued

MAX_ID = 2**62


class CountedSite(Site):
    """A site that logs its statements."""

    caplog: pytest.LogCaptureFixture

    async def statements_of(self, work: Awaitable[Any]) -> list[str]:
        """Return the beginnings of the statements that `work` executes, including those of its transaction."""
        with self.caplog.at_level(logging.INFO, "deploy.adapters.database"):
            await asyncio.sleep(0)  # the driver's statements are logged in the next loop iteration
            self.caplog.clear()
            await work
            await asyncio.sleep(0)
        texts = [record.getMessage().partition(": ")[2] for record in self.caplog.records]
        # A new connection reads each type once, with JIT off.
        texts = [text for text in texts if "typeinfo_tree" not in text and "'jit'" not in text]
        return [text.partition(" FROM ")[0].partition("(")[0].strip(" ;") for text in texts]


@pytest_asyncio.fixture(loop_scope="session")
async def site(
    database_url: str, services_root: Path, clock: FixedClock, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[CountedSite]:
    """Yield a site on a database of its own, with both kinds of units of work, as in a process."""
    database = Database(database_url, log_sql=True)
    open_uow = unit_of_work(database.transaction)
    inputs = inputs_of(open_uow, services_root)
    bus = create_bus(open_uow, ServiceFolders(services_root), clock, inputs, unit_of_work(database.connection))
    made = CountedSite(bus, open_uow, clock)
    made.caplog = caplog
    yield made
    await database.close()


def started(service_id: int, **more: Any) -> StartDeployment:
    return StartDeployment(service_id=service_id, origin="CI", user="ada", user_id=None, **more)


def with_service_token(service_id: int) -> Actor:
    return Actor(kind=TokenType.SERVICE, expires=0.0, name="ada", service_id=service_id, rights=ALL_RIGHTS)


async def test_a_start_reads_and_locks_its_service_once(site: CountedSite) -> None:
    service_id = await site.service()
    await site.start(service_id)  # reserves IDs for the steps of later deployments
    by = with_service_token(service_id)
    statements = await site.statements_of(site.bus.handle(started(service_id), by=by))
    assert [text.split()[0] for text in statements] == [
        "BEGIN",
        "SELECT",
        "SELECT",
        "SELECT",
        "WITH",
        "WITH",
        "INSERT",
        "COMMIT",
    ]
    assert sum("services.id" in text for text in statements) == 1


async def test_a_claim_without_waiting_deployments_is_one_statement(site: CountedSite) -> None:
    await site.running()
    assert len(await site.statements_of(site.claim())) == 1


async def test_the_end_of_a_short_run_does_not_read_its_deployment(site: CountedSite) -> None:
    deployment_id = await site.running(steps=("Deploy",))
    entries = (reported("Deploy"), ended(0))
    command = IngestOutput(deployment_id=deployment_id, entries=entries, offset_before=0, offset=20)
    statements = await site.statements_of(site.bus.handle(command, by=WORKER))
    assert [text.split()[0] for text in statements] == ["SELECT", "BEGIN", "WITH", "WITH", "COMMIT"]
    assert await site.states(deployment_id) == {"Deploy": "success"}


async def test_the_token_of_a_run_without_other_secrets_is_stored_in_one_statement(site: CountedSite) -> None:
    command = PrepareRun(deployment_id=await site.running(), token="the-deployment-token")
    statements = await site.statements_of(site.bus.handle(command, by=WORKER))
    assert [text.split()[0] for text in statements] == ["INSERT"]


async def test_a_change_after_the_claim_is_noticed_at_the_first_batch(site: CountedSite) -> None:
    deployment_id = await site.running(steps=("Deploy",))
    async with site.open_uow() as uow:
        (step,) = await uow.steps.open_of(deployment_id)
        deployment = await uow.deployments.get(deployment_id, for_update=True, visible=EVERYTHING)
        deployment.cancel_requested, version = "Cancelled by ada.", Version.of(deployment)
        deployment.seq += 1
        assert await uow.batches.store(Change(deployment=deployment, version=version, removed=[step.id]))
    await site.take_in(deployment_id, reported("Other"), ended(0))
    assert (await site.deployment(deployment_id)).cancel_requested == "Cancelled by ada."
    assert await site.states(deployment_id) == {"Other": "success"}


async def test_all_waiting_deployments_are_claimed_in_one_transaction(site: CountedSite) -> None:
    for name in ("shop", "blog", "wiki"):
        await site.start(await site.service(name))
    command = ClaimDeployments(worker_id="w1", limit=5)
    statements = await site.statements_of(site.bus.handle(command, by=WORKER))
    assert [text.split()[0] for text in statements] == ["SELECT", "BEGIN", "SELECT", "SELECT", "WITH", "COMMIT"]


async def test_each_deployment_has_one_job_that_names_it(site: CountedSite) -> None:
    service_id = await site.service()
    deployment_ids = [queued(await site.bus.handle(started(service_id), by=WORKER)) for _ in range(3)]
    async with site.open_uow() as uow:
        jobs = await uow.queue.jobs(visible=EVERYTHING, last=MAX_ID)
    assert sorted((job.deployment_id, job.id) for job in jobs) == [
        (deployment_id, (await site.deployment(deployment_id)).job_id) for deployment_id in deployment_ids
    ]
