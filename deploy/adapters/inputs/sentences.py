"""Describe problems with values to users. Messages never repeat a value, because it could be secret."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from deploy.adapters.inputs import schema as shape
from deploy.adapters.inputs.schema import Schema

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

Path = tuple["str | int", ...]
MAX_SHOWN = 20
_TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "yes or no (true or false)",
    "array": "a list",
    "object": "an object",
    "null": "empty",
}
_FORMATS = {
    "date": "must be a date, such as 2026-03-31",
    "email": "must be an email address",
    "ipv4": "must be an IPv4 address, such as 192.0.2.7",
    "ipv6": "must be an IPv6 address, such as 2001:db8::7",
}
_REQUIRED = "required"


def faults_from(root: Schema, error: ValidationError) -> Iterator[tuple[Path, str]]:
    """Yield (path below `env`, sentence) for a validation error."""
    path: Path = tuple(error.absolute_path)
    for location, sentence in _problems(root, path, error):
        yield location, f"{label(root, location)}: {sentence}" if location else sentence


def label(root: Schema, path: Path) -> str:
    """Return the label of a value's location, such as `Replicas` or `Hosts, entry 2`."""
    head, *rest = path
    parts = [shape.title(root, str(head))]
    parts += [f"entry {part + 1}" if isinstance(part, int) else part for part in rest]
    return ", ".join(parts)


def shown(value: Any) -> str:
    """Return a value from a schema (a limit or a choice) as text for users."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _problems(root: Schema, path: Path, error: ValidationError) -> Iterator[tuple[Path, str]]:
    keyword = str(error.validator)
    expected: Any = error.validator_value
    value: Any = error.instance
    if keyword == "required":
        yield from (((*path, name), _REQUIRED) for name in expected if name not in value)
    elif keyword == "dependentRequired":
        for given, needed in expected.items():
            reason = f"{_REQUIRED} because {label(root, (*path, given))} is set"
            yield from (((*path, name), reason) for name in needed if given in value and name not in value)
    elif keyword == "additionalProperties" and isinstance(value, dict):
        known = error.schema.get("properties", {}) if isinstance(error.schema, dict) else {}
        yield from (((*path, name), "not an input of this service") for name in value if name not in known)
    elif keyword in _SIMPLE:
        yield path, _SIMPLE[keyword](expected)
    elif not path:
        yield path, _object_problem(error)
    else:
        yield path, _with_schema(keyword, expected, error.schema if isinstance(error.schema, dict) else {}, value)


def _object_problem(error: ValidationError) -> str:
    if error.validator in ("unevaluatedProperties", "additionalProperties"):
        return "Some of these are not inputs of this service"
    return "This combination of values is not allowed"


def _with_schema(keyword: str, expected: Any, schema: Schema, value: Any) -> str:
    if keyword in ("oneOf", "anyOf") and all(isinstance(choice, dict) and "const" in choice for choice in expected):
        return _choose([choice.get("title", choice["const"]) for choice in expected])
    if keyword == "minLength":
        return _REQUIRED if expected == 1 or value == "" else f"must have at least {expected} characters"
    if keyword == "pattern":
        return f"does not match the expected format{_example(schema)}"
    return f"not allowed{_example(schema)}"


def _example(schema: Schema) -> str:
    examples = schema.get("examples")
    if isinstance(examples, list) and examples:
        return f", for example {shown(examples[0])}"
    description = schema.get("description")
    return f" ({description.strip().rstrip('.')[:300]})" if isinstance(description, str) and description else ""


def _choose(choices: list[Any]) -> str:
    some = ", ".join(shown(choice) for choice in choices[:MAX_SHOWN])
    more = f" and {len(choices) - MAX_SHOWN} more" if len(choices) > MAX_SHOWN else ""
    return f"must be one of {some}{more}"


def _type(expected: Any) -> str:
    kinds = expected if isinstance(expected, list) else [expected]
    return "must be " + " or ".join(_TYPES.get(str(kind), str(kind)) for kind in kinds)


def _entries(count: Any) -> str:
    return f"{count} entry" if count == 1 else f"{count} entries"


_SIMPLE: dict[str, Callable[[Any], str]] = {
    "type": _type,
    "enum": _choose,
    "const": lambda expected: f"must be {shown(expected)}",
    "minimum": lambda expected: f"must be at least {shown(expected)}",
    "maximum": lambda expected: f"must be at most {shown(expected)}",
    "exclusiveMinimum": lambda expected: f"must be greater than {shown(expected)}",
    "exclusiveMaximum": lambda expected: f"must be less than {shown(expected)}",
    "multipleOf": lambda expected: f"must be a multiple of {shown(expected)}",
    "maxLength": lambda expected: f"must have at most {expected} characters",
    "format": lambda expected: _FORMATS.get(str(expected), "does not match the expected format"),
    "minItems": lambda expected: f"must have at least {_entries(expected)}",
    "maxItems": lambda expected: f"must have at most {_entries(expected)}",
    "uniqueItems": lambda _: "must not contain the same entry twice",
}
