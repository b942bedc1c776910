"""Read the newest deployments with some properties, at a cost that does not depend on the rest of the history.

The obvious condition, `service_id = 3 ORDER BY id DESC LIMIT 1`, lets the planner read the primary key backwards until
it finds a match. For a service without recent deployments, that is the whole history. The condition below compares
rows instead. Only an index on the same columns has this order, so the planner has no other choice (decision 0024).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deploy.adapters.repository.statement import Statement

FIRST_ID, BEYOND_LAST_ID = "0", "9223372036854775807"


def newest_first(
    keys: Mapping[str, str],
    *,
    table: str = "d",
    before: str = BEYOND_LAST_ID,
    first: str = FIRST_ID,
    also: str = "",
    oldest: bool = False,
) -> str:
    """Return WHERE and ORDER BY for the deployments in `table` whose columns equal the SQL expressions in `keys`.

    There must be an index on exactly these columns, in this order, followed by `id`. `first` (inclusive) and `before`
    limit the IDs. `also` is a further condition, to be used only if it excludes few rows. `oldest` reverses the order.
    """
    names = [f'{table}."{name}"' for name in (*keys, "id")]
    columns, values = ", ".join(names), ", ".join(keys.values())
    order = ", ".join(f"{name}{'' if oldest else ' DESC'}" for name in names)
    return f"WHERE ({columns}) >= ({values}, {first}) AND ({columns}) < ({values}, {before}) {also} ORDER BY {order}"


# Times and IDs ascend together, but not strictly: servers have different clocks, and a clock can be wrong for a while.
# This statement narrows a range of times down to ranges of IDs without assuming an order, by probing blocks of 16,384 IDs.
# It takes a block as it is if all of its times match, and otherwise probes the blocks of 256 IDs in it.
_BEFORE_ALL = "'-infinity'"
_SINCE = f"coalesce(CAST(:since AS timestamptz), {_BEFORE_ALL})"
_UNTIL = "coalesce(CAST(:until AS timestamptz), 'infinity')"


def _has_time(bits: int, block: str, since: str, until: str, end: str = "") -> str:
    """Return the condition that a block has a time from `since` to before `until` (of the block `end`)."""
    created = f"((d.id >> {bits}), d.created)"
    return (
        f"(SELECT d.created FROM deployments AS d WHERE {created} >= ({block}, {since}) "
        f"AND {created} < ({end or block}, {until}) ORDER BY (d.id >> {bits}), d.created LIMIT 1) IS NOT NULL"
    )


_HAS_OTHERS = (
    f"({_has_time(14, 'large', _BEFORE_ALL, _SINCE)} "
    f"OR {_has_time(14, 'large', _UNTIL, _BEFORE_ALL, end='large + 1')})"
)
ID_RANGES = Statement(
    "SELECT part.first, part.before FROM "
    "generate_series(0, (SELECT max(id) >> 14 FROM deployments)) AS large CROSS JOIN LATERAL ("
    f"SELECT large << 14 AS first, (large + 1) << 14 AS before WHERE NOT {_HAS_OTHERS} UNION ALL "
    "SELECT small << 8, (small + 1) << 8 FROM generate_series(large << 6, (large << 6) + 63) AS small "
    f"WHERE {_HAS_OTHERS} AND {_has_time(8, 'small', _SINCE, _UNTIL)}) AS part "
    f"WHERE {_has_time(14, 'large', _SINCE, _UNTIL)}"
)


def joined(ranges: Sequence[tuple[int, int]], at_most: int) -> list[tuple[int, int]]:
    """Join adjacent ranges of IDs (first, before), and then those with the smallest gaps until `at_most` are left."""
    ordered = sorted(ranges)
    gaps = {place: ordered[place][0] - ordered[place - 1][1] for place in range(1, len(ordered))}
    largest = sorted((place for place in gaps if gaps[place] > 0), key=lambda place: -gaps[place])[: at_most - 1]
    begins = sorted([0, *largest])
    ends = [*begins[1:], len(ordered)]
    return (
        [(ordered[begin][0], ordered[end - 1][1]) for begin, end in zip(begins, ends, strict=True)] if ordered else []
    )
