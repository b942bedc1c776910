"""Asking whoever sits at the terminal for what a service still needs."""

from __future__ import annotations

import sys
from typing import Any

import typer

from deploy.adapters.inputs import schema as shape
from deploy.adapters.inputs.schema import Schema
from deploy.entrypoints.cli.client.errors import WrongUsage
from deploy.entrypoints.cli.client.inputs import (
    Asked,
    choices_of,
    converted,
    described,
    from_text,
    is_long,
    is_secret,
)
from deploy.entrypoints.cli.client.screen import is_interactive, say
from deploy.entrypoints.cli.client.text import one_line, printable

ATTEMPTS = 5


def may_ask(ask: bool | None) -> bool:
    """Whether somebody is there to be asked."""
    return ask is not False and sys.stdin.isatty() and is_interactive(sys.stderr)


def complete(asked: Asked, answers: dict[str, str], *, everything: bool) -> dict[str, Any]:
    """Return all answers: those that were given, and those that are asked for now, one after the other.

    `everything`: those with a default, and those that may be left out, too.

    Raises:
        WrongUsage: no answer would fit.
    """
    from deploy.adapters.inputs.check import active_names, checked, missing

    schema: Schema | None = asked["schema"]
    values = converted(schema, answers)
    if schema is None:
        return values
    left_out: set[str] = set()
    for problem in asked["problems"]:
        say(f"{shape.title(schema, problem['path'])}: {one_line(problem['detail'])}", style="yellow", error=True)
    while True:
        wrong = _first_fault(schema, values)
        wanted = active_names(schema, checked(schema, values)[0]) if everything else missing(schema, values)
        name = wrong or next((name for name in wanted if name not in values and name not in left_out), None)
        if name is None:
            return values
        values.pop(name, None)
        value = _ask(schema, name, values, needed=name in missing(schema, values))
        if value is None:
            left_out.add(name)
        else:
            values[name] = value


def confirmed(service: str) -> str:
    """Return the name of the service, typed by whoever sits there.

    Raises:
        WrongUsage: it was not the name, again and again.
    """
    for _ in range(ATTEMPTS):
        typed = str(typer.prompt(f"To confirm, type the name of the service ({service})", err=True)).strip()
        if typed == service:
            return typed
    raise WrongUsage("Nothing was started.")


def secret(name: str) -> str:
    """Return a secret that a retry needs again; `@FILE` reads it from a file."""
    typed = str(typer.prompt(f"{name} (not shown)", hide_input=True, err=True))
    return str(from_text({"writeOnly": True}, name, typed))


def _first_fault(schema: Schema, values: dict[str, Any]) -> str | None:
    """Say what is wrong with the first answer that does not fit, and return its name."""
    from deploy.adapters.inputs.check import checked

    known = described(schema)
    for fault in checked(schema, values)[1]:
        name = str(fault.path[1]) if len(fault.path) > 1 else ""
        if name in values and name in known:
            say(one_line(fault.sentence), style="red", error=True)
            return name
        if name not in known:
            raise WrongUsage(one_line(fault.sentence))
    return None


def _ask(schema: Schema, name: str, values: dict[str, Any], *, needed: bool) -> Any:
    """Ask until the answer fits; None: left out."""
    from deploy.adapters.inputs.check import checked

    described_as = described(schema)[name].schema
    _explain(described_as, name)
    for _ in range(ATTEMPTS):
        value = _prompt(described_as, name, needed=needed)
        if value is None:
            return None
        faults = [f for f in checked(schema, {**values, name: value})[1] if f.path[1:2] == (name,)]
        if not faults:
            return value
        say(one_line(faults[0].sentence), style="red", error=True)
    raise WrongUsage(f"{name}: no answer fits. Nothing was started.")


def _explain(schema: Schema, name: str) -> None:
    title = printable(str(schema.get("title") or name))
    description = schema.get("description")
    say(f"{title}{': ' + one_line(str(description)) if description else ''}", style="bold", error=True)
    for number, (_, shown) in enumerate(choices_of(schema), start=1):
        say(f"  {number:>3}  {one_line(shown)}", error=True)


def _prompt(schema: Schema, name: str, *, needed: bool) -> Any:
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
        return default if default is not None or not needed else ""
    if choices and several:
        return [_chosen(part.strip(), choices, schema) for part in text.split(",") if part.strip()]
    return _chosen(text.strip(), choices, schema) if choices else from_text(schema, name, text)


def _chosen(text: str, choices: list[tuple[Any, str]], schema: Schema) -> Any:
    """Return what was chosen, by its value, its title, or its number in the list."""
    for value, shown in choices:
        if text in (shown, str(value)):
            return value
    if text.isascii() and text.isdigit() and 1 <= int(text) <= len(choices):
        return choices[int(text) - 1][0]
    return from_text(schema.get("items", {}) if schema.get("type") == "array" else schema, "", text)


def _hint(schema: Schema, *, has_choices: bool) -> str:
    kinds = {"boolean": "yes or no", "integer": "a whole number", "number": "a number"}
    if has_choices:
        hint = "numbers or values, separated by commas" if schema.get("type") == "array" else "number or value"
    elif schema.get("type") == "array":
        hint = "separated by commas"
    elif is_secret(schema):
        hint = "not shown; @FILE reads a file"
    elif is_long(schema):
        hint = "one line, or @FILE"
    else:
        hint = (
            "a date, such as 2026-03-31" if schema.get("format") == "date" else kinds.get(str(schema.get("type")), "")
        )
    default = schema.get("default")
    if default is not None:
        hint = f"{hint}{', ' if hint else ''}Enter for {_as_text(default)}"
    return hint or "answer"


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else one_line(str(value))
