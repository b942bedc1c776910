"""What a service asks for, and answers given as text: made what its schema says they are."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from deploy.adapters.inputs import schema as shape
from deploy.adapters.inputs.schema import Field, Schema
from deploy.entrypoints.cli.client.api import Api
from deploy.entrypoints.cli.client.errors import Refused, WrongUsage
from deploy.entrypoints.cli.client.text import one_line

Asked = dict[str, Any]
NOTHING: Asked = {"schema": None, "confirm": False, "problems": [], "last": None}
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def asked_by(api: Api, service_id: int | None) -> Asked:
    """Return what a service asks for; None: the one that a service token is for."""
    try:
        asked: Asked = api.get(f"/services/{'own' if service_id is None else service_id}/inputs")
    except Refused as error:
        if error.status == 404:
            return NOTHING  # an older server, or a service that has just gone: starting will tell
        raise
    return asked


def described(schema: Schema) -> dict[str, Field]:
    """Return the inputs by name, each as the schema describes it first."""
    found: dict[str, Field] = {}
    for field in shape.fields(schema):
        found.setdefault(field.name, field)
    return found


def converted(schema: Schema | None, answers: dict[str, str]) -> dict[str, Any]:
    """Return answers as the schema has them: numbers, booleans, lists; texts where it does not say.

    What cannot be converted stays as it is: the server says what is wrong with it.

    Raises:
        WrongUsage: a file that an answer names cannot be read.
    """
    if schema is None:
        return dict(answers)
    fields = described(schema)
    return {
        name: _from_text(_read(name, text, fields[name].schema), fields[name].schema) if name in fields else text
        for name, text in answers.items()
    }


def choices_of(schema: Schema) -> list[tuple[Any, str]]:
    """Return the values that may be chosen, each with what people read; none where anything may be given."""
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
    """Return a row for each input: name, kind, whether it is needed, default, description."""
    needed = set(schema.get("required", []))
    rows = []
    for name, field in described(schema).items():
        default = field.schema.get("default")
        texts = [name, _kind(field.schema), "yes" if name in needed and default is None else ""]
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
    """Whether nobody may see the answer."""
    return schema.get("writeOnly") is True


def is_long(schema: Schema) -> bool:
    """Whether the answer may have several lines."""
    return schema.get("format") == "multiline"


def from_text(schema: Schema, name: str, text: str) -> Any:
    """Return one answer as the schema has it; `@FILE` is read."""
    return _from_text(_read(name, text, schema), schema)


def _read(name: str, text: str, schema: Schema) -> str:
    if not text.startswith("@") or not (is_secret(schema) or is_long(schema)):
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
        reason = getattr(error, "strerror", None) or "no UTF-8 text"
        raise WrongUsage(f"{name}: {text[1:]} cannot be read ({reason}). A leading @ itself is written @@.") from error
    # An editor ends a file with a line end, which belongs to no password.
    return content if is_long(schema) else content.removesuffix("\n").removesuffix("\r")


def _from_text(text: str, schema: Schema) -> Any:
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
    return _WORDS.get(text.strip().lower())


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
    return [_from_text(part.strip(), inner) for part in text.split(separator) if part.strip()]


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
