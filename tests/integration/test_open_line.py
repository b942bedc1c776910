"""A line that a run has not ended yet: from the run to the clients that follow the deployment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from deploy.domain.masking import Mask
from deploy.domain.rights import EVERYTHING
from deploy.service_layer.ingest.follow import Follower
from deploy.service_layer.output import read_lines
from tests.integration.supervised_runs import Runs, supervised_runs, wait_until
from tests.integration.test_live_feed import Channel, Viewer, until
from tests.site import Site


@pytest.fixture
def runs() -> Iterator[Runs]:
    with supervised_runs() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="session")
async def channel(busy_site: Site, database_url: str) -> AsyncIterator[Channel]:
    channel = Channel(busy_site, database_url)
    await channel.listen()
    channel.run()
    yield channel
    await channel.stop()


def open_lines(viewer: Viewer, deployment_id: int) -> list[tuple[int, str]]:
    return [(message["n"], message["text"]) for message in viewer.of(deployment_id) if message["type"] == "open_line"]


def test_the_supervisor_records_a_line_before_it_ends(runs: Runs) -> None:
    run = runs.sh("printf 'Waiting for the database '; sleep 60")
    wait_until(lambda: [record.data for record in run.records() if record.kind == "open"])
    assert [record.data for record in run.records() if record.kind == "open"] == ["Waiting for the database "]
    assert run.lines() == []
    run.cancel()


def test_reports_and_events_are_no_open_lines(runs: Runs) -> None:
    run = runs.sh("""printf '{"name": "Build",'; echo done >&2; printf 'rest'; sleep 60""")
    wait_until(lambda: [record.data for record in run.records() if record.kind == "open"])
    assert [record.data for record in run.records() if record.kind == "open"] == ["rest"]
    run.cancel()


@pytest.mark.asyncio(loop_scope="session")
async def test_followers_receive_a_line_before_it_ends_and_it_is_not_stored(channel: Channel, runs: Runs) -> None:
    site, deployment_id = channel.site, await channel.site.running()
    viewer, other = await channel.viewer(), await channel.viewer()
    await channel.feed.subscribe(viewer.client, deployment_id, 0)
    script = "echo first; printf 'key hunter2-and'; while [ ! -e ended ]; do sleep 0.01; done; echo; echo last"
    run = runs.sh(script)
    follower = Follower(deployment_id, run.directory, site.bus, site.open_uow, Mask(["hunter2-and-more"]))
    following = asyncio.create_task(follower.follow())
    await until(lambda: open_lines(viewer, deployment_id))
    assert open_lines(viewer, deployment_id) == [(2, "key ***")]
    assert open_lines(other, deployment_id) == []

    late = await channel.viewer()
    await channel.feed.subscribe(late.client, deployment_id, 0)
    await until(lambda: open_lines(late, deployment_id))

    (runs.folder / "ended").touch()
    await following
    async with site.open_uow() as uow:
        found, _ = await read_lines(uow, deployment_id, after=0, limit=10, visible=EVERYTHING)
    assert [line["text"] for line in found] == ["first", "key hunter2-and", "last"]
