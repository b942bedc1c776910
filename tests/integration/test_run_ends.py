"""The end of a run is stored completely or not at all, whenever the process or the database dies."""

from __future__ import annotations

import pytest

from deploy.adapters.database import DATABASE_ERRORS
from deploy.domain.commands import FailLostRun
from deploy.domain.model import DeploymentState
from deploy.domain.policy import WORKER
from tests.runs import ended, line, reported
from tests.site import Site

REFUSE = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'refused'; END$$"
CHANGES = ["DELETE ON procrastinate_jobs", "UPDATE ON procrastinate_jobs", "INSERT OR UPDATE ON deployed_services"]


async def execute(site: Site, statement: str) -> None:
    """Change the database directly, bypassing the product."""
    async with site.open_uow() as uow:
        await uow.workers._driver.execute(statement)


async def refuse(site: Site, change: str) -> None:
    """Make every such change fail, as if the database died at that moment."""
    await execute(site, REFUSE)
    await execute(site, f"CREATE TRIGGER refuse BEFORE {change} FOR EACH ROW EXECUTE FUNCTION refuse()")


async def allow(site: Site) -> None:
    """Allow all changes again."""
    await execute(site, "DROP FUNCTION refuse CASCADE")


@pytest.mark.parametrize("change", CHANGES)
async def test_an_end_that_cannot_be_stored_completely_is_stored_later(busy_site: Site, change: str) -> None:
    deployment_id = await busy_site.running(steps=("A", "B"))
    await refuse(busy_site, change)
    failed = False
    try:
        await busy_site.take_in(deployment_id, line(), reported("A"), ended(0))
    except DATABASE_ERRORS:
        failed = True
    deployment = await busy_site.deployment(deployment_id)
    assert (deployment.run_ended is None, deployment.state is DeploymentState.RUNNING) == (failed, failed)
    await allow(busy_site)
    if failed:
        assert deployment.spool_offset == 0
        assert await busy_site.states(deployment_id) == {"A": "pending", "B": "pending"}
        await busy_site.take_in(deployment_id, line(), reported("A"), ended(0))
    assert (await busy_site.deployment(deployment_id)).state is DeploymentState.SUCCESS
    # The service is free for its next deployment.
    following = await busy_site.start(deployment.service_id)
    assert await busy_site.claim() == following


async def test_at_least_the_queue_is_changed_with_the_end(busy_site: Site) -> None:
    """Otherwise, the test above would not test anything."""
    deployment_id = await busy_site.running()
    for change in CHANGES[:2]:
        await refuse(busy_site, change)
        try:
            await busy_site.take_in(deployment_id, ended(0))
        except DATABASE_ERRORS:
            return
        finally:
            await allow(busy_site)
    pytest.fail("The end of a run does not change the queue.")


@pytest.mark.parametrize("change", CHANGES[:2])
async def test_a_lost_run_is_failed_completely_or_not_at_all(busy_site: Site, change: str) -> None:
    deployment_id = await busy_site.running(steps=("A",))
    await refuse(busy_site, change)
    failed = False
    try:
        await busy_site.bus.handle(FailLostRun(deployment_id=deployment_id, reason="Lost."), by=WORKER)
    except DATABASE_ERRORS:
        failed = True
    assert ((await busy_site.deployment(deployment_id)).state is DeploymentState.RUNNING) == failed
    await allow(busy_site)
    await busy_site.bus.handle(FailLostRun(deployment_id=deployment_id, reason="Lost."), by=WORKER)
    assert (await busy_site.deployment(deployment_id)).state is DeploymentState.FAILURE
