"""The files of a service are recorded when its deployments start."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from pathlib import Path

import pytest

from deploy.adapters.service_folders.digests import folder_digests
from deploy.domain.changes import Snapshot
from deploy.domain.rights import EVERYTHING
from deploy.service_layer.snapshots import Snapshots
from tests.site import Site


async def kept(site: Site, deployment_id: int) -> Snapshot:
    """Return the snapshot of a deployment."""
    async with site.open_uow() as uow:
        return (await uow.history.snapshots([deployment_id], visible=EVERYTHING))[deployment_id]


async def stored(snapshots: Snapshots) -> None:
    """Wait for background tasks."""
    await asyncio.gather(*snapshots._tasks)


async def test_a_start_stores_a_snapshot(busy_site: Site, services_root: Path) -> None:
    folder = services_root / "shop"
    folder.mkdir()
    (folder / "deploy.sh").write_text("#!/bin/sh\n")
    deployment_id = await busy_site.running("shop")
    snapshots = Snapshots(services_root, busy_site.bus)
    await snapshots.take(await busy_site.deployment(deployment_id))
    await stored(snapshots)
    assert (await kept(busy_site, deployment_id)).files == folder_digests(folder)


async def test_a_start_succeeds_even_if_the_snapshot_fails(
    busy_site: Site, services_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deployment_id = await busy_site.running("shop")
    snapshots = Snapshots(services_root, busy_site.bus)
    with caplog.at_level(logging.WARNING):
        await snapshots.take(await busy_site.deployment(deployment_id))
        await stored(snapshots)
    assert f"Failed to record the files of deployment {deployment_id}" in caplog.text
    assert (await kept(busy_site, deployment_id)).files is None


async def test_a_start_does_not_wait_for_a_slow_disk(
    busy_site: Site, services_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (services_root / "shop").mkdir()
    deployment_id = await busy_site.running("shop")
    go_on, scandir = threading.Event(), os.scandir

    def slowly(path: str) -> object:
        go_on.wait()
        return scandir(path)

    monkeypatch.setattr("os.scandir", slowly)
    snapshots = Snapshots(services_root, busy_site.bus)
    await snapshots.take(await busy_site.deployment(deployment_id))
    assert snapshots._tasks
    go_on.set()
    await stored(snapshots)
    assert (await kept(busy_site, deployment_id)).files == {}
