"""Read an extra-vars file the way Ansible does, and fail on strings that Ansible would evaluate."""

from __future__ import annotations

import json
from typing import Any

import yaml

MARK = "__ansible_unsafe"


def read(text: str) -> dict[str, Any]:
    """Return the variables in an extra-vars file. An unmarked string or name fails the test."""
    read_as = _read_json if text.lstrip().startswith("{") else _read_yaml
    variables = read_as(text)
    assert isinstance(variables, dict)
    return variables


def _read_json(text: str) -> Any:
    return _unmarked(json.loads(text))


def _unmarked(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {MARK}:
            return value[MARK]
        assert not [name for name in value if "{" in name or name.startswith("__ansible_")]
        return {name: _unmarked(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_unmarked(inner) for inner in value]
    assert not isinstance(value, str), value
    return value


class _Loader(yaml.SafeLoader):
    """Reads lists and objects marked `!unsafe` and does not accept any others."""


def _read_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader


def _reject(_loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    raise AssertionError(f"not marked: {node.value!r:.100}")


def _collection(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    assert isinstance(node, yaml.SequenceNode)  # never a string: Ansible would guess its type
    return loader.construct_sequence(node, deep=True)


yaml.add_constructor("!unsafe", _collection, _Loader)
for kind in ("map", "seq"):
    yaml.add_constructor(f"tag:yaml.org,2002:{kind}", _reject, _Loader)
