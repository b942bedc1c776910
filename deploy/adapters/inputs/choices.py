"""Load the dynamic choices of inputs from a command of the service or from its inventory."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

from deploy.adapters.filesystem import ServiceFolders
from deploy.adapters.inputs import schema as shape
from deploy.adapters.inputs.asking import ChoiceUnavailable, TtlCache
from deploy.adapters.inputs.programs import COMMAND, INVENTORY
from deploy.adapters.inputs.schema import CHOICES, Schema
from deploy.domain.inputs import Choice, ChoiceError, Form
from deploy.domain.service_config import ServiceConfig

MAX_CHOICES, MAX_CHOICE_LENGTH = 1000, 500
EVERYTHING, UNGROUPED = "all", "ungrouped"
_GRAPH_LINE = re.compile(r"(?P<indent>(?: *\|)*)(?:--)?(?P<is_group>@)?(?P<name>.+?)(?(is_group):)$")


Inventory = dict[str, list[str]]
"""Host names by group name. The group `all` contains every host."""


AskWorker: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[str]]
"""Asks a worker to run a program of a service: takes its kind and arguments, and returns its output.

Raises ChoiceUnavailable.
"""


class Choices:
    """Fills in the dynamic choices of a schema. Results are cached for half a minute."""

    def __init__(self, folders: ServiceFolders, ask: AskWorker, cache: TtlCache | None = None) -> None:
        self._folders = folders
        self._ask = ask
        self._cache = cache or TtlCache()

    async def form(self, service: str, config: ServiceConfig, only: frozenset[str] | None = None) -> Form:
        """Return the inputs of a service with the dynamic choices of all inputs, or of those in `only`, filled in."""
        schema = config.input_schema
        if schema is None:
            return Form(schema=None)
        sources = [
            (field.name, source)
            for field in shape.fields(schema)
            if (source := shape.choice_source(field.schema)) and (only is None or field.name in only)
        ]
        results = await asyncio.gather(*(self._choices_from(service, config, source) for _, source in sources))
        found = {_key(source): result for (_, source), result in zip(sources, results, strict=True)}
        problems = {
            name: ChoiceError(name, str(result))
            for (name, _), result in zip(sources, results, strict=True)
            if isinstance(result, ChoiceUnavailable)
        }
        return Form(schema=_fill_in_choices(schema, found), problems=tuple(problems.values()))

    async def runs_playbook(self, service: str, config: ServiceConfig) -> bool:
        """Return True if the platform runs the service's playbook itself.

        Raises:
            FoldersUnavailable: The services folder cannot be read.
        """
        return not (await self._folders.survey(service, config)).is_script

    async def inventory(self, service: str, config: ServiceConfig) -> Inventory:
        """Return the groups and hosts of a service's inventory, as Ansible reads it.

        Raises:
            ChoiceUnavailable: The inventory cannot be read.
        """
        key = (service, "inventory", config.ansible_inventory or "")
        return await self._cache.get(key, partial(self._ask_inventory, service, config))

    async def _choices_from(
        self, service: str, config: ServiceConfig, source: Mapping[str, Any]
    ) -> list[Choice] | ChoiceUnavailable:
        try:
            if "command" in source:
                argv = tuple(source["command"])
                return await self._cache.get((service, argv), partial(self._ask_command, service, argv))
            return from_inventory(await self.inventory(service, config), source["inventory"])
        except ChoiceUnavailable as reason:
            return reason

    async def _ask_command(self, service: str, argv: tuple[str, ...]) -> list[Choice]:
        return parse(await self._ask(COMMAND, {"service": service, "argv": list(argv)}))

    async def _ask_inventory(self, service: str, config: ServiceConfig) -> Inventory:
        return parse_graph(await self._ask(INVENTORY, {"service": service, "config": config.to_json()}))


def parse(text: str) -> list[Choice]:
    """Parse the output of a command: a JSON array (strings, numbers, `{"const", "title"}`) or one choice per line.

    Raises:
        ChoiceUnavailable: There are no choices, too many, or invalid ones.
    """
    if text.lstrip().startswith("["):
        choices = _from_json(text)
    else:
        choices = [Choice(line.strip()) for line in text.splitlines() if line.strip()]
    unique = _unique(choices)
    if not unique:
        raise ChoiceUnavailable("The program printed no choices")
    if len(unique) > MAX_CHOICES:
        raise ChoiceUnavailable(f"The program printed more than {MAX_CHOICES} choices")
    if any(len(str(choice.value)) > MAX_CHOICE_LENGTH or "\x00" in str(choice.value) for choice in unique):
        raise ChoiceUnavailable(f"A choice is longer than {MAX_CHOICE_LENGTH} characters or contains a NUL character")
    return unique


def _unique(choices: list[Choice]) -> list[Choice]:
    first: dict[str, Choice] = {}
    for choice in choices:
        first.setdefault(json.dumps(choice.value), choice)
    return list(first.values())


def _from_json(text: str) -> list[Choice]:
    try:
        return [_choice(item) for item in json.loads(text, parse_constant=_reject_constant)]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ChoiceUnavailable("The program printed an invalid JSON list of choices") from error


def _choice(item: Any) -> Choice:
    title = None
    if isinstance(item, dict):
        item, title = item["const"], str(item.get("title", item["const"]))[:MAX_CHOICE_LENGTH]
    if not isinstance(item, (str, int, float)) or isinstance(item, bool):
        raise TypeError("neither text nor a number")
    return Choice(item, title)


def _reject_constant(constant: str) -> None:
    raise ValueError(constant)


def parse_graph(text: str) -> Inventory:
    """Parse the output of `ansible-inventory --graph`: groups start with `@`, with their hosts indented below."""
    groups: dict[str, dict[str, None]] = {EVERYTHING: {}}
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        found = _GRAPH_LINE.match(line.rstrip())
        if found is None:
            continue
        depth, name = found["indent"].count("|"), found["name"]
        above = [(level, group) for level, group in above if level < depth]
        if found["is_group"]:
            above.append((depth, name))
            groups.setdefault(name, {})
        else:
            for _, group in above:
                groups[group][name] = None
    return {group: list(hosts) for group, hosts in groups.items()}


def from_inventory(inventory: Inventory, source: str) -> list[Choice]:
    """Return the names of all hosts, of all groups, or of the hosts in a group.

    Raises:
        ChoiceUnavailable: The group does not exist, or there are no names.
    """
    if source == "groups":
        names = [name for name in inventory if name not in (EVERYTHING, UNGROUPED)]
    elif source != "hosts" and source not in inventory:
        raise ChoiceUnavailable(f"There is no group {source} in the inventory")
    else:
        names = inventory[EVERYTHING if source == "hosts" else source]
    if not names:
        raise ChoiceUnavailable(
            f"The inventory has no {'hosts in ' + source if source not in ('hosts', 'groups') else source}"
        )
    return [Choice(name) for name in names]


def _key(source: Mapping[str, Any]) -> str:
    return json.dumps(source, sort_keys=True)


def _fill_in_choices(schema: Schema, found: Mapping[str, list[Choice] | ChoiceUnavailable]) -> Schema:
    """Return a copy of the schema with each source of choices replaced by its choices, if they are known."""

    def fill(part: Any) -> Any:
        if isinstance(part, list):
            return [fill(inner) for inner in part]
        if not isinstance(part, dict):
            return part
        copy = {name: fill(inner) for name, inner in part.items() if name != CHOICES}
        source = part.get(CHOICES)
        choices = found.get(_key(source)) if isinstance(source, dict) else None
        return _with_choices(copy, choices) if isinstance(choices, list) else copy

    filled: Schema = fill(schema)
    return filled


def _with_choices(schema: Schema, choices: list[Choice]) -> Schema:
    if schema.get("type") == "array":
        items = schema.get("items")
        return {**schema, "items": _with_choices(items if isinstance(items, dict) else {}, choices)}
    values = [Choice(_converted(choice.value, schema.get("type")), choice.title) for choice in choices]
    if all(choice.title is None for choice in values):
        return {**schema, "enum": [choice.value for choice in values]}
    titled = [{"const": choice.value, "title": choice.title or str(choice.value)} for choice in values]
    return {**schema, "oneOf": titled}


def _converted(value: Any, kind: Any) -> Any:
    """Convert a line to a number if the input is a number. If that fails, return the value unchanged."""
    if not isinstance(value, str) or kind not in ("integer", "number"):
        return value
    try:
        return int(value) if kind == "integer" else float(value)
    except ValueError:
        return value
