"""What differs between two deployments of a service: what was asked for, the config, the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Kind: TypeAlias = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True)
class Change:
    """A value or a file that differs; `before` and `after` are None for files, secrets, and where there was nothing."""

    name: str
    kind: Kind
    before: Any = None
    after: Any = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a deployment was started with: the config of its service, and digests of its files, where they are known."""

    config: dict[str, Any] | None = None
    files: dict[str, str] | None = None


def unknown(before: Snapshot, after: Snapshot) -> list[Literal["config", "files"]]:
    """Return what cannot be compared."""
    unknown: list[Literal["config", "files"]] = []
    if before.config is None or after.config is None:
        unknown.append("config")
    if before.files is None or after.files is None:
        unknown.append("files")
    return unknown


def value_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return the values that differ, by name."""
    return [
        Change(name, _kind(name, before, after), before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if not (name in before and name in after and _same(before[name], after[name]))
    ]


def input_changes(
    before: Mapping[str, Any], after: Mapping[str, Any], *, secret_before: set[str], secret_after: set[str]
) -> list[Change]:
    """Return the inputs that differ, by name. Of a secret it is told only that it came or went: no value is known."""
    secret = secret_before | secret_after
    known = value_changes(
        {name: value for name, value in before.items() if name not in secret},
        {name: value for name, value in after.items() if name not in secret},
    )
    given_before, given_after = before.keys() | secret_before, after.keys() | secret_after
    came = [Change(name, "added") for name in secret & given_after - given_before]
    went = [Change(name, "removed") for name in secret & given_before - given_after]
    # A plain value that has become a secret, or the other way round.
    turned = [Change(name, "changed") for name in (secret_before ^ secret_after) & given_before & given_after]
    return sorted([*known, *came, *went, *turned], key=lambda change: change.name)


def config_changes(before: Snapshot, after: Snapshot) -> list[Change]:
    """Return what differs in the config, by dotted names; nothing where one of them is not known."""
    if before.config is None or after.config is None:
        return []
    return value_changes(dict(_flat(before.config)), dict(_flat(after.config)))


def file_changes(before: Snapshot, after: Snapshot) -> list[Change]:
    """Return the files that differ, by their paths; nothing where one side is not known."""
    if before.files is None or after.files is None:
        return []
    return [Change(change.name, change.kind) for change in value_changes(before.files, after.files)]


def _kind(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Kind:
    if name not in before:
        return "added"
    return "changed" if name in after else "removed"


def _same(before: Any, after: Any) -> bool:
    # To Python 1 and True are the same; to whoever reads a setting they are not.
    return type(before) is type(after) and bool(before == after)


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted names and their values: objects, and the objects in lists, are taken apart, plain lists are not."""
    if isinstance(value, dict) and (value or not name):
        parts = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        parts = [(str(n), inner) for n, inner in enumerate(value)]
    else:
        yield name, value
        return
    for key, inner in parts:
        yield from _flat(inner, f"{name}.{key}" if name else key)
