"""Convert rows to domain objects. Columns are named after the fields of the class and read in field order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

import orjson

from deploy.domain.fields import names_of
from deploy.domain.model import Deployment, DeploymentState, Held, Step, StepState


def columns_of(kind: type[Any], table: str) -> str:
    """Return the columns of a class for a SELECT whose table has the alias `table`."""
    return ", ".join(f'{table}."{name}"' for name in names_of(kind))


_WIDTH = len(fields(Deployment))


def deployment_from(row: Sequence[Any]) -> Deployment:
    """Return the deployment in a row that starts with its columns."""
    deployment = Deployment(*row[:_WIDTH])
    deployment.state = DeploymentState(deployment.state)
    if deployment.held is not None:
        deployment.held = _held_from(deployment.held)
    return deployment


def held_to_json(held: Held | None) -> str | None:
    """Return a hold as JSON, as it is stored and sent to clients, or None without a hold."""
    return None if held is None else orjson.dumps(held, option=orjson.OPT_UTC_Z).decode()


def _held_from(fields: Any) -> Held:
    until = fields["until"]
    return Held(fields["reason"], datetime.fromisoformat(until.replace("Z", "+00:00")) if until else None)


def step_from(row: Sequence[Any]) -> Step:
    """Return the step in a row that contains its columns."""
    step = Step(*row)
    step.state = StepState(step.state)
    return step
