"""Background tasks of a process."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

log = logging.getLogger(__name__)


@asynccontextmanager
async def background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these coroutines as tasks while the block runs.

    If one of them fails, exit the process so that the service manager restarts it. A partly working server would be
    worse.
    """
    tasks = [asyncio.create_task(part) for part in work]
    for task in tasks:
        task.add_done_callback(_end_process_with)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _end_process_with(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("A background task failed; stopping the process", exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)
