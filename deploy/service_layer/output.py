"""Search the output of a deployment line by line."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NamedTuple

from deploy.domain.policy import Visible
from deploy.domain.terminal import plain_text
from deploy.service_layer.unit_of_work import UnitOfWork

EVENTS_AT_ONCE = 50


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


async def find_lines(
    uow: UnitOfWork, deployment_id: int, *, visible: Visible, after: int, limit: int, text: str = ""
) -> tuple[list[dict[str, Any]], int | None]:
    """Return up to `limit` lines after line `after` that contain `text` (case-insensitive), and the next `after`.

    The next `after` is None at the end of the output.
    """
    wanted = text.casefold()
    found: list[dict[str, Any]] = []
    while True:
        events = await uow.events.output_after(deployment_id, after, visible=visible, limit=EVENTS_AT_ONCE)
        for event in events:
            for line in lines_of(event.message):
                if line.n <= after or (wanted and wanted not in plain_text(line.text).casefold()):
                    continue
                if len(found) == limit:
                    return found, found[-1]["n"]
                found.append(line.fields())
        if len(events) < EVENTS_AT_ONCE:
            return found, None
        after = events[-1].last_line or after
