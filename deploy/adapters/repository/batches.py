"""What one message changes in a deployment, stored by one statement: it happens after every line that a script prints."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from deploy.adapters.repository.events import APPEND_EVENTS, NOTIFY_OF_DEPLOYMENT, News, StoredEvent, event_rows
from deploy.adapters.repository.queue import PUT_JOB, NewJob
from deploy.adapters.repository.rows import names_of
from deploy.adapters.repository.steps import PUT_STEPS, step_rows
from deploy.adapters.statement import Statement
from deploy.domain.model import Deployment, Step

# A new deployment with all that belongs to it. Foreign keys are looked at when the statement is over.
_ADDED = tuple(name for name in names_of(Deployment) if name != "job_id")
_QUOTED, _NEW = ", ".join(f'"{name}"' for name in _ADDED), ", ".join(f":new_{name}" for name in _ADDED)
_ADD = Statement(
    f"WITH job AS ({PUT_JOB}), "
    f"added AS (INSERT INTO deployments ({_QUOTED}, job_id) SELECT {_NEW}, job.id FROM job), "
    "kept AS (INSERT INTO snapshots (deployment_id, config) VALUES (:deployment_id, :config)), "
    f"put AS ({PUT_STEPS.format(also='')}), appended AS ({APPEND_EVENTS.format(also='')}) "
    f"SELECT job.id, {NOTIFY_OF_DEPLOYMENT} FROM job"
)

_NEXT_ID = Statement("SELECT nextval(pg_get_serial_sequence('deployments', 'id'))")

# What can change in a deployment after that.
_CHANGED = (
    "state",
    "started",
    "finished",
    "reason",
    "exit_code",
    "worker_id",
    "job_id",
    "cancel_requested",
    "run_ended",
    "seq",
    "lines",
    "spool_offset",
    "step_count",
    "run_count",
    "has_failed_step",
)
_SET = ", ".join(f"{name} = :new_{name}" for name in _CHANGED)
_STORE = Statement(
    f"WITH ours AS (UPDATE deployments SET {_SET} "
    "WHERE id = CAST(:deployment_id AS bigint) AND seq = :old_seq AND spool_offset = :old_offset "
    "AND (run_ended IS NOT NULL) = :had_ended "
    "RETURNING id AS stored), "
    "gone AS (DELETE FROM steps USING ours WHERE steps.id = ANY(CAST(:removed AS bigint[]))), "
    f"put AS ({PUT_STEPS.format(also=', ours')}), appended AS ({APPEND_EVENTS.format(also=', ours')}) "
    f"SELECT {NOTIFY_OF_DEPLOYMENT} FROM ours"
)


@dataclass(frozen=True, slots=True)
class Version:
    """Which version of a deployment's row a change was made from: whatever happens raises one of the numbers, but for
    the end of a run that was lost after it had told its own outcome, which has nothing to tell.
    """

    seq: int
    spool_offset: int
    has_ended: bool = False

    @classmethod
    def of(cls, deployment: Deployment) -> Version:
        """Return the version that a deployment has, before it is changed."""
        return cls(deployment.seq, deployment.spool_offset, deployment.run_ended is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What changes in a deployment: its row, of which it was made from `version`, steps (new and changed ones), the ids
    of steps that go, and the events that tell of it.
    """

    deployment: Deployment
    version: Version
    steps: Iterable[Step] = ()
    removed: Iterable[int] = ()
    events: Sequence[StoredEvent] = ()

    def values(self) -> dict[str, Any]:
        """Return the parameters of `_STORE`."""
        values = _values(self.deployment, _CHANGED) | step_rows(self.steps)
        values |= event_rows(self.deployment.id, self.events)
        values |= {"old_seq": self.version.seq, "old_offset": self.version.spool_offset}
        return values | {"had_ended": self.version.has_ended, "removed": list(self.removed)}

    def news(self) -> News:
        """Return what clients may see of it."""
        return News(self.deployment.id, self.deployment.service_id, self.events)


class Batches:
    """Stores what happens in deployments, bit by bit. What clients may see of it is added to `news`."""

    def __init__(self, driver: asyncpg.Connection, news: list[News]) -> None:
        self._driver = driver
        self._news = news

    async def next_id(self) -> int:
        """Return the id of a new deployment. In the order in which they are asked for, where that order is warranted
        by a lock on their service.
        """
        drawn: int = await _NEXT_ID.value(self._driver)
        return drawn

    async def add(
        self,
        deployment: Deployment,
        *,
        config: dict[str, Any],
        job: NewJob,
        steps: Sequence[Step],
        events: Sequence[StoredEvent],
    ) -> None:
        """Store a new deployment, which has its id already, with the config of its service as it is now, its job,
        its steps and its first events.
        """
        values = _values(deployment, _ADDED) | step_rows(steps) | event_rows(deployment.id, events)
        values |= {"config": json.dumps(config), **job.values()}
        deployment.job_id = await _ADD.value(self._driver, **values)
        self._news.append(News(deployment.id, deployment.service_id, events))

    async def store(self, change: Change) -> bool:
        """Store a change, and tell the listening processes, once this is committed.

        Only if the row still is of the version that it was made from. Returns whether it was; the row is ours from then
        on, until the transaction ends.
        """
        if await _STORE.row(self._driver, **change.values()) is None:
            return False
        self._news.append(change.news())
        return True

    async def store_all(self, changes: Sequence[Change]) -> None:
        """Store changes of different deployments whose rows are locked, so that nobody else can have changed them."""
        if changes:
            await _STORE.many(self._driver, [change.values() for change in changes])
        self._news.extend(change.news() for change in changes)


def _values(deployment: Deployment, names: Iterable[str]) -> dict[str, Any]:
    values = {f"new_{name}": getattr(deployment, name) for name in names}
    values["new_state"] = deployment.state.value
    if "new_context" in values:
        values["new_context"] = json.dumps(deployment.context)
    return values
