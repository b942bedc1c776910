"""Find the hosts that a playbook targets, from its files and the inventory, before it runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from posixpath import dirname, join

from deploy.adapters.ansible.playbook_yaml import PlaybookError, load_yaml
from deploy.adapters.service_folders.files import Files

# Ansible accepts these without an inventory.
LOCAL = ("localhost", "127.0.0.1", "::1")
_MAX_FILES = 100


def host_patterns(files: Files, playbook: str) -> list[str] | None:
    """Return the `hosts` of every play, including imported playbooks, or None if only a run can determine them.

    Raises:
        PlaybookError: A file cannot be read.
    """
    patterns = list(_patterns(files, playbook, set()))
    return None if any("{{" in pattern or "[" in pattern for pattern in patterns) else patterns


def matching_hosts(patterns: Iterable[str], inventory: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the hosts that match the patterns, in the order of the inventory (hosts by group; `all` has every host)."""
    found: list[str] = []
    for pattern in patterns:
        found += [host for host in _matching(pattern, inventory) if host not in found]
    every = [*inventory.get("all", ()), *LOCAL]
    return sorted(found, key=lambda host: every.index(host) if host in every else len(every))


def _matching(pattern: str, inventory: Mapping[str, Sequence[str]]) -> list[str]:
    parts = (
        [part.strip() for part in re.split(r",|:(?!:)", pattern) if part.strip()] if "::" not in pattern else [pattern]
    )
    hosts: list[str] = []
    for part in (part for part in parts if part[0] not in "!&"):
        hosts += [host for host in _named(part, inventory) if host not in hosts]
    for part in (part for part in parts if part[0] in "!&"):
        named = _named(part[1:], inventory)
        hosts = [host for host in hosts if (host in named) == (part[0] == "&")]
    return hosts


def _named(name: str, inventory: Mapping[str, Sequence[str]]) -> list[str]:
    if name == "*":
        name = "all"
    if name in inventory:
        return list(inventory[name])
    every = list(inventory.get("all", ()))
    if name.startswith("~"):
        return [host for host in every if _searches(name[1:], host)]
    by_group = [host for group, hosts in inventory.items() if fnmatchcase(group, name) for host in hosts]
    matching = list(dict.fromkeys([*by_group, *(host for host in every if fnmatchcase(host, name))]))
    return matching or ([name] if name in LOCAL else [])


def _searches(expression: str, host: str) -> bool:
    try:
        return re.match(expression, host) is not None
    except re.error:
        return False


def _patterns(files: Files, file: str, seen: set[str]) -> Iterator[str]:
    if file in seen or len(seen) > _MAX_FILES:
        return
    seen.add(file)
    plays = load_yaml(files, file)
    for play in plays if isinstance(plays, list) else ():
        if not isinstance(play, dict):
            raise PlaybookError("a playbook must be a list of plays", file, 1)
        imported = next((play[key] for key in play if str(key).rpartition(".")[2] == "import_playbook"), None)
        if imported is not None:
            path = join(dirname(file), str(imported))
            if files.is_file(path):
                yield from _patterns(files, path, seen)
        elif (hosts := play.get("hosts")) is not None:
            yield from map(str, hosts) if isinstance(hosts, list) else (str(hosts),)
