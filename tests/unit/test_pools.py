"""Test how processes share the connections of a database."""

from __future__ import annotations

import pytest

from deploy.adapters.postgres.server import DEFAULTS
from deploy.entrypoints.serve.pools import (
    OTHER_PROGRAMS,
    POOL_SIZE,
    SEPARATE_WORKERS,
    SHARED,
    bundled_max_connections,
    needed_by,
    pool_size,
)


@pytest.mark.parametrize("processes", range(1, 65))
def test_the_bundled_server_allows_what_its_processes_need(processes: int) -> None:
    needed = needed_by(processes) + SEPARATE_WORKERS * needed_by(1)
    assert bundled_max_connections(processes) >= max(needed + OTHER_PROGRAMS, int(DEFAULTS["max_connections"]))


def test_three_servers_and_two_workers_fit() -> None:
    assert needed_by(3) + 2 * needed_by(1) == 110
    assert bundled_max_connections(3) >= 110 + OTHER_PROGRAMS


def test_many_processes_share_the_connections_of_a_few() -> None:
    assert [pool_size(processes) for processes in (1, 4, 8, 16, 64)] == [POOL_SIZE, POOL_SIZE, 10, 5, 5]
    assert 8 * pool_size(8) == SHARED
