"""The JSON messages that clients get: one object per change, the same over WebSocket and HTTP.

Shapes: docs/reference/websocket. Times are ISO 8601 in UTC, ending in Z.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Any

from deploy.adapters.repository import StoredEvent
from deploy.domain.events import DeploymentChanged, Event, LinePrinted, StepChanged
from deploy.domain.model import Deployment, Service, Step

# An output message holds at most so many lines and characters, so that one message is never a burden.
LINES_PER_MESSAGE = 500
CHARACTERS_PER_MESSAGE = 128 * 1024


def iso(moment: datetime | None) -> str | None:
    """Return a time as clients get it, or None."""
    if moment is None:
        return None
    return moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def deployment_fields(deployment: Deployment) -> dict[str, Any]:
    """Return what clients learn of a deployment."""
    return {
        "id": deployment.id,
        "service_id": deployment.service_id,
        "service": deployment.service,
        "origin": deployment.origin,
        "user": deployment.user,
        "state": deployment.state.value,
        "created": iso(deployment.created),
        "started": iso(deployment.started),
        "finished": iso(deployment.finished),
        "context": deployment.context,
        "reason": deployment.reason,
        "exit_code": deployment.exit_code,
        "retry_of": deployment.retry_of,
        "cancel_requested": deployment.cancel_requested,
        "expected_seconds": deployment.expected_seconds,
        "secret_inputs": deployment.secret_inputs,
        "lines": deployment.lines,
        "seq": deployment.seq,
    }


def step_fields(step: Step) -> dict[str, Any]:
    """Return what clients learn of a step."""
    return {
        "id": step.id,
        "deployment_id": step.deployment_id,
        "name": step.name,
        "description": step.description,
        "state": step.state.value,
        "started": iso(step.started),
        "finished": iso(step.finished),
        "message": step.message,
        "position": step.position,
        "run_order": step.run_order,
        "first_line": step.first_line,
        "last_line": step.last_line,
        "detail": step.detail,
        "hosts": step.hosts,
        "expected_seconds": step.expected_seconds,
    }


def service_message(service: Service) -> str:
    """Return the message that a service is new, has changed, or is gone."""
    fields = {"id": service.id, "name": service.name, "data": service.data, "deleted": service.deleted is not None}
    return json.dumps({"type": "service", **fields})


def stored_events(deployment: Deployment, events: Iterable[Event]) -> Iterator[StoredEvent]:
    """Number the events of a deployment, following those it has, and turn them into messages.

    Lines that follow each other share a message.
    """
    batch: list[LinePrinted] = []
    size = 0
    for event in events:
        if isinstance(event, LinePrinted):
            if batch and (len(batch) >= LINES_PER_MESSAGE or size + len(event.text) > CHARACTERS_PER_MESSAGE):
                yield _output(deployment, batch)
                batch, size = [], 0
            batch.append(event)
            size += len(event.text)
            continue
        if batch:
            yield _output(deployment, batch)
            batch, size = [], 0
        if isinstance(event, StepChanged):
            yield _numbered(deployment, {"type": "step", **step_fields(event.step), "deleted": event.deleted})
        elif isinstance(event, DeploymentChanged):
            fields = deployment_fields(deployment)
            yield _numbered(deployment, {"type": "deployment", "deployment_id": deployment.id, **fields})
    if batch:
        yield _output(deployment, batch)


def _numbered(deployment: Deployment, fields: dict[str, Any], last_line: int | None = None) -> StoredEvent:
    deployment.seq += 1
    return StoredEvent(deployment.seq, last_line, json.dumps({**fields, "seq": deployment.seq}))


def _output(deployment: Deployment, batch: list[LinePrinted]) -> StoredEvent:
    moments: dict[datetime, str | None] = {}
    lines = []
    for line in batch:
        if line.at not in moments:
            moments[line.at] = iso(line.at)
        lines.append([line.number, moments[line.at], line.text, line.step_id])
    fields = {"type": "output", "deployment_id": deployment.id, "lines": lines}
    return _numbered(deployment, fields, last_line=batch[-1].number)
