"""Inputs of a service, and the conversion of values from text to the types in the schema."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from deploy.adapters.inputs import schema as shape
from deploy.adapters.inputs.schema import Field, Schema
from deploy.entrypoints.cli.client.api import Api
from deploy.entrypoints.cli.client.errors import Refused, UsageError
from deploy.entrypoints.cli.client.text import one_line

ServiceInputs = dict[str, Any]
NO_INPUTS: ServiceInputs = {"schema": None, "confirm": False, "problems": [], "last": None}
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def inputs_of(api: Api, service_id: int | None) -> ServiceInputs:
    """Return the inputs of a service. If it is None, use the service of the token."""
    try:
        inputs: ServiceInputs = api.get(f"/services/{'own' if service_id is None else service_id}/inputs")
    except Refused as error:
        if error.status == 404:
            return NO_INPUTS  # an older server or a deleted service; starting the deployment reports the error
        raise
    return inputs


def fields_by_name(schema: Schema) -> dict[str, Field]:
    """Return the inputs by name, each with its first description in the schema."""
    found: dict[str, Field] = {}
    for field in shape.fields(schema):
        found.setdefault(field.name, field)
    return found


def convert_values(schema: Schema | None, values: dict[str, str]) -> dict[str, Any]:
    """Return values converted to the types in the schema. Keep them as text if the schema does not have a type.

    Values that cannot be converted also stay text, and the server reports the error.

    Raises:
        UsageError: A file named by a value cannot be read.
    """
    if schema is None:
        return dict(values)
    fields = fields_by_name(schema)
    return {
        name: _convert(_read(name, text, fields[name].schema), fields[name].schema) if name in fields else text
        for name, text in values.items()
    }


def choices_of(schema: Schema) -> list[tuple[Any, str]]:
    """Return the choices of an input as values and labels. Return no choices if any value is allowed."""
    items = schema.get("items")
    if schema.get("type") == "array" and isinstance(items, dict):
        return choices_of(items)
    if isinstance(schema.get("enum"), list):
        return [(value, _shown(value)) for value in schema["enum"]]
    listed = schema.get("oneOf")
    if isinstance(listed, list) and all(isinstance(choice, dict) and "const" in choice for choice in listed):
        return [(choice["const"], str(choice.get("title", _shown(choice["const"])))) for choice in listed]
    return []


def input_record(schema: Schema) -> list[list[str]]:
    """Return the columns for an input: name, type, `yes` if required, default, and description."""
    required = set(schema.get("required", []))
    rows = []
    for name, field in fields_by_name(schema).items():
        default = field.schema.get("default")
        texts = [name, _kind(field.schema), "yes" if name in required and default is None else ""]
        texts += ["" if default is None else _shown(default)]
        texts += [" ".join(filter(None, (field.schema.get("title"), field.schema.get("description"))))]
        rows.append([one_line(text) for text in texts])
    return rows


def _kind(schema: Schema) -> str:
    choices = [_shown(value) for value, _ in choices_of(schema)]
    kind = "secret" if is_secret(schema) else str(schema.get("format") or schema.get("type") or "text")
    kind = {"string": "text", "multiline": "long text", "integer": "whole number", "array": "list"}.get(kind, kind)
    if not choices:
        return kind
    shown = ", ".join(choices[:10]) + (", …" if len(choices) > 10 else "")
    return f"some of {shown}" if schema.get("type") == "array" else f"one of {shown}"


def is_secret(schema: Schema) -> bool:
    """Return True if the value must not be shown."""
    return schema.get("writeOnly") is True


def is_multiline(schema: Schema) -> bool:
    """Return True if the value can have several lines."""
    return schema.get("format") == "multiline"


def parse_value(schema: Schema, name: str, text: str) -> Any:
    """Return a value converted to the type in the schema. For `@FILE`, read the value from the file."""
    return _convert(_read(name, text, schema), schema)


def _read(name: str, text: str, schema: Schema) -> str:
    if not text.startswith("@") or not (is_secret(schema) or is_multiline(schema)):
        return text
    if text.startswith("@@"):
        return text[1:]
    try:
        if text == "@-":
            content = sys.stdin.read()
        else:
            with open(text[1:], encoding="utf-8") as file:
                content = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UsageError(
            f"{name}: {text[1:]} cannot be read ({reason}). For a value that starts with @, write @@."
        ) from error
    # Editors add a newline at the end of a file, which is not part of a password.
    return content if is_multiline(schema) else content.removesuffix("\n").removesuffix("\r")


def _convert(text: str, schema: Schema) -> Any:
    for value, title in choices_of(schema) if schema.get("type") != "array" else ():
        if text in (_shown(value), title):
            return value
    kinds = schema.get("type")
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        convert = _CONVERT.get(str(kind))
        if convert is not None and (value := convert(text, schema)) is not None:
            return value
    return text


def _boolean(text: str, _schema: Schema) -> bool | None:
    return _BOOLEANS.get(text.strip().lower())


def _integer(text: str, _schema: Schema) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _number(text: str, schema: Schema) -> float | None:
    whole = _integer(text, schema)
    try:
        number = float(text)
    except ValueError:
        return None
    return whole if whole is not None else number if abs(number) < float("inf") else None


def _list(text: str, schema: Schema) -> list[Any] | None:
    if text.lstrip().startswith("["):
        found = _json(text, schema)
        return found if isinstance(found, list) else None
    items = schema.get("items")
    inner: Schema = items if isinstance(items, dict) else {}
    separator = "\n" if "\n" in text else ","
    return [_convert(part.strip(), inner) for part in text.split(separator) if part.strip()]


def _json(text: str, _schema: Schema) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


_CONVERT: dict[str, Callable[[str, Schema], Any]] = {
    "boolean": _boolean,
    "integer": _integer,
    "number": _number,
    "array": _list,
    "object": _json,
}


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
