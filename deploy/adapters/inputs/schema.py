"""Which inputs a JSON Schema describes: found by its structure alone, without a library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deploy.domain.errors import InvalidInput

Schema = dict[str, Any]
# Places that are looked at for inputs. References let a schema of 2 kB have millions of them.
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
# Those that apply to the very same value.
_SAME_ONE = ("if", "then", "else")
_SAME_LIST = ("allOf", "anyOf", "oneOf")


@dataclass(frozen=True, slots=True)
class Field:
    """One place where a schema describes an input; a name may have several (conditions).

    `raw` is what stands at `path`, `schema` the same with its references followed.
    """

    name: str
    schema: Schema
    path: str
    raw: Any


class SchemaTooLarge(InvalidInput):
    """A schema refers to its own parts so often that looking for its inputs would take minutes."""

    def __init__(self) -> None:
        super().__init__(f"inputs: it is too complicated (more than {MAX_VISITED} parts, references followed).")


def children(schema: Schema) -> Iterator[tuple[str, Any]]:
    """Yield (path, schema) of everything right below a schema; data (`default`, `enum`, …) is none."""
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
    """Yield (path, schema) of a schema and of all below it; `true` and `false` are left out."""
    if isinstance(schema, dict):
        yield path, schema
        for step, child in children(schema):
            yield from walk(child, f"{path}.{step}")


def target(root: Schema, reference: object) -> Any:
    """Return what a `$ref` within the document points to, None where there is nothing."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    found: Any = root
    for part in reference[1:].split("/")[1:]:
        found = _step(found, part.replace("~1", "/").replace("~0", "~"))
    return found


def fields(root: Schema) -> Iterator[Field]:
    """Yield every place that describes an input, unconditional ones first; references are followed.

    Raises:
        SchemaTooLarge: there are too many.
    """
    yield from _fields(root, root, "inputs", frozenset(), _Visits())


def names(root: Schema) -> list[str]:
    """Return the names of all inputs, in the order in which the schema has them."""
    return list(dict.fromkeys(field.name for field in fields(root)))


def secret_names(root: Schema) -> frozenset[str]:
    """Return the names of the inputs that are secret, wherever the schema says so."""
    return frozenset(field.name for field in fields(root) if field.schema.get("writeOnly") is True)


def resolved(root: Schema, schema: Any) -> Schema:
    """Return a schema with its reference followed; its own keywords win."""
    found: Schema = dict(schema) if isinstance(schema, dict) else {}
    seen: set[str] = set()
    while isinstance(reference := found.pop("$ref", None), str) and reference not in seen:
        seen.add(reference)
        found = {**_dict(target(root, reference)), **found}
    return found


def title(root: Schema, name: str) -> str:
    """Return how people call an input."""
    titles = (field.schema.get("title") for field in fields(root) if field.name == name)
    return next((found for found in titles if isinstance(found, str) and found), name)


def choice_source(schema: Schema) -> Mapping[str, Any] | None:
    """Return where the choices of an input come from, if they are to be found out."""
    found = schema.get(CHOICES) or _dict(schema.get("items")).get(CHOICES)
    return found if isinstance(found, dict) else None


class _Visits:
    """How many parts of a schema were visited."""

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
