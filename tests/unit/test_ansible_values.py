"""Write the extra-vars file. tests/integration/test_ansible_values.py shows how each ansible-core reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from deploy.adapters.ansible.values import names_with_reserved_fields, write_variables
from tests.ansible_files import read

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(["{{ 1 }}", "__ansible_type"])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
# Use small values, because the file is written and parsed as YAML, which takes a long time.
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=8
)


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_every_value_is_read_back_unchanged(variables: dict[str, Any]) -> None:
    assert json.dumps(read(write_variables(variables))) == json.dumps(variables)


def test_values_are_json_that_is_not_valid_yaml() -> None:
    text = write_variables({"version": "{{ 1 }}", "list": ["1.10", {"a": "yes"}]})

    json.loads(text)
    # Ansible falls back to YAML if it cannot read the JSON, and it would then evaluate every string.
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(text)


@pytest.mark.parametrize("name", ["{{ 1 }}", "{% if %}", "{", "__ansible_unsafe", "__ansible_vault", "__ansible_new"])
@pytest.mark.parametrize("place", [lambda name: {name: "x"}, lambda name: {"a": [[{"b": {name: "x"}}]]}])
def test_names_that_json_cannot_protect_are_written_as_yaml(name: str, place: Any) -> None:
    text = write_variables(place(name))

    with pytest.raises(ValueError, match="Expecting value: line 1 column 1"):
        json.loads(text)
    assert read(text) == place(name)


@pytest.mark.parametrize("more", [{}, {"{": 1}], ids=["json", "yaml"])
def test_a_lone_surrogate_does_not_break_the_file(more: dict[str, Any]) -> None:
    assert read(write_variables({"answer": "\ud800", **more})) == {"answer": "?", **more}


@pytest.mark.parametrize("more", [{}, {"{": 1}], ids=["json", "yaml"])
def test_a_string_is_never_wrapped(more: dict[str, Any]) -> None:
    assert "word " * 1000 in write_variables({"answer": "word " * 1000, **more})


def test_reserved_fields_are_found_at_any_depth() -> None:
    values = {
        "text": "__ansible_unsafe",
        "object": {"__ansible_vault": 1},
        "deep": [[{"a": [{"b": {"__ansible_type": None}}]}]],
        "__ansible_new": 1,
        "harmless": {"ansible_connection": 1, "a__ansible_": [{"_ansible_b": 2}]},
    }

    assert names_with_reserved_fields(values) == ["object", "deep", "__ansible_new"]


@pytest.mark.parametrize("more", [{}, {"{": 1}], ids=["json", "yaml"])
def test_strings_in_tuples_are_marked(more: dict[str, Any]) -> None:
    assert read(write_variables({"pair": ("1.10", ["{{ 1 }}"]), **more})) == {"pair": ["1.10", ["{{ 1 }}"]], **more}
