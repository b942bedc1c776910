"""Steps, read and written in bulk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import asyncpg

from deploy.adapters.statement import Statement
from deploy.domain.model import Step, StepState

_COLUMNS = (
    ("id", "bigint"),
    ("deployment_id", "bigint"),
    ("name", "text"),
    ("description", "text"),
    ("position", "integer"),
    ("run_order", "integer"),
    ("state", "text"),
    ("message", "text"),
    ("started", "timestamptz"),
    ("finished", "timestamptz"),
    ("first_line", "bigint"),
    ("last_line", "bigint"),
    ("detail", "json"),
    ("hosts", "json"),
    ("expected_seconds", "double precision"),
)
_NAMES = ", ".join(f'"{name}"' for name, _ in _COLUMNS)
_ARRAYS = ", ".join(f"CAST(:step_{name} AS {'text' if kind == 'json' else kind}[])" for name, kind in _COLUMNS)
_VALUES = ", ".join(f'CAST("{name}" AS json)' if kind == "json" else f'"{name}"' for name, kind in _COLUMNS)
_UPDATES = ", ".join(
    f'"{name}" = excluded."{name}"' for name, _ in _COLUMNS if name not in ("id", "deployment_id", "position")
)
# Inserts or updates what `step_arrays` gives; `also` is a table more to select from, which may be empty.
PUT_STEPS = (
    f"INSERT INTO steps ({_NAMES}) SELECT {_VALUES} FROM unnest({_ARRAYS}) AS new ({_NAMES}){{also}} "
    f"ON CONFLICT (id) DO UPDATE SET {_UPDATES}"
)
_ALL = f"SELECT {_NAMES} FROM steps WHERE deployment_id = :deployment_id"
_OPEN = Statement(f"{_ALL} AND state IN ('pending', 'running') ORDER BY position")
_RUN_ORDER = Statement(f"{_ALL} ORDER BY run_order NULLS LAST, position")
_RESERVE = Statement("SELECT nextval(pg_get_serial_sequence('steps', 'id')) FROM generate_series(1, :count)")


class Steps:
    """The steps of deployments. They are written by `Batches`."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver

    async def reserve_ids(self, count: int) -> Sequence[int]:
        """Return ids for so many new steps; those that stay unused are lost, which does no harm."""
        return await _RESERVE.column(self._driver, count=count) if count else []

    async def open_of(self, deployment_id: int) -> list[Step]:
        """Return the steps that wait or run, in the order of the plan."""
        return [_step(row) for row in await _OPEN.rows(self._driver, deployment_id=deployment_id)]

    async def of(self, deployment_id: int) -> list[Step]:
        """Return all steps in the order of their execution; those that did not run come last, as planned."""
        return [_step(row) for row in await _RUN_ORDER.rows(self._driver, deployment_id=deployment_id)]


def step_arrays(steps: Sequence[Step]) -> dict[str, list[Any]]:
    """Return the parameters of `PUT_STEPS`: an array for each column."""
    arrays = {f"step_{name}": [getattr(step, name) for step in steps] for name, _ in _COLUMNS}
    arrays["step_state"] = [step.state.value for step in steps]
    for name in ("step_detail", "step_hosts"):
        arrays[name] = [json.dumps(value) for value in arrays[name]]
    return arrays


def _step(row: Any) -> Step:
    fields = dict(row)
    fields["state"] = StepState(fields["state"])
    return Step(**fields)
