"""Read and search the output of a deployment line by line."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime
from typing import Any, NamedTuple

from deploy.domain.rights import Visible
from deploy.domain.terminal import plain_text
from deploy.service_layer.unit_of_work import OpenUnitOfWork, UnitOfWork

EVENTS_AT_ONCE = 50
SEARCH_SECONDS = 1.0


class OutputLine(NamedTuple):
    """A line of output. `n` is its number, counting from 1."""

    n: int
    at: datetime
    text: str
    step_id: int | None

    def fields(self) -> dict[str, Any]:
        """Return the line as a dict."""
        return self._asdict()


def lines_of(message: str) -> list[OutputLine]:
    """Return the lines in an output message."""
    lines = json.loads(message)["lines"]
    return [
        OutputLine(n, datetime.fromisoformat(at.replace("Z", "+00:00")), text, step) for n, at, text, step in lines
    ]


async def read_lines(
    uow: UnitOfWork, deployment_id: int, *, visible: Visible, after: int, limit: int
) -> tuple[list[dict[str, Any]], int | None]:
    """Return up to `limit` lines after line `after`, and the next `after`.

    The next `after` is None at the end of the output.
    """
    found: list[dict[str, Any]] = []
    while True:
        events = await uow.events.output_after(deployment_id, after, visible=visible, limit=EVENTS_AT_ONCE)
        for event in events:
            for line in lines_of(event.message):
                if line.n <= after:
                    continue
                if len(found) == limit:
                    return found, found[-1]["n"]
                found.append(line.fields())
        if len(events) < EVENTS_AT_ONCE:
            return found, None
        after = events[-1].last_line or after


async def search_lines(
    open_unit_of_work: OpenUnitOfWork,
    deployment_id: int,
    text: str,
    *,
    visible: Visible,
    after: int,
    limit: int,
    seconds: float = SEARCH_SECONDS,
) -> tuple[list[dict[str, Any]], int | None]:
    """Return up to `limit` lines after line `after` that contain `text` (ignoring case), and the next `after`.

    It searches the text that a terminal shows, without colors and overwritten text. The search ends after about
    `seconds`, so it may return fewer lines although there are more. The next `after` is None at the end of the output.
    PostgreSQL searches in pieces, without keeping a connection between them.
    """
    wanted, found, deadline = text.casefold(), list[dict[str, Any]](), time.monotonic() + seconds
    while True:
        async with open_unit_of_work() as uow:
            piece = await uow.events.search_output(deployment_id, after, text, visible=visible)
        if not piece:
            return found, None
        for last_line, message in piece:
            if message is not None:
                for line in lines_of(message):
                    if line.n <= after or wanted not in plain_text(line.text).casefold():
                        continue
                    if len(found) == limit:
                        return found, found[-1]["n"]
                    found.append(line.fields())
                await asyncio.sleep(0)  # let other requests continue
            after = last_line
            if time.monotonic() > deadline:
                return found, after
