"""Helpers for statements on mapped tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column

from deploy.adapters.orm import MAPPED
from deploy.adapters.repository.statement import AnySelect
from deploy.domain.fields import names_of


def current(statement: AnySelect) -> AnySelect:
    """Make a SELECT of mapped objects refresh those that the session has already loaded.

    Otherwise, it would return the state from before the row was locked, which another transaction may have changed.
    """
    return statement.execution_options(populate_existing=True)


def columns_in_field_order(kind: type[Any]) -> Sequence[Column[Any]]:
    """Return the columns of a mapped class in the order of its fields.

    Reading plain rows takes half the time of loading mapped objects, which matters for every authenticated request.
    """
    return [MAPPED[kind].c[name] for name in names_of(kind)]
