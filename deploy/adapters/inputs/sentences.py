"""What is wrong with an answer, in words for the person who gave it. Answers are never repeated: they may be secret."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from deploy.adapters.inputs import schema as shape
from deploy.adapters.inputs.schema import Schema

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

Path = tuple["str | int", ...]
MOST_SHOWN = 20
_TYPES = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "yes or no (true or false)",
    "array": "a list",
    "object": "a group of values",
    "null": "empty",
}
_FORMATS = {
    "date": "has to be a date, such as 2026-03-31",
    "email": "has to be an e-mail address",
    "ipv4": "has to be an IPv4 address, such as 192.0.2.7",
    "ipv6": "has to be an IPv6 address, such as 2001:db8::7",
}
_NEEDED = "has to be given"


def faults_from(root: Schema, error: ValidationError) -> Iterator[tuple[Path, str]]:
    """Yield (path below `env`, sentence) of one error that the library found."""
    path: Path = tuple(error.absolute_path)
    for place, words in _said(root, path, error):
        yield place, f"{label(root, place)}: {words}" if place else words


def label(root: Schema, path: Path) -> str:
    """Return how people call the place of an answer: `Replicas`, or `Hosts, entry 2`."""
    head, *rest = path
    parts = [shape.title(root, str(head))]
    parts += [f"entry {part + 1}" if isinstance(part, int) else part for part in rest]
    return ", ".join(parts)


def shown(value: Any) -> str:
    """Return a value of a schema (a limit, a choice) as people write it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _said(root: Schema, path: Path, error: ValidationError) -> Iterator[tuple[Path, str]]:
    keyword = str(error.validator)
    wanted: Any = error.validator_value
    answer: Any = error.instance
    if keyword == "required":
        yield from (((*path, name), _NEEDED) for name in wanted if name not in answer)
    elif keyword == "dependentRequired":
        for given, needed in wanted.items():
            reason = f"{_NEEDED}, because {label(root, (*path, given))} is"
            yield from (((*path, name), reason) for name in needed if given in answer and name not in answer)
    elif keyword == "additionalProperties" and isinstance(answer, dict):
        known = error.schema.get("properties", {}) if isinstance(error.schema, dict) else {}
        yield from (((*path, name), "this service does not ask for it") for name in answer if name not in known)
    elif keyword in _SIMPLE:
        yield path, _SIMPLE[keyword](wanted)
    elif not path:
        yield path, _together(error)
    else:
        yield path, _with_schema(keyword, wanted, error.schema if isinstance(error.schema, dict) else {}, answer)


def _together(error: ValidationError) -> str:
    if error.validator in ("unevaluatedProperties", "additionalProperties"):
        return "There are inputs that this service does not ask for"
    return "These inputs do not go together"


def _with_schema(keyword: str, wanted: Any, schema: Schema, answer: Any) -> str:
    if keyword in ("oneOf", "anyOf") and all(isinstance(choice, dict) and "const" in choice for choice in wanted):
        return _choose([choice.get("title", choice["const"]) for choice in wanted])
    if keyword == "minLength":
        return _NEEDED if wanted == 1 or answer == "" else f"at least {wanted} characters"
    if keyword == "pattern":
        return f"does not have the expected form{_example(schema)}"
    return f"this is not possible{_example(schema)}"


def _example(schema: Schema) -> str:
    examples = schema.get("examples")
    if isinstance(examples, list) and examples:
        return f", for example {shown(examples[0])}"
    description = schema.get("description")
    return f" ({description.strip().rstrip('.')[:300]})" if isinstance(description, str) and description else ""


def _choose(choices: list[Any]) -> str:
    some = ", ".join(shown(choice) for choice in choices[:MOST_SHOWN])
    more = f" and {len(choices) - MOST_SHOWN} more" if len(choices) > MOST_SHOWN else ""
    return f"choose one of {some}{more}"


def _type(wanted: Any) -> str:
    kinds = wanted if isinstance(wanted, list) else [wanted]
    return "has to be " + " or ".join(_TYPES.get(str(kind), str(kind)) for kind in kinds)


def _entries(count: Any) -> str:
    return f"{count} entry" if count == 1 else f"{count} entries"


_SIMPLE: dict[str, Callable[[Any], str]] = {
    "type": _type,
    "enum": _choose,
    "const": lambda wanted: f"has to be {shown(wanted)}",
    "minimum": lambda wanted: f"at least {shown(wanted)}",
    "maximum": lambda wanted: f"at most {shown(wanted)}",
    "exclusiveMinimum": lambda wanted: f"more than {shown(wanted)}",
    "exclusiveMaximum": lambda wanted: f"less than {shown(wanted)}",
    "multipleOf": lambda wanted: f"has to be a multiple of {shown(wanted)}",
    "maxLength": lambda wanted: f"at most {wanted} characters",
    "format": lambda wanted: _FORMATS.get(str(wanted), "does not have the expected form"),
    "minItems": lambda wanted: f"at least {_entries(wanted)}",
    "maxItems": lambda wanted: f"at most {_entries(wanted)}",
    "uniqueItems": lambda _: "the same entry is there more than once",
}
