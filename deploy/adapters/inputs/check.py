"""Validate values against an input schema, fill in defaults, and describe problems as sentences."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from deploy.adapters.inputs import schema as shape
from deploy.adapters.inputs.schema import Schema
from deploy.adapters.inputs.sentences import faults_from
from deploy.domain.errors import InvalidInput
from deploy.domain.inputs import ENV, Fault

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

FORMATS = ("date", "email", "ipv4", "ipv6")
# Service authors write the patterns and any user can supply the values, so limit the length of the text to match and
# the time per match.
MAX_MATCHED_LENGTH, PATTERN_SECONDS = 1000, 0.2
# Limits per check: the total seconds for all patterns, and how often a keyword can be applied to a value.
ALL_PATTERNS_SECONDS, MAX_KEYWORDS = 0.5, 100_000
MAX_CPU_SECONDS = 1.0
UNIQUE_ITEM_COST = 16
# A single list can have a hundred thousand problems.
MAX_FAULTS = 200
_ROUNDS = 10
TOO_MUCH = "These values take too long to validate against the inputs of the service. Send fewer or simpler values."
_OPEN = ("additionalProperties", "unevaluatedProperties")


def load() -> None:
    """Load the JSON Schema library in advance, so that the first check does not wait for it."""
    _validator({})


class _Budget:
    """The remaining budget of a check. Without it, hostile schemas or values could keep a check busy for hours."""

    def __init__(self) -> None:
        self._left = MAX_KEYWORDS
        self._deadline = time.thread_time() + MAX_CPU_SECONDS
        self.pattern_seconds = ALL_PATTERNS_SECONDS

    def spend(self, size: int) -> None:
        """Count one applied keyword. `size` is the number of entries it applies to."""
        self._left -= 1 + size // 4
        if self._left < 0 or time.thread_time() > self._deadline:
            raise InvalidInput(TOO_MUCH)


_budget: ContextVar[_Budget] = ContextVar("budget")


@contextmanager
def _limited() -> Iterator[None]:
    token = _budget.set(_Budget())
    try:
        yield
    finally:
        _budget.reset(token)


def checked(schema: Schema, values: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """Return the values with defaults filled in, and the problems found.

    An input that the schema does not name is a problem unless the schema sets `additionalProperties`. Otherwise, a
    secret with a misspelled name would be stored in plain text.

    Raises:
        InvalidInput: The check would take too long.
    """
    validator = _validator(schema)
    with _limited():
        complete = _with_defaults(validator, schema, values)
        unknown = [] if any(keyword in schema for keyword in _OPEN) else _unknown(schema, values)
        return complete, _in_order(schema, [*_faults(validator, schema, complete), *unknown])


def _in_order(schema: Schema, faults: list[Fault]) -> list[Fault]:
    """Return the problems in the order of the form's fields. Problems that do not belong to a field come last."""
    positions = {name: position for position, name in enumerate(shape.names(schema))}
    return sorted(
        faults, key=lambda fault: positions.get(str(fault.path[1]) if len(fault.path) > 1 else "", len(positions))
    )


def missing(schema: Schema, values: dict[str, Any]) -> list[str]:
    """Return the required inputs that do not have a value, in schema order."""
    complete = _with_defaults(_validator(schema), schema, values)
    required: set[str] = set()
    for error in _validator(schema).iter_errors(complete):
        needed: Any = error.validator_value
        if error.absolute_path:
            continue
        if error.validator == "required":
            required.update(name for name in needed if name not in complete)
        elif error.validator == "dependentRequired":
            required.update(
                name for given in needed if given in complete for name in needed[given] if name not in complete
            )
    return [name for name in shape.names(schema) if name in required]


def active_names(schema: Schema, values: dict[str, Any]) -> list[str]:
    """Return the inputs that apply to these values. Leave out inputs whose condition is not met."""
    parts = list(_active(_validator(schema), schema, schema, values, conditions=True))
    names = [name for part in parts for name in part.get("properties", {})]
    return [name for name in shape.names(schema) if name in names]


def faults_of(schema: Schema, values: dict[str, Any]) -> list[Fault]:
    """Return the problems of the values, without filling in defaults.

    Raises:
        InvalidInput: The check would take too long.
    """
    with _limited():
        return _faults(_validator(schema), schema, values)


@lru_cache(maxsize=1)
def validator_class() -> type[Validator]:
    """Return a JSON Schema 2020-12 validator that uses decimal arithmetic and counts against the budget."""
    from jsonschema import Draft202012Validator, validators  # noqa: PLC0415 - heavy, and most sites do without

    overrides = {"multipleOf": _multiple_of, "pattern": _pattern, "uniqueItems": _unique_items}
    counted = {keyword: _counted(apply) for keyword, apply in (Draft202012Validator.VALIDATORS | overrides).items()}
    extended: type[Validator] = validators.extend(Draft202012Validator, counted)  # type: ignore[no-untyped-call]
    return extended


def _counted(function: Callable[..., Any]) -> Callable[..., Any]:
    def count_and_validate(validator: Validator, expected: Any, value: Any, schema: Any) -> Any:
        budget = _budget.get(None)
        if budget is not None:
            budget.spend(len(expected) if isinstance(expected, (list, dict)) else 0)
            if function is _unique_items and isinstance(value, list):
                budget.spend(UNIQUE_ITEM_COST * len(value))
        return function(validator, expected, value, schema)

    return count_and_validate


def _validator(schema: Schema) -> Validator:
    from jsonschema import FormatChecker  # noqa: PLC0415
    from jsonschema_specifications import REGISTRY  # noqa: PLC0415

    # This registry contains the meta-schemas and never fetches anything.
    return validator_class()(schema, registry=REGISTRY, format_checker=FormatChecker(FORMATS))


def _faults(validator: Validator, schema: Schema, values: dict[str, Any]) -> list[Fault]:
    faults = (
        Fault((ENV, *path), sentence)
        for error in validator.iter_errors(values)
        for path, sentence in faults_from(schema, error)
    )
    return list(dict.fromkeys(islice(faults, MAX_FAULTS)))


def _unknown(schema: Schema, values: dict[str, Any]) -> list[Fault]:
    known = shape.names(schema)
    return [
        Fault((ENV, name), f"{name[:100]}: not an input of this service{_hint(known)}")
        for name in values
        if name not in known
    ]


def _hint(known: list[str]) -> str:
    return f"; its inputs are {', '.join(known[:20])}" if known else ""


def _with_defaults(validator: Validator, schema: Schema, values: dict[str, Any]) -> dict[str, Any]:
    complete = dict(values)
    # Check conditions last, because they can depend on defaults.
    for conditions in (False, True):
        for _ in range(_ROUNDS):
            before = len(complete)
            for part in _active(validator, schema, schema, complete, conditions=conditions):
                _fill(schema, part, complete)
            if len(complete) == before:
                break
    return complete


def _fill(root: Schema, part: Schema, values: dict[str, Any]) -> None:
    properties = part.get("properties")
    for name, child in properties.items() if isinstance(properties, dict) else ():
        described = shape.resolved(root, child)
        if "default" in described and name not in values:
            values[name] = copy.deepcopy(described["default"])


def _active(
    validator: Validator, root: Schema, part: Any, values: dict[str, Any], *, conditions: bool
) -> Iterator[Schema]:
    """Yield the parts of the schema that apply to these values. Leave out alternatives (`anyOf`, `oneOf`)."""
    if not isinstance(part, dict):
        return
    yield part
    inner = [shape.target(root, part["$ref"])] if "$ref" in part else []
    inner += part.get("allOf", [])
    if conditions:
        if "if" in part:
            holds = validator.evolve(schema=part["if"]).is_valid(values)
            inner.append(part.get("then" if holds else "else"))
        inner += [child for name, child in part.get("dependentSchemas", {}).items() if name in values]
    for child in inner:
        yield from _active(validator, root, child, values, conditions=conditions)


def _multiple_of(_validator: Validator, step: Any, number: Any, _schema: Any) -> Iterator[ValidationError]:
    """Check with decimal arithmetic: 0.3 is a multiple of 0.1, but not in binary floating point."""
    from jsonschema.exceptions import ValidationError  # noqa: PLC0415

    if isinstance(number, bool) or not isinstance(number, (int, float)):
        return
    if (isinstance(number, float) and not math.isfinite(number)) or _exact(number) % _exact(step):
        yield ValidationError("not a multiple")


def _exact(number: float) -> Fraction:
    return Fraction(number) if isinstance(number, int) else Fraction(repr(number))


def _unique_items(_validator: Validator, expected: Any, entries: Any, _schema: Any) -> Iterator[ValidationError]:
    """Check uniqueness in linear time. The library compares every pair of entries."""
    from jsonschema.exceptions import ValidationError  # noqa: PLC0415

    if expected is True and isinstance(entries, list):
        seen = {json.dumps(_with_whole_numbers(entry), sort_keys=True) for entry in entries}
        if len(seen) < len(entries):
            yield ValidationError("not unique")


def _with_whole_numbers(value: Any) -> Any:
    """Return the value with integral floats converted to integers, because JSON treats 1.0 and 1 as equal."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _with_whole_numbers(inner) for name, inner in value.items()}
    return [_with_whole_numbers(inner) for inner in value] if isinstance(value, list) else value


def _pattern(_validator: Validator, pattern: str, text: Any, _schema: Any) -> Iterator[ValidationError]:
    from jsonschema.exceptions import ValidationError  # noqa: PLC0415

    if not isinstance(text, str):
        return
    if len(text) > MAX_MATCHED_LENGTH:
        yield ValidationError("too long", validator="maxLength", validator_value=MAX_MATCHED_LENGTH)
    elif not _matches(pattern, text):
        yield ValidationError("no match")


def _matches(pattern: str, text: str) -> bool:
    import regex  # noqa: PLC0415 - several MiB, for the few services with patterns

    budget = _budget.get(None)
    seconds = PATTERN_SECONDS if budget is None else min(PATTERN_SECONDS, budget.pattern_seconds)
    if seconds <= 0:
        raise InvalidInput(TOO_MUCH)
    began = time.monotonic()
    try:
        return regex.search(pattern, text, timeout=seconds, concurrent=True) is not None
    except (regex.error, TimeoutError):
        return False
    finally:
        if budget is not None:
            budget.pattern_seconds -= time.monotonic() - began
