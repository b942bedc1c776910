"""Find the hosts that a playbook targets before it runs, from its files and the inventory."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from posixpath import dirname, join
from typing import TypeVar

from deploy.adapters.ansible.playbook_yaml import PlaybookError, load_yaml
from deploy.adapters.service_folders.files import Files

Names = TypeVar("Names", bound=Collection[str])

# Ansible accepts these without an inventory.
LOCAL = ("localhost", "127.0.0.1", "::1")
_MAX_FILES = 100
# Limits on the total length of all patterns and on comparisons with wildcards. Service authors write both texts.
MAX_PATTERN_TEXT, MAX_COMPARISONS = 10_000, 100_000
# A template, a range of hosts, or a regular expression, which can take forever to match.
_UNPREDICTABLE = ("{{", "[", "~")


def host_patterns(files: Files, playbook: str) -> list[str] | None:
    """Return the `hosts` of every play, including plays in imported playbooks.

    Return None if the hosts are only known when the playbook runs, or if there are too many.

    Raises:
        PlaybookError: A file cannot be read.
    """
    patterns = []
    size = 0
    for pattern in _patterns(files, playbook, set()):
        size += len(pattern) + 1
        if size > MAX_PATTERN_TEXT or any(mark in pattern for mark in _UNPREDICTABLE):
            return None
        patterns.append(pattern)
    return patterns


def matching_hosts(patterns: Iterable[str], inventory: Mapping[str, Sequence[str]]) -> list[str] | None:
    """Return the hosts that match the patterns, in inventory order (hosts by group; `all` contains every host).

    Return None if finding them takes more than MAX_COMPARISONS.
    """
    matching = _Matching(inventory)
    try:
        found = dict.fromkeys(host for pattern in patterns for host in matching.hosts(pattern))
    except _TooMuch:
        return None
    places = {host: place for place, host in enumerate(dict.fromkeys([*inventory.get("all", ()), *LOCAL]))}
    return sorted(found, key=lambda host: places.get(host, len(places)))


class _TooMuch(Exception):
    """Matching the patterns takes too many comparisons."""


class _Matching:
    """Finds hosts in an inventory, with a limited number of comparisons."""

    def __init__(self, inventory: Mapping[str, Sequence[str]]) -> None:
        self._inventory = inventory
        self._every = dict.fromkeys(inventory.get("all", ()))
        self._left = MAX_COMPARISONS

    def hosts(self, pattern: str) -> dict[str, None]:
        """Return the hosts that match a pattern.

        Raises:
            _TooMuch: Matching takes too many comparisons.
        """
        parts = (
            [part.strip() for part in re.split(r",|:(?!:)", pattern) if part.strip()]
            if "::" not in pattern
            else [pattern]
        )
        hosts: dict[str, None] = {}
        for part in (part for part in parts if part[0] not in "!&"):
            hosts |= self._named(part)
        for part in (part for part in parts if part[0] in "!&"):
            named = self._named(part[1:])
            hosts = {host: None for host in hosts if (host in named) == (part[0] == "&")}
        return hosts

    def _named(self, name: str) -> dict[str, None]:
        if name == "*":
            name = "all"
        if name in self._inventory:
            return self._counted(dict.fromkeys(self._inventory[name]))
        if "*" in name or "?" in name:
            groups = self._like(name, self._inventory)
            by_group = dict.fromkeys(host for group in groups for host in self._counted(self._inventory[group]))
            matching = {**by_group, **self._like(name, self._every)}
        else:
            matching = {name: None} if name in self._every else {}
        return matching or ({name: None} if name in LOCAL else {})

    def _like(self, pattern: str, names: Iterable[str]) -> dict[str, None]:
        return {name: None for name in self._counted(list(names)) if fnmatchcase(name, pattern)}

    def _counted(self, names: Names) -> Names:
        self._left -= len(names)
        if self._left < 0:
            raise _TooMuch
        return names


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
