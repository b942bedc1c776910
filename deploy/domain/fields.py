"""How the fields of stored classes are used. Each field says so where it is declared.

Statements and messages follow from these declarations, or tests compare them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

# The field can change after the row was added.
CHANGES: Mapping[str, bool] = {"changes": True}
# Clients receive the field.
SENT: Mapping[str, bool] = {"sent": True}
CHANGES_AND_SENT: Mapping[str, bool] = {**CHANGES, **SENT}


def names_of(kind: type[Any]) -> tuple[str, ...]:
    """Return the names of all fields of a class, in order."""
    return tuple(field.name for field in fields(kind))


def changing(kind: type[Any]) -> tuple[str, ...]:
    """Return the names of the fields that can change."""
    return tuple(field.name for field in fields(kind) if field.metadata.get("changes"))


def sent(kind: type[Any]) -> tuple[str, ...]:
    """Return the names of the fields that clients receive, `id` first."""
    names = [field.name for field in fields(kind) if field.metadata.get("sent")]
    return tuple(sorted(names, key=lambda name: name != "id"))


def moments(kind: type[Any]) -> frozenset[str]:
    """Return the names of the fields that contain a time."""
    return frozenset(field.name for field in fields(kind) if "datetime" in str(field.type))
