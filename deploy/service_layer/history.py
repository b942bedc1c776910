"""The results of a service's deployments, and what changed since the last successful one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from deploy.adapters.repository.history import Finished
from deploy.domain import changes
from deploy.domain.changes import Change, Snapshot
from deploy.domain.model import Deployment, DeploymentState
from deploy.domain.rights import Visible
from deploy.service_layer.unit_of_work import UnitOfWork

# The outcomes that count for the success rate. A cancelled deployment is neither.
COUNTED = frozenset({DeploymentState.SUCCESS, DeploymentState.FAILURE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Results of deployments, the share of successes (0 to 1), and the median duration of successes in seconds."""

    deployments: Sequence[Finished]
    success_rate: float | None
    median_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The differences to the last successful deployment (`since`; None if there was none)."""

    since: Deployment | None = None
    env: Sequence[Change] = ()
    config: Sequence[Change] = ()
    files: Sequence[Change] = ()
    unknown: Sequence[str] = ()


def statistics_of(finished: Sequence[Finished]) -> Statistics:
    """Return the statistics of finished deployments. Without any that count, the rate and the median are None."""
    states = [one.state for one in finished if one.state in COUNTED]
    good = [one.seconds for one in finished if one.state is DeploymentState.SUCCESS and one.seconds is not None]
    return Statistics(
        deployments=finished,
        success_rate=states.count(DeploymentState.SUCCESS) / len(states) if states else None,
        median_seconds=median(good) if good else None,
    )


async def changes_since_success(deployment: Deployment, uow: UnitOfWork, *, visible: Visible) -> Changes:
    """Return what changed since the service's last successful deployment before this one."""
    since = await uow.history.last_success_before(deployment, visible=visible)
    if since is None:
        return Changes()
    known = await uow.history.snapshots([since.id, deployment.id], visible=visible)
    before, after = known.get(since.id, Snapshot()), known.get(deployment.id, Snapshot())
    return Changes(
        since=since,
        env=_input_changes(since, deployment),
        config=changes.config_changes(before, after),
        files=changes.file_changes(before, after),
        unknown=changes.unknown(before, after),
    )


def _input_changes(before: Deployment, after: Deployment) -> list[Change]:
    return changes.input_changes(
        _env(before),
        _env(after),
        secret_before=set(before.secret_inputs),
        secret_after=set(after.secret_inputs),
    )


def _env(deployment: Deployment) -> dict[str, Any]:
    env = deployment.context.get("env")
    return env if isinstance(env, dict) else {}
