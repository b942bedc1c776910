"""Check the input schema that a service author wrote, and report the location and cause of each problem."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from posixpath import isabs, join, normpath
from typing import Any

from deploy.adapters.inputs import schema as shape
from deploy.adapters.inputs.schema import CHOICES, Field, Schema, SchemaTooLarge
from deploy.adapters.runs.supervisor.file_access import FILE, MISSING
from deploy.adapters.service_folders.files import FileError, Files
from deploy.domain.errors import InvalidInput

MAX_FIELDS = 200
MAX_NAME_LENGTH = 200
# Limits on the parts of a schema after references are resolved, and on the depth of nested references.
MAX_PARTS, MAX_DEPTH = 20_000, 50
MAX_PATTERN_LENGTH = 2_000
COMPILE_SECONDS = 0.2  # processor time to check one pattern
DRAFT = "https://json-schema.org/draft/2020-12/schema"
# A name that matches a pattern could be secret without anyone noticing. The other keywords refer to parts outside this
# document.
_UNSUPPORTED = {
    "patternProperties": "list each input in `properties` instead.",
    "propertyNames": "list each input in `properties` instead.",
    "$id": "remove it; the schema of inputs has no URI.",
    "$anchor": "refer to `#/$defs/…` instead.",
    "$dynamicRef": "refer to `#/$defs/…` with `$ref` instead.",
    "$dynamicAnchor": "refer to `#/$defs/…` with `$ref` instead.",
}
_FORBIDDEN_FOR_SECRETS = ("default", "const", "enum", "examples", "oneOf", CHOICES)


class SchemaFault(Exception):
    """The schema cannot be used. The text starts with the location in the schema."""


def check_inputs(files: Files, schema: Schema, folder: str, *, is_accepted: bool = False) -> None:
    """Check the input schema of the service in `folder`. `is_accepted` means that the schema already passed the check.

    Raises:
        SchemaFault: The schema is invalid, refers to another document, or names a command that does not exist.
    """
    if not is_accepted:
        check_keywords(schema)
    check_size(schema)
    if not is_accepted:
        check_schema(schema)
    check_programs(files, schema, folder)


def check_keywords(schema: Schema) -> None:
    """Check that the schema has the right type and only uses supported keywords.

    Raises:
        SchemaFault: The schema is not of type `object` or uses an unsupported keyword.
    """
    if schema.get("type") != "object":
        raise SchemaFault('inputs.type: must be "object".')
    for path, part in shape.walk(schema):
        _check_keywords(schema, part, path)


def check_size(schema: Schema) -> None:
    """Check that the schema is not recursive and small enough to be processed quickly.

    Raises:
        SchemaFault: The schema refers to itself or is too complicated.
    """
    _check_references(schema)
    try:
        found = list(shape.fields(schema))
    except SchemaTooLarge as error:
        raise SchemaFault(str(error).rstrip(".")) from error
    if len(found) > MAX_FIELDS:
        raise SchemaFault(f"inputs: the schema describes more than {MAX_FIELDS} inputs.")


def check_schema(schema: Schema) -> None:
    """Validate the schema against JSON Schema and the rules for inputs. Run the other checks first. Loads a heavy
    library.

    Raises:
        SchemaFault: The schema is invalid.
    """
    _check_meta(schema)
    found = list(shape.fields(schema))
    for field in found:
        _check_field(field)
    _check_places(schema, found)


def check_programs(files: Files, schema: Schema, folder: str) -> None:
    """Check that the commands named by the schema exist.

    Raises:
        SchemaFault: A command does not exist or is outside the folder.
    """
    for field in shape.fields(schema):
        for path, source, _ in _choices(field):
            if "command" in source:
                _check_program(f"{path}.command", source["command"][0], files, folder)


def _check_keywords(root: Schema, part: Schema, path: str) -> None:
    for keyword, instead in _UNSUPPORTED.items():
        if keyword in part:
            raise SchemaFault(f"{path}.{keyword}: not supported here; {instead}")
    if part.get("$schema", DRAFT) != DRAFT:
        raise SchemaFault(f"{path}.$schema: must be {DRAFT}.")
    reference = part.get("$ref")
    if reference is not None and not (isinstance(reference, str) and reference.startswith("#/")):
        raise SchemaFault(f"{path}.$ref: must refer to a part of the same schema (`#/$defs/…`).")
    if reference is not None and not isinstance(shape.target(root, reference), dict):
        raise SchemaFault(f"{path}.$ref: {reference} does not exist.")
    if isinstance(pattern := part.get("pattern"), str):
        _check_pattern(pattern, f"{path}.pattern")


def _check_pattern(pattern: str, path: str) -> None:
    import regex  # noqa: PLC0415 - several MiB, for the few services with patterns

    if len(pattern) > MAX_PATTERN_LENGTH:
        raise SchemaFault(f"{path}: must have at most {MAX_PATTERN_LENGTH} characters.")
    began = time.process_time()
    try:
        re.compile(pattern)
        regex.compile(pattern)
    except (re.error, regex.error, OverflowError) as error:
        raise SchemaFault(f"{path}: not a valid regular expression ({error}).") from error
    if time.process_time() - began > COMPILE_SECONDS:
        raise SchemaFault(f"{path}: the pattern is too complicated.")


def _check_meta(schema: Schema) -> None:
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415 - heavy, and most sites do without

    from deploy.adapters.inputs.check import validator_class  # noqa: PLC0415

    try:
        validator_class().check_schema(schema)
    except SchemaError as error:
        path = ".".join(["inputs", *map(str, error.absolute_path)])
        raise SchemaFault(f"{path}: {error.message[:500]}") from error


def _check_references(schema: Schema) -> None:
    """Reject schemas that refer to themselves or expand to too many parts, because a form must be finite."""
    parts = 0

    def follow(part: Any, path: str, above: tuple[str, ...]) -> None:
        nonlocal parts
        for location, inner in shape.walk(part, path):
            parts += 1
            if parts > MAX_PARTS or len(above) > MAX_DEPTH:
                raise SchemaFault("inputs: the schema is too complicated; use fewer references.")
            reference = inner.get("$ref")
            if reference in above:
                raise SchemaFault(f"{location}.$ref: {reference} refers to itself.")
            if reference is not None:
                follow(shape.target(schema, reference), reference, (*above, reference))

    follow(schema, "inputs", ())


def _check_field(field: Field) -> None:
    if not field.name or len(field.name) > MAX_NAME_LENGTH:
        raise SchemaFault(f"{field.path}: the name must have 1 to {MAX_NAME_LENGTH} characters.")
    if field.schema.get("writeOnly") is True:
        _check_secret(field)
    choices = list(_choices(field))
    for path, source, enclosing in choices:
        _check_choices(path, source, enclosing)
    if "default" in field.schema and not choices:
        _check_default(field)


def _choices(field: Field) -> Iterator[tuple[str, Any, Schema]]:
    """Yield (path, source, enclosing schema) for each dynamic choice of a field or its entries."""
    items = field.schema.get("items")
    for path, part in ((field.path, field.schema), (f"{field.path}.items", items if isinstance(items, dict) else {})):
        if part.get(CHOICES) is not None:
            yield f"{path}.{CHOICES}", part[CHOICES], part


def _check_secret(field: Field) -> None:
    if field.schema.get("type") != "string":
        raise SchemaFault(f'{field.path}: a secret (`writeOnly`) must be of type "string".')
    for keyword in _FORBIDDEN_FOR_SECRETS:
        if keyword in field.schema:
            raise SchemaFault(f"{field.path}.{keyword}: not allowed for a secret, because everyone could read it.")


def _check_choices(path: str, source: Any, enclosing: Schema) -> None:
    if any(keyword in enclosing for keyword in ("enum", "oneOf", "const")):
        raise SchemaFault(f"{path}: the choices are also listed here; keep only one of the two.")
    if not isinstance(source, dict) or len(source) != 1 or not source.keys() <= {"command", "inventory"}:
        raise SchemaFault(f'{path}: must have either "command" or "inventory".')
    if "inventory" in source:
        if not isinstance(source["inventory"], str) or not source["inventory"]:
            raise SchemaFault(f'{path}.inventory: must be "hosts", "groups", or the name of a group.')
        return
    command = source["command"]
    if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
        raise SchemaFault(f"{path}.command: must be a list of strings: a program in this folder, then its arguments.")
    if any("\x00" in word for word in command):
        raise SchemaFault(f"{path}.command: must not contain NUL characters.")


def _check_program(path: str, program: str, files: Files, folder: str) -> None:
    if isabs(program) or normpath(program).startswith(".."):
        raise SchemaFault(f"{path}: {program!r} is outside the folder.")
    kind = files.kind(join(folder, program))
    if kind == MISSING:
        raise SchemaFault(f"{path}: {program!r} does not exist in the folder.")
    if kind != FILE:
        raise SchemaFault(f"{path}: {program!r}: {FileError(kind)}.")


def _check_default(field: Field) -> None:
    from deploy.adapters.inputs.check import faults_of  # noqa: PLC0415

    try:
        faults = faults_of({"properties": {field.name: field.schema}}, {field.name: field.schema["default"]})
    except InvalidInput as error:
        raise SchemaFault(f"{field.path}.default: takes too long to validate.") from error
    if faults:
        raise SchemaFault(f"{field.path}.default: does not match the schema: {faults[0].sentence}.")


def _check_places(schema: Schema, found: list[Field]) -> None:
    """Reject `writeOnly` and dynamic choices where they would have no effect."""
    for path, keyword in _misplaced_keywords(schema, found):
        raise SchemaFault(f"{path}.{keyword}: allowed only for a whole input, not for a part of one.")


def _misplaced_keywords(schema: Schema, found: list[Field]) -> Iterator[tuple[str, str]]:
    known = {id(part) for part in _described(schema, found)}
    for path, part in shape.walk(schema):
        if id(part) in known:
            continue
        if part.get("writeOnly") is True:
            yield path, "writeOnly"
        if CHOICES in part:
            yield path, CHOICES


def _described(schema: Schema, found: list[Field]) -> Iterator[Schema]:
    """Yield the unresolved parts of the schema that describe an input, or the entries of an input with choices."""
    for field in found:
        part: Any = field.raw
        seen = 0
        while isinstance(part, dict) and seen <= MAX_FIELDS:
            yield part
            if isinstance(part.get("items"), dict) and part["items"].get("writeOnly") is not True:
                yield part["items"]
            part, seen = shape.target(schema, part.get("$ref")), seen + 1
