"""Read the results of steps on hosts, one row each, and count them. `Batches` writes them.

Steps that earlier versions stored have their results in the column `hosts` and no `host_counts`. All statements read
both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import asyncpg
import orjson

from deploy.adapters.repository.statement import (
    ENVIRONMENT_OF_DEPLOYMENT,
    SERVICE_OF_DEPLOYMENT,
    Statement,
    VisibleStatement,
)
from deploy.adapters.states import sql_list
from deploy.domain.hosts import SAMPLE_MESSAGE_LENGTH, Hosts
from deploy.domain.model import BAD_OUTCOMES, OPEN_STEPS, HostRecap, HostSummary, Outcome, StepResult
from deploy.domain.rights import Visible

# Inserts or updates the rows of `result_rows`. `also` is an additional table to select from.
PUT_RESULTS = (
    "INSERT INTO host_results (deployment_id, step_id, host, outcome, duration, message, diff, lines) "
    "SELECT CAST(:deployment_id AS bigint), step_id, host, outcome, duration, message, diff, CAST(lines AS json) "
    "FROM json_to_recordset(:results) AS new (step_id bigint, host text, outcome text, duration double precision, "
    "message text, diff text, lines text){also} "
    "ON CONFLICT (deployment_id, step_id, host) DO UPDATE SET outcome = excluded.outcome, "
    "duration = excluded.duration, message = excluded.message, diff = excluded.diff, lines = excluded.lines"
)
_FOUND = (
    "(SELECT step_id, host, outcome, duration, message, diff, lines FROM host_results "
    "WHERE deployment_id = :deployment_id UNION ALL "
    "SELECT s.id, r.host, r.outcome, r.duration, r.message, r.diff, CAST('[]' AS json) "
    "FROM steps AS s, json_to_recordset(s.hosts) AS r "
    "(host text, outcome text, duration double precision, message text, diff text) "
    "WHERE s.deployment_id = :deployment_id AND s.host_counts IS NULL) AS found"
)
_TRACKED = Statement(
    f"SELECT found.step_id, found.host, found.outcome, left(found.message, {SAMPLE_MESSAGE_LENGTH}), s.name, "
    f"s.state IN ({sql_list(OPEN_STEPS)}) FROM {_FOUND} JOIN steps AS s ON s.deployment_id = :deployment_id AND s.id = found.step_id "
    f"WHERE s.host_counts IS NOT NULL OR s.state NOT IN ({sql_list(OPEN_STEPS)}) ORDER BY s.run_order, found.host"
)
_RANK = (
    f"CASE WHEN outcome IN ({sql_list(BAD_OUTCOMES)}) THEN 0 WHEN outcome IN ('rescued', 'ignored') THEN 1 "
    "WHEN outcome = 'changed' THEN 2 WHEN outcome = 'ok' THEN 3 ELSE 4 END"
)
_LIST = (
    f"SELECT step_id, host, outcome, duration, left(message, {SAMPLE_MESSAGE_LENGTH + 1}) AS message, "
    f"NULL AS diff, lines, diff IS NOT NULL AS has_diff, rank FROM (SELECT *, {_RANK} AS rank FROM {_FOUND}) AS ranked "
    "WHERE (rank, step_id, host) > (CAST(:rank AS integer), CAST(:step AS bigint), CAST(:name AS text)) "
    "AND {{visible}}{conditions} ORDER BY rank, step_id, host LIMIT :limit"
)
_CONDITIONS = {
    "step_id": " AND step_id = :step_id",
    "host": " AND host = :host",
    "outcomes": " AND outcome = ANY(CAST(:outcomes AS text[]))",
    "text": " AND position(lower(:text) IN lower(host)) > 0",
}
_ONE = VisibleStatement(
    f"SELECT step_id, host, outcome, duration, message, diff, lines FROM {_FOUND} "
    "WHERE step_id = :step_id AND host = :host AND {visible}",
    SERVICE_OF_DEPLOYMENT,
    environment=ENVIRONMENT_OF_DEPLOYMENT,
)
_RECAP = (
    "(SELECT host, count(*) FILTER (WHERE outcome IN ('ok', 'changed', 'ignored')) AS ok, "
    + ", ".join(
        f"count(*) FILTER (WHERE outcome = '{outcome}') AS {outcome}"
        for outcome in ("changed", "failed", "unreachable", "skipped", "rescued", "ignored")
    )
    + f" FROM {_FOUND} GROUP BY host) AS recap"
)
_RECAPS = VisibleStatement(
    "SELECT host, ok, changed, failed, unreachable, skipped, rescued, ignored FROM (SELECT *, "
    f"CASE WHEN failed + unreachable > 0 THEN 0 ELSE 1 END AS rank FROM {_RECAP}) AS ranked "
    "WHERE (rank, host) > (CAST(:rank AS integer), CAST(:name AS text)) "
    "AND position(lower(:text) IN lower(host)) > 0 AND {visible} ORDER BY rank, host LIMIT :limit",
    SERVICE_OF_DEPLOYMENT,
    environment=ENVIRONMENT_OF_DEPLOYMENT,
)
_SUMMARY = VisibleStatement(
    "SELECT count(*), count(*) FILTER (WHERE failed + unreachable = 0 AND changed = 0), "
    "count(*) FILTER (WHERE failed + unreachable = 0 AND changed > 0), "
    "count(*) FILTER (WHERE failed > 0 AND unreachable = 0), count(*) FILTER (WHERE unreachable > 0) "
    f"FROM {_RECAP} WHERE {{visible}}",
    SERVICE_OF_DEPLOYMENT,
    environment=ENVIRONMENT_OF_DEPLOYMENT,
)


class Place(NamedTuple):
    """A position in a list of results or hosts that is sorted with failures first."""

    rank: int = -1
    step_id: int = 0
    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFilter:
    """A filter for results. None and empty values match everything; `text` is part of the host's name."""

    step_id: int | None = None
    host: str | None = None
    outcomes: tuple[Outcome, ...] = ()
    text: str = ""

    def values(self) -> dict[str, Any]:
        """Return the parameters of the conditions that apply."""
        wanted = {
            "step_id": self.step_id,
            "host": self.host,
            "outcomes": [outcome.value for outcome in self.outcomes] or None,
            "text": self.text or None,
        }
        return {name: value for name, value in wanted.items() if value is not None}


class HostResults:
    """The results of the steps of deployments on hosts."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def tracked(self, deployment_id: int) -> Hosts:
        """Return what the stored results say about the hosts of a run, to continue with further results."""
        hosts = Hosts()
        for step_id, host, outcome, message, step, is_open in await _TRACKED.rows(
            self._driver, deployment_id=deployment_id
        ):
            result = StepResult(step_id=step_id, host=host, outcome=Outcome(outcome), message=message)
            hosts.restore(result, step, is_open=is_open)
        return hosts

    async def list(
        self, deployment_id: int, *, visible: Visible, limit: int, after: Place, only: ResultFilter
    ) -> Sequence[tuple[StepResult, bool, Place]]:
        """Return up to `limit` results after a place, failures first: result, True if it has a diff, and its place.

        The messages are shortened, and the diffs left out.
        """
        given = only.values()
        conditions = "".join(_CONDITIONS[name] for name in given)
        rows = await VisibleStatement(
            _LIST.format(conditions=conditions), SERVICE_OF_DEPLOYMENT, environment=ENVIRONMENT_OF_DEPLOYMENT
        ).rows(
            self._driver,
            visible,
            deployment_id=deployment_id,
            limit=limit,
            rank=after.rank,
            step=after.step_id,
            name=after.host,
            **given,
        )
        return [(_result(row), row["has_diff"], Place(row["rank"], row["step_id"], row["host"])) for row in rows]

    async def one(self, deployment_id: int, step_id: int, host: str, *, visible: Visible) -> StepResult | None:
        """Return the whole result of a step on a host, or None if there is none."""
        row = await _ONE.row(self._driver, visible, deployment_id=deployment_id, step_id=step_id, host=host)
        return _result(row) if row is not None else None

    async def recaps(
        self, deployment_id: int, *, visible: Visible, limit: int, after: Place, text: str
    ) -> Sequence[HostRecap]:
        """Return up to `limit` hosts whose name contains `text`, with the number of tasks by outcome, failures first."""
        rows = await _RECAPS.rows(
            self._driver,
            visible,
            deployment_id=deployment_id,
            limit=limit,
            rank=after.rank,
            name=after.host,
            text=text,
        )
        return [HostRecap(**dict(row)) for row in rows]

    async def summary(self, deployment_id: int, *, visible: Visible) -> HostSummary | None:
        """Return the number of hosts by the worst that happened to them, or None without hosts."""
        row = await _SUMMARY.row(self._driver, visible, deployment_id=deployment_id)
        if row is None or not row[0]:
            return None
        total, ok, changed, failed, unreachable = row
        return HostSummary(total=total, ok=ok, changed=changed, failed=failed, unreachable=unreachable)


def result_rows(results: Iterable[StepResult]) -> dict[str, str]:
    """Return the parameter of `PUT_RESULTS` as JSON."""
    rows = [
        {
            "step_id": result.step_id,
            "host": result.host,
            "outcome": result.outcome.value,
            "duration": result.duration,
            "message": result.message,
            "diff": result.diff,
            "lines": json.dumps(result.lines),
        }
        for result in results
    ]
    return {"results": orjson.dumps(rows).decode()}


def _result(row: asyncpg.Record) -> StepResult:
    return StepResult(
        step_id=row["step_id"],
        host=row["host"],
        outcome=Outcome(row["outcome"]),
        duration=row["duration"],
        message=row["message"],
        diff=row["diff"],
        lines=row["lines"],
    )
