"""Read and write JSON with the C module behind `json`.

`json` itself imports `re` and `enum`, but startup must only take milliseconds.
"""

from __future__ import annotations

from _json import encode_basestring_ascii, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

quoted = encode_basestring_ascii


class _Decoding:
    strict = False
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def from_json(text: str) -> Any:
    """Return the value in `text`. Raise ValueError if it is not JSON."""
    text = text.strip()
    try:
        value, end = make_scanner(_Decoding)(text, 0)  # type: ignore[arg-type]
    except StopIteration:
        raise ValueError("not JSON") from None
    if end != len(text):
        raise ValueError("more than one JSON value")
    return value


def to_json(value: Mapping[str, str | int | tuple[str, ...] | None]) -> str:
    fields = []
    for key, item in value.items():
        if isinstance(item, tuple):
            text = sentence(*item)
        else:
            text = "null" if item is None else str(item) if isinstance(item, int) else quoted(item)
        fields.append(f"{quoted(key)}:{text}")
    return "{" + ",".join(fields) + "}"


def sentence(*parts: str) -> str:
    """Return a sentence as JSON: a template of our own, and the values to put in place of each `{}` in it.

    The worker masks secrets in the values, not in our own words.
    """
    return "[" + ",".join(map(quoted, parts)) + "]"
