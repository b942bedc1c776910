"""Prompt for values on a terminal."""

from __future__ import annotations

import sys
from typing import Any

import typer

from deploy.adapters.inputs import schema as shape
from deploy.adapters.inputs.schema import Schema
from deploy.entrypoints.cli.client.errors import UsageError
from deploy.entrypoints.cli.client.inputs import (
    ServiceInputs,
    choices_of,
    convert_values,
    fields_by_name,
    is_multiline,
    is_secret,
    parse_value,
)
from deploy.entrypoints.cli.client.screen import is_interactive, say
from deploy.entrypoints.cli.client.text import one_line, printable

ATTEMPTS = 5


def can_prompt(ask: bool | None) -> bool:
    """Return True if the user can be prompted and --no-ask was not given."""
    return ask is not False and sys.stdin.isatty() and is_interactive(sys.stderr)


def prompt_missing(inputs: ServiceInputs, given: dict[str, str], *, everything: bool) -> dict[str, Any]:
    """Return the given values and the values that the user enters.

    With `everything`, also prompt for optional inputs and inputs with a default.

    Raises:
        UsageError: The user entered an invalid value too often or named an unknown input.
    """
    from deploy.adapters.inputs.check import active_names, checked, missing

    schema: Schema | None = inputs["schema"]
    values = convert_values(schema, given)
    if schema is None:
        return values
    skipped: set[str] = set()
    for problem in inputs["problems"]:
        say(f"{shape.title(schema, problem['path'])}: {one_line(problem['detail'])}", style="yellow", error=True)
    while True:
        wrong = _first_fault(schema, values)
        wanted = active_names(schema, checked(schema, values)[0]) if everything else missing(schema, values)
        name = wrong or next((name for name in wanted if name not in values and name not in skipped), None)
        if name is None:
            return values
        values.pop(name, None)
        value = _ask(schema, name, values, required=name in missing(schema, values))
        if value is None:
            skipped.add(name)
        else:
            values[name] = value


def prompt_confirmation(service: str) -> str:
    """Prompt for the name of the service as confirmation and return it.

    Raises:
        UsageError: The user entered the wrong name too often.
    """
    for _ in range(ATTEMPTS):
        typed = str(typer.prompt(f"To confirm, type the name of the service ({service})", err=True)).strip()
        if typed == service:
            return typed
    raise UsageError("The name does not match. Nothing was started.")


def prompt_secret(name: str) -> str:
    """Prompt for a secret and return it. `@FILE` reads the secret from a file."""
    typed = str(typer.prompt(f"{name} (hidden)", hide_input=True, err=True))
    return str(parse_value({"writeOnly": True}, name, typed))


def _first_fault(schema: Schema, values: dict[str, Any]) -> str | None:
    """Report the first invalid value and return the name of its input."""
    from deploy.adapters.inputs.check import checked

    known = fields_by_name(schema)
    for fault in checked(schema, values)[1]:
        name = str(fault.path[1]) if len(fault.path) > 1 else ""
        if name in values and name in known:
            say(one_line(fault.sentence), style="red", error=True)
            return name
        if name not in known:
            raise UsageError(one_line(fault.sentence))
    return None


def _ask(schema: Schema, name: str, values: dict[str, Any], *, required: bool) -> Any:
    """Prompt until the value is valid. Return None if the user skips the input."""
    from deploy.adapters.inputs.check import checked

    field_schema = fields_by_name(schema)[name].schema
    _explain(field_schema, name)
    for _ in range(ATTEMPTS):
        value = _prompt(field_schema, name, required=required)
        if value is None:
            return None
        faults = [f for f in checked(schema, {**values, name: value})[1] if f.path[1:2] == (name,)]
        if not faults:
            return value
        say(one_line(faults[0].sentence), style="red", error=True)
    raise UsageError(f"{name}: too many invalid values. Nothing was started.")


def _explain(schema: Schema, name: str) -> None:
    title = printable(str(schema.get("title") or name))
    description = schema.get("description")
    say(f"{title}{': ' + one_line(str(description)) if description else ''}", style="bold", error=True)
    for number, (_, shown) in enumerate(choices_of(schema), start=1):
        say(f"  {number:>3}  {one_line(shown)}", error=True)


def _prompt(schema: Schema, name: str, *, required: bool) -> Any:
    choices, several = choices_of(schema), schema.get("type") == "array"
    default = schema.get("default")
    text = typer.prompt(
        f"  {_hint(schema, has_choices=bool(choices))}",
        default="",
        show_default=False,
        hide_input=is_secret(schema),
        err=True,
    )
    if text == "":
        return default if default is not None or not required else ""
    if choices and several:
        return [_chosen(part.strip(), choices, schema) for part in text.split(",") if part.strip()]
    return _chosen(text.strip(), choices, schema) if choices else parse_value(schema, name, text)


def _chosen(text: str, choices: list[tuple[Any, str]], schema: Schema) -> Any:
    """Return the choice with this value, label, or number in the list."""
    for value, shown in choices:
        if text in (shown, str(value)):
            return value
    if text.isascii() and text.isdigit() and 1 <= int(text) <= len(choices):
        return choices[int(text) - 1][0]
    return parse_value(schema.get("items", {}) if schema.get("type") == "array" else schema, "", text)


def _hint(schema: Schema, *, has_choices: bool) -> str:
    kinds = {"boolean": "yes or no", "integer": "whole number", "number": "number"}
    if has_choices:
        hint = "numbers or values, comma-separated" if schema.get("type") == "array" else "number or value"
    elif schema.get("type") == "array":
        hint = "comma-separated"
    elif is_secret(schema):
        hint = "hidden; @FILE reads a file"
    elif is_multiline(schema):
        hint = "one line, or @FILE"
    else:
        hint = "date, such as 2026-03-31" if schema.get("format") == "date" else kinds.get(str(schema.get("type")), "")
    default = schema.get("default")
    if default is not None:
        hint = f"{hint}{', ' if hint else ''}Enter for {_as_text(default)}"
    return hint or "value"


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else one_line(str(value))
