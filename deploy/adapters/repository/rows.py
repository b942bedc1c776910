"""Convert rows to domain objects. Columns are named after the fields of the class and read in field order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from deploy.domain.model import Deployment, DeploymentState, Step, StepState


def names_of(kind: type[Any]) -> tuple[str, ...]:
    """Return the field names of a domain class, in order."""
    return tuple(field.name for field in fields(kind))


def columns_of(kind: type[Any], table: str) -> str:
    """Return the columns of a class for a SELECT whose table has the alias `table`."""
    return ", ".join(f'{table}."{name}"' for name in names_of(kind))


_WIDTH = len(fields(Deployment))


def deployment_from(row: Sequence[Any]) -> Deployment:
    """Return the deployment in a row that starts with its columns."""
    deployment = Deployment(*row[:_WIDTH])
    deployment.state = DeploymentState(deployment.state)
    return deployment


def step_from(row: Sequence[Any]) -> Step:
    """Return the step in a row that contains its columns."""
    step = Step(*row)
    step.state = StepState(step.state)
    return step
