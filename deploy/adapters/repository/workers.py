"""Store workers and their heartbeats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from deploy.adapters.repository.statement import Statement

_BEAT = Statement(
    "INSERT INTO workers (id, host, version, slots, started, last_seen) "
    "VALUES (:worker_id, :host, :version, :slots, now(), now()) ON CONFLICT (id) DO UPDATE "
    "SET host = excluded.host, version = excluded.version, slots = excluded.slots, last_seen = excluded.last_seen"
)
_LIST = Statement("SELECT id, host, version, slots, started, last_seen FROM workers ORDER BY last_seen DESC")


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that runs deployments. `id` belongs to the data folder and does not change after a restart."""

    id: str
    host: str
    version: str
    slots: int
    started: datetime
    last_seen: datetime


class Workers:
    """The heartbeats of workers."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def beat(self, *, worker_id: str, host: str, version: str, slots: int) -> None:
        """Store the heartbeat of a worker."""
        await _BEAT.value(self._driver, worker_id=worker_id, host=host, version=version, slots=slots)

    async def list(self) -> Sequence[Worker]:
        """Return the workers, most recently seen first."""
        return [Worker(**row) for row in await _LIST.rows(self._driver)]
