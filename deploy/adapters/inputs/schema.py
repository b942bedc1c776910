"""Find the inputs that a JSON Schema describes from its structure, without a library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deploy.domain.errors import InvalidInput

Schema = dict[str, Any]
# Limit on visited parts. With references, a 2 kB schema can have millions of them.
MAX_VISITED = 2_000

CHOICES = "x-choices"
# Keywords whose values are schemas, lists of schemas, or schemas by name (JSON Schema 2020-12).
_ONE = (
    "if",
    "then",
    "else",
    "not",
    "items",
    "contains",
    "additionalProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
)
_LIST = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED = ("properties", "dependentSchemas", "$defs")
# Keywords whose schemas apply to the same value.
_SAME_ONE = ("if", "then", "else")
_SAME_LIST = ("allOf", "anyOf", "oneOf")


@dataclass(frozen=True, slots=True)
class Field:
    """A place where a schema describes an input. Conditions can describe the same input in several places.

    `raw` is the schema at `path`. `schema` is the same schema with references resolved.
    """

    name: str
    schema: Schema
    path: str
    raw: Any


class SchemaTooLarge(InvalidInput):
    """A schema has so many references that finding its inputs would take minutes."""

    def __init__(self) -> None:
        super().__init__(
            f"inputs: the schema is too complicated (more than {MAX_VISITED} parts after following references)."
        )


def children(schema: Schema) -> Iterator[tuple[str, Any]]:
    """Yield (path, schema) for each direct subschema. Data (`default`, `enum`, …) is not a subschema."""
    for keyword in _ONE:
        if keyword in schema:
            yield keyword, schema[keyword]
    for keyword in _LIST:
        for number, child in enumerate(_list(schema.get(keyword))):
            yield f"{keyword}.{number}", child
    for keyword in _NAMED:
        for name, child in _dict(schema.get(keyword)).items():
            yield f"{keyword}.{name}", child


def walk(schema: Any, path: str = "inputs") -> Iterator[tuple[str, Schema]]:
    """Yield (path, schema) for a schema and all its subschemas, except `true` and `false`."""
    if isinstance(schema, dict):
        yield path, schema
        for step, child in children(schema):
            yield from walk(child, f"{path}.{step}")


def target(root: Schema, reference: object) -> Any:
    """Return the target of a `$ref` within the document, or None if the target does not exist."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    found: Any = root
    for part in reference[1:].split("/")[1:]:
        found = _step(found, part.replace("~1", "/").replace("~0", "~"))
    return found


def fields(root: Schema) -> Iterator[Field]:
    """Yield every place that describes an input, unconditional places first. Follow references.

    Raises:
        SchemaTooLarge: The schema has too many parts.
    """
    yield from _fields(root, root, "inputs", frozenset(), _Visits())


def names(root: Schema) -> list[str]:
    """Return the names of all inputs, in schema order."""
    return list(dict.fromkeys(field.name for field in fields(root)))


def secret_names(root: Schema) -> frozenset[str]:
    """Return the names of the inputs that any part of the schema marks as secret."""
    return frozenset(field.name for field in fields(root) if field.schema.get("writeOnly") is True)


def resolved(root: Schema, schema: Any) -> Schema:
    """Return a schema with its reference resolved. The schema's own keywords take precedence."""
    found: Schema = dict(schema) if isinstance(schema, dict) else {}
    seen: set[str] = set()
    while isinstance(reference := found.pop("$ref", None), str) and reference not in seen:
        seen.add(reference)
        found = {**_dict(target(root, reference)), **found}
    return found


def title(root: Schema, name: str) -> str:
    """Return the title of an input, or its name if it does not have a title."""
    titles = (field.schema.get("title") for field in fields(root) if field.name == name)
    return next((found for found in titles if isinstance(found, str) and found), name)


def choice_source(schema: Schema) -> Mapping[str, Any] | None:
    """Return the source of an input's dynamic choices, or None if its choices are not dynamic."""
    found = schema.get(CHOICES) or _dict(schema.get("items")).get(CHOICES)
    return found if isinstance(found, dict) else None


class _Visits:
    """Counts the visited parts of a schema."""

    def __init__(self) -> None:
        self._count = 0

    def add(self) -> None:
        self._count += 1
        if self._count > MAX_VISITED:
            raise SchemaTooLarge


def _fields(root: Schema, schema: Any, path: str, seen: frozenset[str], visits: _Visits) -> Iterator[Field]:
    if not isinstance(schema, dict):
        return
    visits.add()
    for name, child in _dict(schema.get("properties")).items():
        yield Field(name, resolved(root, child), f"{path}.properties.{name}", child)
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference not in seen:
        yield from _fields(root, target(root, reference), path, seen | {reference}, visits)
    for keyword in _SAME_LIST:
        for number, child in enumerate(_list(schema.get(keyword))):
            yield from _fields(root, child, f"{path}.{keyword}.{number}", seen, visits)
    for keyword in _SAME_ONE:
        yield from _fields(root, schema.get(keyword), f"{path}.{keyword}", seen, visits)
    for name, child in _dict(schema.get("dependentSchemas")).items():
        yield from _fields(root, child, f"{path}.dependentSchemas.{name}", seen, visits)


def _step(found: Any, part: str) -> Any:
    if isinstance(found, dict):
        return found.get(part)
    if isinstance(found, list) and part.isdigit() and int(part) < len(found):
        return found[int(part)]
    return None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
