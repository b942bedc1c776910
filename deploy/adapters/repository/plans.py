"""What the last successful deployments of a service did, and how long that took them."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.domain.model import Plan, PlannedStep

# So many successes are looked at, and so many steps of them: enough for a median, little enough for every start.
_SUCCESSES = 10
_STEPS = 2_000

_OVERALL = text(
    "SELECT max(id), percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished - started)), "
    "sum(step_count) FROM (SELECT id, started, finished, step_count FROM deployments "
    "WHERE service_id = :service_id AND state = 'success' ORDER BY id DESC LIMIT :successes) AS recent"
)
_STEPS_OF_LAST = text(
    "SELECT name, description, CAST(NULL AS double precision) FROM steps WHERE deployment_id = :last "
    "ORDER BY run_order NULLS LAST, position"
)
_STEPS_WITH_MEDIANS = text(
    "WITH medians AS (SELECT name, percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished - started)) "
    "AS seconds FROM steps WHERE deployment_id IN (SELECT id FROM deployments WHERE service_id = :service_id "
    "AND state = 'success' ORDER BY id DESC LIMIT :successes) AND finished IS NOT NULL GROUP BY name) "
    "SELECT steps.name, steps.description, medians.seconds FROM steps LEFT JOIN medians USING (name) "
    "WHERE steps.deployment_id = :last ORDER BY steps.run_order NULLS LAST, steps.position"
)


class Plans:
    """What to expect of a service, by its past."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def by_successes(self, service_id: int) -> Plan | None:
        """Return the steps of the newest success, each with its median over the last ones; None without a success."""
        last, seconds, count = (
            await self._session.execute(_OVERALL, {"service_id": service_id, "successes": _SUCCESSES})
        ).one()
        if last is None:
            return None
        if count <= _STEPS:
            rows = await self._session.execute(
                _STEPS_WITH_MEDIANS, {"service_id": service_id, "successes": _SUCCESSES, "last": last}
            )
        else:
            rows = await self._session.execute(_STEPS_OF_LAST, {"last": last})
        steps = tuple(
            PlannedStep(name=name, description=description, expected_seconds=_not_negative(median))
            for name, description, median in rows
        )
        return Plan(steps=steps, expected_seconds=_not_negative(seconds))


def _not_negative(seconds: float | None) -> float | None:
    # A script may report its steps with times of its own.
    return None if seconds is None else max(0.0, float(seconds))
