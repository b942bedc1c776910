"""Store the changes of a deployment in one statement, because this happens for every line that a script prints."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from deploy.adapters.repository.events import (
    APPEND_EVENTS,
    NOTIFY_OF_DEPLOYMENT,
    CommittedEvents,
    StoredEvent,
    event_rows,
)
from deploy.adapters.repository.hosts import PUT_RESULTS, result_rows
from deploy.adapters.repository.rows import held_to_json
from deploy.adapters.repository.secrets import FORGET_SECRETS
from deploy.adapters.repository.services import PUT_DEPLOYED
from deploy.adapters.repository.statement import Statement
from deploy.adapters.repository.steps import PUT_STEPS, step_rows
from deploy.domain.fields import changing, names_of
from deploy.domain.model import Deployment, Step, StepResult

# Add a new deployment with all its rows. Foreign keys are checked at the end of the statement.
_ADDED = names_of(Deployment)
_QUOTED, _NEW = ", ".join(f'"{name}"' for name in _ADDED), ", ".join(f":new_{name}" for name in _ADDED)
_ADD = Statement(
    f"WITH added AS (INSERT INTO deployments ({_QUOTED}) VALUES ({_NEW})), "
    "kept AS (INSERT INTO snapshots (deployment_id, config) VALUES (:deployment_id, :config)), "
    f"put AS ({PUT_STEPS.format(also='')}), appended AS ({APPEND_EVENTS.format(also='')}) "
    f"SELECT {NOTIFY_OF_DEPLOYMENT}"
)

_NEXT_ID = Statement("SELECT nextval(pg_get_serial_sequence('deployments', 'id'))")

_CHANGED = changing(Deployment)
_SET = ", ".join(f'"{name}" = :new_{name}' for name in _CHANGED)
_STORE = Statement(
    f"WITH ours AS (UPDATE deployments SET {_SET} "
    "WHERE id = CAST(:deployment_id AS bigint) AND seq = :old_seq AND spool_offset = :old_offset "
    "AND (run_ended IS NOT NULL) = :had_ended "
    "RETURNING id AS stored), "
    "gone AS (DELETE FROM steps USING ours WHERE steps.id = ANY(CAST(:removed AS bigint[]))), "
    "gone_results AS (DELETE FROM host_results USING ours "
    "WHERE deployment_id = stored AND step_id = ANY(CAST(:removed AS bigint[]))), "
    f"put_results AS ({PUT_RESULTS.format(also=', ours')}), "
    f"put AS ({PUT_STEPS.format(also=', ours')}), appended AS ({APPEND_EVENTS.format(also=', ours')}) "
    f"SELECT {NOTIFY_OF_DEPLOYMENT} FROM ours"
)
# Not part of `_STORE`: it must see the secrets of a transaction that `_STORE` waited for.
_SETTLE = Statement(
    f"WITH forgotten AS ({FORGET_SECRETS}), deployed AS ({PUT_DEPLOYED}) SELECT fastdeploy_finish_job(:job_id)"
)


@dataclass(frozen=True, slots=True)
class Version:
    """The version of a deployment's row that a change is based on.

    Every change increases one of the numbers. The only exception is the end of a lost run that already reported its
    result, which does not add events.
    """

    seq: int
    spool_offset: int
    has_ended: bool = False

    @classmethod
    def of(cls, deployment: Deployment) -> Version:
        """Return the version of a deployment before it changes."""
        return cls(deployment.seq, deployment.spool_offset, deployment.run_ended is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of a deployment based on `version`.

    Its row, new and changed steps, IDs of removed steps, host results of other steps, and events.
    """

    deployment: Deployment
    version: Version
    steps: Iterable[Step] = ()
    removed: Iterable[int] = ()
    results: Iterable[StepResult] = ()
    events: Sequence[StoredEvent] = ()

    def values(self) -> dict[str, Any]:
        """Return the parameters of `_STORE`."""
        values = _values(self.deployment, _CHANGED) | step_rows(self.steps)
        values |= event_rows(self.deployment.id, self.events) | result_rows(self.results)
        values |= {"old_seq": self.version.seq, "old_offset": self.version.spool_offset}
        return values | {"had_ended": self.version.has_ended, "removed": list(self.removed)}

    def committed(self) -> CommittedEvents:
        """Return the events that clients can see."""
        return CommittedEvents(self.deployment.id, self.deployment.lane, self.events)


class Batches:
    """Stores changes of deployments, and adds the events that clients can see to `committed`."""

    def __init__(self, driver: asyncpg.Connection, committed: list[CommittedEvents]) -> None:
        self._driver = driver
        self._committed = committed

    async def next_id(self) -> int:
        """Return the ID for a new deployment. IDs ascend in call order if the caller holds a lock on the service."""
        drawn: int = await _NEXT_ID.value(self._driver)
        return drawn

    async def add(
        self,
        deployment: Deployment,
        *,
        config: dict[str, Any],
        steps: Sequence[Step],
        events: Sequence[StoredEvent],
    ) -> None:
        """Store a new deployment that has an ID, with its service's config, steps, and first events."""
        values = _values(deployment, _ADDED) | step_rows(steps) | event_rows(deployment.id, events)
        values |= {"config": json.dumps(config)}
        await _ADD.value(self._driver, **values)
        self._committed.append(CommittedEvents(deployment.id, deployment.lane, events))

    async def store(self, change: Change) -> bool:
        """Store a change if the row still has the version that the change is based on. Notify listeners after the
        commit.

        Return True if the change was stored. The row then stays locked until the transaction ends.
        """
        if await _STORE.row(self._driver, **change.values()) is None:
            return False
        self._committed.append(change.committed())
        return True

    async def settle(self, deployment: Deployment, *, deployed: dict[str, Any] | None) -> None:
        """After the end of a run, delete its secrets, finish its job, and store what it deployed (None: nothing).

        Finishing the job wakes the workers for the lane's next job. Idempotent.
        """
        config = None if deployed is None else json.dumps(deployed)
        of_run = {"deployment_id": deployment.id, "job_id": deployment.job_id, "config": config}
        await _SETTLE.value(self._driver, **of_run, **deployment.lane._asdict())

    async def store_all(self, changes: Sequence[Change]) -> None:
        """Store changes of several deployments. The caller must have locked their rows."""
        if changes:
            await _STORE.many(self._driver, [change.values() for change in changes])
        self._committed.extend(change.committed() for change in changes)


def _values(deployment: Deployment, names: Iterable[str]) -> dict[str, Any]:
    values = {f"new_{name}": getattr(deployment, name) for name in names}
    values["new_state"] = deployment.state.value
    values["new_held"] = held_to_json(deployment.held)
    if "new_context" in values:
        values["new_context"] = json.dumps(deployment.context)
    return values
