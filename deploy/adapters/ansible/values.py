"""Write values for Ansible so that every version keeps their types and never evaluates them as templates. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import yaml
from yaml.representer import SafeRepresenter

RESERVED = "__ansible_"
"""Prefix of names that Ansible interprets in the JSON that it reads, stores, and sends to modules."""


def write_variables(variables: dict[str, object]) -> str:
    """Return the text of an extra-vars file with these variables, as JSON, or as YAML if JSON cannot protect a name.

    JSON cannot mark a field name as unsafe, and ansible-core 2.17 and 2.18 evaluate a name as a template if a playbook
    loops over it. A reserved name would itself be read as a mark. Ansible reads JSON several times faster, so YAML is
    only used when necessary.
    """
    if any("{" in name or name.startswith(RESERVED) for name in _names(variables)):
        return _yaml(variables)
    return _json(variables)


def names_with_reserved_fields(values: Mapping[str, object]) -> list[str]:
    """Return the names that Ansible reserves, and the names of values that contain a reserved name at any depth."""
    return [
        name for name, value in values.items() if any(inner.startswith(RESERVED) for inner in _names({name: value}))
    ]


def _names(value: object) -> Iterator[str]:
    """Yield the names of all fields in a value."""
    waiting = [value]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, dict):
            yield from inner
            waiting.extend(inner.values())
        elif isinstance(inner, (list, tuple)):
            waiting.extend(inner)


def _json(variables: dict[str, object]) -> str:
    text = json.dumps(_marked(variables), ensure_ascii=False, separators=(",", ":"))
    # If Ansible cannot parse the file as JSON, it reads it as YAML and trusts every text in it as a template. JSON can
    # begin with a tab and YAML cannot, so in that case the run fails.
    return "\t" + _without_surrogates(text)


def _marked(value: object) -> object:
    if isinstance(value, str):
        return {"__ansible_unsafe": value}
    if isinstance(value, dict):
        return {name: _marked(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_marked(inner) for inner in value]
    return value


def _yaml(variables: dict[str, object]) -> str:
    """Return YAML that tags every list and object with `!unsafe`, which covers all texts and names in it.

    Texts are not tagged, because ansible-core 2.19 and later read `!unsafe "1.10"` as a number. Nested lists and
    objects need their own tags; otherwise ansible-core 2.17 and 2.18 read them as empty.
    """
    dumper = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper
    return yaml.serialize(_node(variables), Dumper=dumper, width=_ONE_LINE, allow_unicode=True)


_ONE_LINE = 2**31 - 1  # a secret split across lines would not be masked if Ansible quotes one of the lines


def _node(value: object) -> yaml.Node:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, dict):
        pairs = [(_quoted(name), _node(inner)) for name, inner in value.items()]
        return yaml.MappingNode("!unsafe", pairs, flow_style=False)
    if isinstance(value, (list, tuple)):
        return yaml.SequenceNode("!unsafe", [_node(inner) for inner in value], flow_style=False)
    return SafeRepresenter().represent_data(value)  # numbers, booleans, and null


def _quoted(text: str) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", _without_surrogates(text), style='"')


def _without_surrogates(text: str) -> str:
    """Replace lone surrogates, which JSON can represent but Ansible cannot read."""
    return text.encode("utf-8", "replace").decode("utf-8")
