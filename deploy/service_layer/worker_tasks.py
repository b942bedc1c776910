"""Worker tasks: a server process asks, and a worker answers within seconds.

Only workers run programs from service folders, Ansible, and SSH. Tasks have their own table and do not affect the queue of
deployments.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any, TypeAlias

from deploy.adapters.database import DATABASE_ERRORS
from deploy.adapters.notifications import Listener
from deploy.adapters.repository import WorkerTask
from deploy.service_layer.queue import alive
from deploy.service_layer.unit_of_work import OpenUnitOfWork, UnitOfWork

log = logging.getLogger(__name__)

# Seconds between polls, because notifications can be lost.
POLL_SECONDS = 1.0
# Tasks that a worker works on at once.
MAX_CONCURRENT = 8
# Seconds that the worker has for storing the answer after its own timeout.
RESERVE_SECONDS = 2.0
# Seconds after which a task fails if there is no worker, and after which a worker that does not beat counts as gone.
NO_WORKER_SECONDS, HEARTBEAT_GRACE_SECONDS = 3.0, 30.0
NO_WORKER = "No worker is running. Start one with: fastdeploy worker"

# Answers tasks of one kind: takes the arguments, returns a result that can be stored as JSON, or raises TaskFailed.
TaskHandler: TypeAlias = Callable[[dict[str, Any]], Awaitable[Any]]


class TaskFailed(Exception):
    """A task has no result. The text is a sentence for users, without the period."""


class TaskClient:
    """Asks workers and waits for their answers."""

    def __init__(self, open_unit_of_work: OpenUnitOfWork, listener: Listener) -> None:
        """`open_unit_of_work` opens units of work in autocommit mode."""
        self._open_unit_of_work = open_unit_of_work
        self._waiting: dict[int, asyncio.Event] = {}
        listener.on("answer", self._wake)
        listener.on_connect(self._wake_all)

    async def ask(self, kind: str, arguments: Mapping[str, Any], *, timeout: float) -> Any:
        """Return the result of a task.

        Raises:
            TaskFailed: The worker could not do it, or no worker answered within `timeout` seconds.
        """
        async with self._open_unit_of_work() as uow:
            task_id = await uow.worker_tasks.add(kind, arguments, timeout)
        answered = self._waiting[task_id] = asyncio.Event()
        try:
            return await self._answer(task_id, answered, timeout + RESERVE_SECONDS)
        except TaskFailed:
            raise  # the task is already deleted
        except BaseException:
            with suppress(*DATABASE_ERRORS):
                await self._remove(task_id)
            raise
        finally:
            del self._waiting[task_id]

    async def _answer(self, task_id: int, answered: asyncio.Event, timeout: float) -> Any:
        asked = time.monotonic()
        while True:
            answered.clear()
            async with self._open_unit_of_work() as uow:
                answer = await uow.worker_tasks.take_answer(task_id)
                if answer is None and time.monotonic() - asked > NO_WORKER_SECONDS and not await _has_worker(uow):
                    await uow.worker_tasks.remove(task_id)
                    raise TaskFailed(NO_WORKER)
            if answer is not None:
                if answer.error is not None:
                    raise TaskFailed(answer.error)
                return answer.result
            left = asked + timeout - time.monotonic()
            if left <= 0:
                raise TaskFailed(await self._why_unanswered(task_id))
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(answered.wait(), min(left, POLL_SECONDS))

    async def _why_unanswered(self, task_id: int) -> str:
        if await self._remove(task_id) is None:
            return "All workers are busy. Try again in a moment"
        return "The worker did not answer in time"

    async def _remove(self, task_id: int) -> str | None:
        async with self._open_unit_of_work() as uow:
            return await uow.worker_tasks.remove(task_id)

    def _wake(self, task_id: str) -> None:
        if (answered := self._waiting.get(int(task_id))) is not None:
            answered.set()

    def _wake_all(self) -> None:
        for answered in self._waiting.values():
            answered.set()


async def _has_worker(uow: UnitOfWork) -> bool:
    now = datetime.now(timezone.utc)
    return any(alive(worker.last_seen, now, HEARTBEAT_GRACE_SECONDS) for worker in await uow.workers.list())


class TaskRunner:
    """Answers the tasks of the kinds that have a handler, in a worker."""

    def __init__(
        self,
        worker_id: str,
        handlers: Mapping[str, TaskHandler],
        open_unit_of_work: OpenUnitOfWork,
        listener: Listener,
    ) -> None:
        """`open_unit_of_work` opens units of work in autocommit mode."""
        self._worker_id = worker_id
        self._handlers = handlers
        self._open_unit_of_work = open_unit_of_work
        self._running: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        listener.on("task", lambda _: self._wake.set())
        listener.on_connect(self._wake.set)

    async def run(self) -> None:
        """Answer tasks until canceled. Unfinished tasks then fail at their deadline."""
        try:
            while True:
                self._wake.clear()
                try:
                    await self._start_waiting_tasks()
                except DATABASE_ERRORS as error:
                    log.warning("Failed to look for tasks: %s", error)
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _start_waiting_tasks(self) -> None:
        while len(self._running) < MAX_CONCURRENT:
            async with self._open_unit_of_work() as uow:
                found = await uow.worker_tasks.claim(self._worker_id, list(self._handlers))
                if found is None:
                    await uow.worker_tasks.remove_overdue()
                    return
            task = asyncio.create_task(self._answer(found), name=f"task {found.id} ({found.kind})")
            self._running.add(task)
            task.add_done_callback(self._on_finished)

    def _on_finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._wake.set()  # there is room for another task

    async def _answer(self, task: WorkerTask) -> None:
        answer: dict[str, Any]
        try:
            answer = {"result": await asyncio.wait_for(self._handlers[task.kind](task.arguments), task.seconds_left)}
        except TaskFailed as failure:
            answer = {"error": str(failure)}
        except asyncio.TimeoutError:
            answer = {"error": "The worker did not finish in time"}
        except Exception as error:
            log.exception("Failed to answer task %s (%s)", task.id, task.kind)
            answer = {"error": f"The worker failed: {type(error).__name__}. Its log has the details"}
        try:
            async with self._open_unit_of_work() as uow:
                await uow.worker_tasks.finish(task.id, **answer)
        except DATABASE_ERRORS as error:
            log.warning("Failed to store the answer to task %s: %s", task.id, error)
