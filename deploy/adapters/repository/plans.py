"""Derive expected steps and durations from the last successful deployments of a lane."""

from __future__ import annotations

import asyncpg

from deploy.adapters.repository.newest import newest_first
from deploy.adapters.repository.statement import VisibleStatement
from deploy.domain.model import Lane, Plan, PlannedStep
from deploy.domain.rights import Visible

# Limits on the successes and steps to read: enough for a median, and fast enough to read at every start.
_SUCCESSES = 10
_STEPS = 2_000

_KEYS = {"service_id": ":service_id", "environment": ":environment", "state": "'success'"}
_BY_SUCCESSES = VisibleStatement(
    "WITH recent AS (SELECT d.id, d.started, d.finished, d.step_count FROM deployments AS d "
    f"{newest_first(_KEYS, also='AND {visible}')} LIMIT :successes), "
    "overall AS (SELECT max(id) AS last, sum(step_count) AS steps, "
    "percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished - started)) AS seconds FROM recent), "
    "medians AS (SELECT name, percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished - started)) "
    "AS seconds FROM steps WHERE deployment_id IN (SELECT id FROM recent) AND finished IS NOT NULL "
    "AND (SELECT overall.steps FROM overall) <= :most_steps GROUP BY name) "
    "SELECT overall.seconds AS overall, steps.name, steps.description, medians.seconds, steps.detail ->> 'path' AS path "
    "FROM overall LEFT JOIN steps ON steps.deployment_id = overall.last AND steps.detail ->> 'templated' IS NULL LEFT JOIN medians ON medians.name = steps.name "
    "WHERE overall.last IS NOT NULL ORDER BY steps.run_order NULLS LAST, steps.position",
    "d.service_id",
    environment="d.environment",
)


class Plans:
    """Derives plans from the history of lanes."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def by_successes(self, lane: Lane, *, visible: Visible) -> Plan | None:
        """Return the steps of the last success with median durations of recent successes, or None without a success."""
        rows = await _BY_SUCCESSES.rows(
            self._driver, visible, **lane._asdict(), successes=_SUCCESSES, most_steps=_STEPS
        )
        if not rows:
            return None
        steps = tuple(
            PlannedStep(name=name, description=description, expected_seconds=_not_negative(median), path=path or "")
            for _, name, description, median, path in rows
            if name is not None
        )
        return Plan(steps=steps, expected_seconds=_not_negative(rows[0]["overall"]))


def _not_negative(seconds: float | None) -> float | None:
    # Scripts can report steps with their own times.
    return None if seconds is None else max(0.0, float(seconds))
