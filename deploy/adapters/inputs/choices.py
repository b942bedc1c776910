"""Load the dynamic choices of inputs from a command of the service or from its inventory."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from deploy.adapters.ansible.command import Playbook, playbook_env
from deploy.adapters.ansible.locate import find_executable
from deploy.adapters.ansible.playbook_yaml import PlaybookError
from deploy.adapters.filesystem import ServiceFolders
from deploy.adapters.inputs import schema as shape
from deploy.adapters.inputs.asking import ChoiceUnavailable, Program, TtlCache, ask
from deploy.adapters.inputs.schema import CHOICES, Schema
from deploy.adapters.runs.spec import worker_home
from deploy.adapters.runs.start import DeployUser, RunError
from deploy.adapters.service_folders.processes import FoldersUnavailable
from deploy.config import ConfigurationError
from deploy.domain.inputs import Choice, ChoiceError, Form
from deploy.domain.service_config import ServiceConfig

MAX_CHOICES, MAX_CHOICE_LENGTH = 1000, 500
EVERYTHING, UNGROUPED = "all", "ungrouped"
_GRAPH_LINE = re.compile(r"(?P<indent>(?: *\|)*)(?:--)?(?P<is_group>@)?(?P<name>.+?)(?(is_group):)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceContext:
    """The service folders, the PATH of scripts, and a function that returns the deploy user."""

    folders: ServiceFolders
    path: str
    user: Callable[[], DeployUser | None]


Inventory = dict[str, list[str]]
"""Host names by group name. The group `all` contains every host."""


class Choices:
    """Fills in the dynamic choices of a schema. Results are cached for half a minute."""

    def __init__(self, context: ChoiceContext, cache: TtlCache | None = None) -> None:
        self._context = context
        self._cache = cache or TtlCache()

    async def form(self, service: str, config: ServiceConfig, only: frozenset[str] | None = None) -> Form:
        """Return the inputs of a service with the dynamic choices of all inputs, or of those in `only`, filled in."""
        schema = config.inputs
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
        return not (await self._context.folders.survey(service, config)).is_script

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
        folder = self._context.folders.root.resolve() / service
        user = self._user()
        env = {"PATH": self._context.path, "HOME": worker_home(user.home if user else None), "LANG": "C.UTF-8"}
        program = Program(argv=(str(folder / argv[0]), *argv[1:]), cwd=str(folder), env=env)
        return parse(await asyncio.to_thread(ask, program, user))

    async def _ask_inventory(self, service: str, config: ServiceConfig) -> Inventory:
        folder, user = self._context.folders.root.resolve() / service, self._user()
        try:
            inventory, settings = await self._context.folders.inventory(service, config)
            executable = find_executable(self._context.path)
        except (PlaybookError, FoldersUnavailable, OSError) as error:
            raise ChoiceUnavailable(str(error).rstrip(".")) from error
        ansible_inventory = Path(executable).with_name("ansible-inventory")
        ansible = Playbook(executable=str(ansible_inventory), path=folder, folder=folder, settings=settings)
        # `--graph` only prints names; `--list` would also read variables and decrypt vaults, which requires their
        # passwords.
        argv = [str(ansible_inventory), "--graph", *(["--inventory", inventory] if inventory else [])]
        env = playbook_env(ansible, path=self._context.path, home=worker_home(user.home if user else None))
        # Otherwise Ansible would silently return only some of the choices if part of the inventory is unreadable.
        env |= {"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1"}
        program = Program(argv=tuple(argv), cwd=str(folder), env=env)
        return parse_graph(await asyncio.to_thread(ask, program, user))

    def _user(self) -> DeployUser | None:
        try:
            return self._context.user()
        except (ConfigurationError, RunError, OSError) as error:
            raise ChoiceUnavailable(str(error)) from error


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
