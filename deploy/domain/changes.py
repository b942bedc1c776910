"""Compare two deployments of a service: their values, config, and files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

ChangeKind: TypeAlias = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True)
class Change:
    """A value or file that changed. `before` and `after` are None for files, secrets, and missing values."""

    name: str
    kind: ChangeKind
    before: Any = None
    after: Any = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The config of a service and the digests of its files when a deployment starts. None if unknown."""

    config: dict[str, Any] | None = None
    files: dict[str, str] | None = None


def unknown(before: Snapshot, after: Snapshot) -> list[Literal["config", "files"]]:
    """Return the parts that cannot be compared."""
    unknown: list[Literal["config", "files"]] = []
    if before.config is None or after.config is None:
        unknown.append("config")
    if before.files is None or after.files is None:
        unknown.append("files")
    return unknown


def value_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return the values that changed, sorted by name."""
    return [
        Change(name, _kind(name, before, after), before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if not (name in before and name in after and _same(before[name], after[name]))
    ]


def input_changes(
    before: Mapping[str, Any], after: Mapping[str, Any], *, secret_before: set[str], secret_after: set[str]
) -> list[Change]:
    """Return the inputs that changed, sorted by name.

    Secrets are only reported as added or removed, because their values are not stored.
    """
    secret = secret_before | secret_after
    known = value_changes(
        {name: value for name, value in before.items() if name not in secret},
        {name: value for name, value in after.items() if name not in secret},
    )
    given_before, given_after = before.keys() | secret_before, after.keys() | secret_after
    added = [Change(name, "added") for name in secret & given_after - given_before]
    removed = [Change(name, "removed") for name in secret & given_before - given_after]
    # A plain value that became a secret, or vice versa.
    changed = [Change(name, "changed") for name in (secret_before ^ secret_after) & given_before & given_after]
    return sorted([*known, *added, *removed, *changed], key=lambda change: change.name)


def config_changes(before: Snapshot, after: Snapshot) -> list[Change]:
    """Return the changes in the config, with dotted names. Return no changes if either config is unknown."""
    if before.config is None or after.config is None:
        return []
    return value_changes(dict(_flat(before.config)), dict(_flat(after.config)))


def file_changes(before: Snapshot, after: Snapshot) -> list[Change]:
    """Return the files that changed, sorted by path. Return no changes if either side is unknown."""
    if before.files is None or after.files is None:
        return []
    return [Change(change.name, change.kind) for change in value_changes(before.files, after.files)]


def _kind(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> ChangeKind:
    if name not in before:
        return "added"
    return "changed" if name in after else "removed"


def _same(before: Any, after: Any) -> bool:
    # In Python, 1 == True, but to someone reading a config they are different.
    return type(before) is type(after) and bool(before == after)


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values. Flatten objects and lists that contain objects, but not plain lists."""
    if isinstance(value, dict) and (value or not name):
        parts = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        parts = [(str(n), inner) for n, inner in enumerate(value)]
    else:
        yield name, value
        return
    for key, inner in parts:
        yield from _flat(inner, f"{name}.{key}" if name else key)
