"""Read the newest deployments with some properties, at a cost that does not depend on the rest of the history.

The obvious condition, `service_id = 3 ORDER BY id DESC LIMIT 1`, lets the planner read the primary key backwards until
it finds a match. For a service without recent deployments, that is the whole history. The condition below compares
rows instead. Only an index on the same columns has this order, so the planner has no other choice (decision 0024).
"""

from __future__ import annotations

from collections.abc import Mapping

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


# Times and IDs ascend together, but not strictly: servers have different clocks. These statements narrow a range of
# times down to a range of IDs without assuming an order, by probing blocks of 65,536 IDs and then blocks of 256 IDs.
# A function in FROM returns its rows in order, so LIMIT ends the search at the first match.
def _block_with(condition: str, order: str, bits: int, block: str) -> str:
    return (
        f"(SELECT d.created FROM deployments AS d WHERE {condition.format(bits=bits, block=block)} "
        f"ORDER BY (d.id >> {bits}){order}, d.created{order} LIMIT 1) IS NOT NULL"
    )


_NEWEST_BLOCK = "(SELECT max(id) >> 16 FROM deployments)"
_REACHES = (
    "((d.id >> {bits}), d.created) >= ({block}, :since) AND ((d.id >> {bits}), d.created) < ({block} + 1, '-infinity')"
)
_PRECEDES = (
    "((d.id >> {bits}), d.created) >= ({block}, '-infinity') AND ((d.id >> {bits}), d.created) < ({block}, :until)"
)
FIRST_ID_SINCE = Statement(
    f"SELECT small << 8 FROM (SELECT large FROM generate_series(0, {_NEWEST_BLOCK}) AS large "
    f"WHERE {_block_with(_REACHES, ' DESC', 16, 'large')} LIMIT 1) AS found "
    "CROSS JOIN LATERAL (SELECT small FROM generate_series(large << 8, (large << 8) + 255) AS small "
    f"WHERE {_block_with(_REACHES, ' DESC', 8, 'small')} LIMIT 1) AS first"
)
ID_AFTER_ALL_UNTIL = Statement(
    f"SELECT (small + 1) << 8 FROM (SELECT large FROM generate_series({_NEWEST_BLOCK}, 0, -1) AS large "
    f"WHERE {_block_with(_PRECEDES, '', 16, 'large')} LIMIT 1) AS found "
    "CROSS JOIN LATERAL (SELECT small FROM generate_series((large << 8) + 255, large << 8, -1) AS small "
    f"WHERE {_block_with(_PRECEDES, '', 8, 'small')} LIMIT 1) AS last"
)
