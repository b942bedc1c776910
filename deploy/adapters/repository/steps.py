"""Steps, read and written in bulk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, literal_column, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.adapters import orm
from deploy.domain.model import Step, StepState

_table = orm.steps
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
    f"INSERT INTO steps ({_NAMES}) SELECT {_VALUES} FROM unnest({_ARRAYS}) AS new ({_NAMES}){{also}} "  # noqa: S608 - our own names
    f"ON CONFLICT (id) DO UPDATE SET {_UPDATES}"
)
_PUT = text(PUT_STEPS.format(also=""))
_IS_OPEN: ColumnElement[bool] = literal_column("steps.state IN ('pending', 'running')")
_RESERVE = text("SELECT nextval(pg_get_serial_sequence('steps', 'id')) FROM generate_series(1, :count)")


class Steps:
    """The steps of deployments."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def reserve_ids(self, count: int) -> Sequence[int]:
        """Return ids for so many new steps; those that stay unused are lost, which does no harm."""
        if not count:
            return []
        return (await self._session.scalars(_RESERVE, {"count": count})).all()

    async def put(self, steps: Iterable[Step]) -> None:
        """Insert or update, all in one statement."""
        rows = list(steps)
        if rows:
            await self._session.execute(_PUT, step_arrays(rows))

    async def remove(self, ids: Iterable[int]) -> None:
        """Delete the steps with these ids."""
        gone = list(ids)
        if gone:
            await self._session.execute(delete(_table).where(_table.c.id.in_(gone)))

    async def open_of(self, deployment_id: int) -> list[Step]:
        """Return the steps that wait or run, in the order of the plan."""
        query = select(_table).where(_table.c.deployment_id == deployment_id, _IS_OPEN).order_by(_table.c.position)
        return [_step(row) for row in (await self._session.execute(query)).mappings()]

    async def of(self, deployment_id: int) -> list[Step]:
        """Return all steps in the order of their execution; those that did not run come last, as planned."""
        query = (
            select(_table)
            .where(_table.c.deployment_id == deployment_id)
            .order_by(_table.c.run_order.nulls_last(), _table.c.position)
        )
        return [_step(row) for row in (await self._session.execute(query)).mappings()]


def step_arrays(steps: Sequence[Step]) -> dict[str, list[Any]]:
    """Return the parameters of `PUT_STEPS`: an array for each column."""
    return {f"step_{name}": [_value(step, name) for step in steps] for name, _ in _COLUMNS}


def _value(step: Step, name: str) -> Any:
    value = getattr(step, name)
    if isinstance(value, StepState):
        return value.value
    return json.dumps(value) if isinstance(value, (dict, list)) else value


def _step(row: Any) -> Step:
    return Step(**{**row, "state": StepState(row["state"])})
