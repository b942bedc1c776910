"""Store worker tasks: questions of server processes that a worker answers within seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from deploy.adapters.database import CHANNEL
from deploy.adapters.repository.statement import Statement

_ADD = Statement(
    "WITH task AS (INSERT INTO worker_tasks (kind, arguments, deadline) "
    "VALUES (:kind, :arguments, now() + make_interval(secs => :timeout)) RETURNING id) "
    f"SELECT id, pg_notify('{CHANNEL}', concat('task ', id)) FROM task"
)
_CLAIM = Statement(
    "UPDATE worker_tasks SET worker_id = :worker_id WHERE id = (SELECT id FROM worker_tasks "
    "WHERE worker_id IS NULL AND kind = ANY(:kinds) AND deadline > now() ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) "
    "RETURNING id, kind, arguments, CAST(extract(epoch FROM deadline - now()) AS double precision) AS seconds_left"
)
_FINISH = Statement(
    "WITH task AS (UPDATE worker_tasks SET finished = now(), result = :result, error = :error "
    "WHERE id = :id AND finished IS NULL RETURNING id) "
    f"SELECT pg_notify('{CHANNEL}', concat('answer ', id)) FROM task"
)
_TAKE_ANSWER = Statement("DELETE FROM worker_tasks WHERE id = :id AND finished IS NOT NULL RETURNING result, error")
_REMOVE = Statement("DELETE FROM worker_tasks WHERE id = :id RETURNING worker_id")
_REMOVE_OVERDUE = Statement("DELETE FROM worker_tasks WHERE deadline < now() - interval '1 minute'")


@dataclass(frozen=True, slots=True)
class WorkerTask:
    """A task that a worker has claimed. `seconds_left` is the time until its deadline."""

    id: int
    kind: str
    arguments: dict[str, Any]
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a task: its result, or the error as a sentence for users."""

    result: Any
    error: str | None


class WorkerTasks:
    """Tasks that wait for a worker or for the process that asked to read the answer."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def add(self, kind: str, arguments: Mapping[str, Any], timeout: float) -> int:
        """Store a task, wake the workers, and return its ID. No worker starts it after `timeout` seconds."""
        arguments_json = json.dumps(arguments)
        task_id: int = await _ADD.value(self._driver, kind=kind, arguments=arguments_json, timeout=timeout)
        return task_id

    async def claim(self, worker_id: str, kinds: Sequence[str]) -> WorkerTask | None:
        """Claim the oldest task of these kinds for a worker, or return None if there is none."""
        row = await _CLAIM.row(self._driver, worker_id=worker_id, kinds=list(kinds))
        return WorkerTask(**row) if row is not None else None

    async def finish(self, task_id: int, *, result: Any = None, error: str | None = None) -> None:
        """Store the answer to a task and notify the process that asked. Do nothing if that process no longer waits."""
        await _FINISH.value(self._driver, id=task_id, result=json.dumps(result), error=error)

    async def take_answer(self, task_id: int) -> Answer | None:
        """Delete a finished task and return its answer, or return None if it is not finished."""
        row = await _TAKE_ANSWER.row(self._driver, id=task_id)
        return Answer(**row) if row is not None else None

    async def remove(self, task_id: int) -> str | None:
        """Delete a task whose answer is no longer awaited. Return the ID of the worker that had claimed it, if any."""
        worker_id: str | None = await _REMOVE.value(self._driver, id=task_id)
        return worker_id

    async def remove_overdue(self) -> None:
        """Delete tasks of processes that ended before they could read the answer."""
        await _REMOVE_OVERDUE.value(self._driver)
