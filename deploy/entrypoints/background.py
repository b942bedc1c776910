"""Work that goes on beside the requests of a process, for as long as the process lives."""

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
    """Do this while the block runs.

    Work that fails takes the process with it: half a server helps nobody, and the service manager starts a whole one.
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
        log.critical("A part of the process has failed", exc_info=error)
        os.kill(os.getpid(), signal.SIGTERM)
