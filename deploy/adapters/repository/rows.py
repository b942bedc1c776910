"""Rows of deployments as the domain knows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.adapters import orm
from deploy.domain.model import Deployment, DeploymentState

NAMES = tuple(column.name for column in orm.deployments.columns)
# Of a table that goes by the name of `d`.
COLUMNS = ", ".join(f'd."{name}"' for name in NAMES)


def deployment_from(row: Mapping[str, Any]) -> Deployment:
    """Return the deployment in a row that has all of `COLUMNS`, and perhaps more."""
    fields = {name: row[name] for name in NAMES}
    fields["state"] = DeploymentState(fields["state"])
    return Deployment(**fields)
