"""Build the JSON messages that clients receive: one object per change, the same over WebSocket and HTTP.

Shapes: docs/reference/websocket. Times are ISO 8601 in UTC and end in Z.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Any

import orjson

from deploy.adapters.repository.events import NO_LINE, StoredEvent
from deploy.domain.events import DeploymentChanged, Event, HostResultAdded, LinePrinted, StepChanged
from deploy.domain.fields import moments, sent
from deploy.domain.hosts import sample_of
from deploy.domain.model import Deployment, Service, Step, StepResult

# Limits of one output message, which keep messages small.
LINES_PER_MESSAGE = 500
CHARACTERS_PER_MESSAGE = 128 * 1024

_DEPLOYMENT = sent(Deployment)
_MOMENTS = tuple(name for name in _DEPLOYMENT if name in moments(Deployment))


def to_json(fields: dict[str, Any]) -> str:
    """Return a message as JSON. Times must be in UTC and are written with Z."""
    try:
        return orjson.dumps(fields, option=orjson.OPT_UTC_Z).decode()
    except TypeError:
        # orjson does not support integers larger than 64 bits, which scripts and clients can send.
        return json.dumps(fields, default=_time)


def _time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _utc(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo is timezone.utc else moment.astimezone(timezone.utc)


def deployment_fields(deployment: Deployment) -> dict[str, Any]:
    """Return the fields of a deployment that clients receive."""
    fields = {name: getattr(deployment, name) for name in _DEPLOYMENT}
    fields["state"] = deployment.state.value
    if deployment.held is not None:
        fields["held"] = {"reason": deployment.held.reason, "until": _utc(deployment.held.until)}
    for name in _MOMENTS:
        fields[name] = _utc(fields[name])
    return fields


def step_fields(step: Step) -> dict[str, Any]:
    """Return the fields of a step that clients receive in messages."""
    return {
        "id": step.id,
        "deployment_id": step.deployment_id,
        "name": step.name,
        "description": step.description,
        "state": step.state.value,
        "started": _utc(step.started),
        "finished": _utc(step.finished),
        "message": step.message,
        "position": step.position,
        "run_order": step.run_order,
        "first_line": step.first_line,
        "last_line": step.last_line,
        "detail": step.detail,
        "hosts": [],  # results are messages of their own, for the clients that follow the deployment
        "expected_seconds": step.expected_seconds,
        "host_counts": step.host_counts,
    }


def _host_fields(deployment_id: int, result: StepResult) -> dict[str, Any]:
    fields = {"type": "host", "deployment_id": deployment_id, "step_id": result.step_id}
    return fields | sample_of(result)


def service_message(service: Service) -> str:
    """Return the message about a service that was added, changed, or removed."""
    fields = {"id": service.id, "name": service.name, "data": service.data, "deleted": service.deleted is not None}
    return to_json({"type": "service", **fields})


def hidden_service_message(service: Service) -> str:
    """Return the message that removes a service from the view of a client that can no longer view it.

    It does not contain the config, which could have changed since the client could view it.
    """
    return to_json({"type": "service", "id": service.id, "name": service.name, "data": {}, "deleted": True})


def open_line_message(deployment_id: int, number: int, at: datetime, text: str) -> str:
    """Return the message about a line that has not ended yet. It has no number in the event log."""
    return to_json({"type": "open_line", "deployment_id": deployment_id, "n": number, "at": _utc(at), "text": text})


def stored_events(deployment: Deployment, events: Iterable[Event]) -> Iterator[StoredEvent]:
    """Number the new events of a deployment and yield them as messages.

    Consecutive lines share a message. Host results are only sent to clients that follow the deployment, like output.
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
        elif isinstance(event, HostResultAdded):
            yield _numbered(deployment, _host_fields(deployment.id, event.result), last_line=NO_LINE)
        elif isinstance(event, DeploymentChanged):
            fields = deployment_fields(deployment)
            yield _numbered(deployment, {"type": "deployment", "deployment_id": deployment.id, **fields})
    if batch:
        yield _output(deployment, batch)


def _numbered(deployment: Deployment, fields: dict[str, Any], last_line: int | None = None) -> StoredEvent:
    deployment.seq += 1
    fields["seq"] = deployment.seq
    return StoredEvent(deployment.seq, last_line, to_json(fields))


def _output(deployment: Deployment, batch: list[LinePrinted]) -> StoredEvent:
    lines = []
    at, moment = None, None
    for line in batch:
        if line.at is not at:  # lines that were read together share one object
            at, moment = line.at, _time(line.at.astimezone(timezone.utc))
        lines.append([line.number, moment, line.text, line.step_id])
    fields = {"type": "output", "deployment_id": deployment.id, "lines": lines}
    return _numbered(deployment, fields, last_line=batch[-1].number)
