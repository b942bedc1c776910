"""Write sets of states as SQL, so that no statement has its own list of states."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum


def sql_list(states: Collection[Enum]) -> str:
    """Return states as a SQL list, in the order of their enum.

    The text is always the same for the same set, so that the planner recognizes the predicate of a partial index.
    """
    (kind,) = {type(state) for state in states}
    return ", ".join(f"'{state.value}'" for state in kind if state in states)
