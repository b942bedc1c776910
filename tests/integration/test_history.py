"""Read the outcomes of earlier deployments and the snapshots taken when they started, against PostgreSQL."""

from __future__ import annotations

from deploy.domain.changes import Snapshot
from deploy.domain.commands import CancelDeployment, KeepFiles
from deploy.domain.model import DeploymentState, Lane
from deploy.domain.policy import WORKER
from deploy.domain.rights import EVERYTHING
from tests.runs import ended
from tests.site import Site


class TestFinished:
    async def test_the_last_deployments_of_a_service_are_listed_oldest_first(self, site: Site) -> None:
        await site.succeeded("blog")
        ids = [await site.succeeded() for _ in range(3)]
        failed = await site.running()
        await site.take_in(failed, ended(1))
        await site.running()
        service_id = await site.service()
        async with site.open_uow() as uow:
            every = await uow.history.finished(Lane(service_id), limit=100, visible=EVERYTHING)
            assert [(one.id, one.state) for one in every] == [
                *((number, DeploymentState.SUCCESS) for number in ids),
                (failed, DeploymentState.FAILURE),
            ]
            assert await uow.history.finished(Lane(service_id), limit=2, visible=EVERYTHING) == every[-2:]

    async def test_durations_are_seconds_from_start_to_end(self, site: Site) -> None:
        deployment_id = await site.running()
        started = site.clock.now
        await site.take_in(deployment_id, ended(0))
        finished = (await site.deployment(deployment_id)).finished
        assert finished is not None
        async with site.open_uow() as uow:
            (one,) = await uow.history.finished(Lane(await site.service()), limit=1, visible=EVERYTHING)
        assert (one.started, one.finished) == (started, finished)
        assert one.seconds == max(0.0, (finished - started).total_seconds())

    async def test_a_deployment_that_never_started_has_no_duration(self, site: Site) -> None:
        service_id = await site.service()
        deployment_id = await site.start(service_id)
        await site.bus.handle(CancelDeployment(deployment_id=deployment_id, by="ada"), by=WORKER)
        async with site.open_uow() as uow:
            (one,) = await uow.history.finished(Lane(service_id), limit=1, visible=EVERYTHING)
        assert (one.state, one.started, one.seconds) == (DeploymentState.CANCELLED, None, None)


class TestLastSuccessBefore:
    async def test_the_last_success_is_of_the_same_service_and_earlier(self, site: Site) -> None:
        first, second = await site.succeeded(), await site.succeeded()
        await site.succeeded("blog")
        failed = await site.running()
        await site.take_in(failed, ended(1))
        found = {}
        for number in (first, second, failed):
            async with site.open_uow() as uow:
                before = await uow.history.last_success_before(
                    await uow.deployments.get(number, visible=EVERYTHING), visible=EVERYTHING
                )
                found[number] = before.id if before is not None else None
        assert found == {first: None, second: first, failed: second}


class TestSnapshots:
    async def test_config_and_files_are_stored_at_the_start(self, site: Site) -> None:
        service_id = await site.service("shop", timeout=1)
        first = await site.start(service_id)
        await site.service("shop", timeout=2)
        second = await site.start(service_id)
        await site.bus.handle(KeepFiles(deployment_id=first, files={"deploy.sh": "ab"}), by=WORKER)
        await site.bus.handle(KeepFiles(deployment_id=second, files=None), by=WORKER)
        async with site.open_uow() as uow:
            found = await uow.history.snapshots([first, second, second + 1], visible=EVERYTHING)
        assert found == {first: Snapshot({"timeout": 1}, {"deploy.sh": "ab"}), second: Snapshot({"timeout": 2}, None)}

    async def test_files_of_a_deleted_deployment_are_deleted(self, site: Site) -> None:
        await site.bus.handle(KeepFiles(deployment_id=1, files={"deploy.sh": "ab"}), by=WORKER)
        async with site.open_uow() as uow:
            assert await uow.history.snapshots([1], visible=EVERYTHING) == {}
