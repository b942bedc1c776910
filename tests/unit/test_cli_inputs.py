"""Convert values from text to the types in the schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy.adapters.inputs.check import active_names, missing
from deploy.entrypoints.cli.client.errors import InvalidValues, UsageError
from deploy.entrypoints.cli.client.inputs import choices_of, convert_values, input_record


def one(described: dict[str, Any], text: str) -> Any:
    """Return one value, converted according to its schema."""
    return convert_values({"type": "object", "properties": {"x": described}}, {"x": text})["x"]


@pytest.mark.parametrize(
    ("described", "text", "expected"),
    [
        ({"type": "string"}, "3", "3"),
        ({"type": "string"}, "@file", "@file"),
        ({"type": "integer"}, "3", 3),
        ({"type": "integer"}, "-0", 0),
        ({"type": "integer"}, "3.5", "3.5"),
        ({"type": "integer"}, "many", "many"),
        ({"type": "number"}, "3", 3),
        ({"type": "number"}, "3.5", 3.5),
        ({"type": "number"}, "nan", "nan"),
        ({"type": "number"}, "1e999", "1e999"),
        ({"type": "boolean"}, "yes", True),
        ({"type": "boolean"}, "OFF", False),
        ({"type": "boolean"}, "maybe", "maybe"),
        ({"type": ["integer", "boolean"]}, "true", True),
        ({"enum": ["a", 2, True]}, "2", 2),
        ({"enum": ["a", 2, True]}, "true", True),
        ({"oneOf": [{"const": 1, "title": "One"}, {"const": 2}]}, "One", 1),
        ({"oneOf": [{"const": 1, "title": "One"}, {"const": 2}]}, "3", "3"),
        ({"type": "array", "items": {"type": "integer"}}, "1, 2,3", [1, 2, 3]),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, "b", ["b"]),
        ({"type": "array"}, "", []),
        ({"type": "array"}, '["a,b", "c"]', ["a,b", "c"]),
        ({"type": "array"}, "a,b\nc", ["a,b", "c"]),
        ({"type": "array"}, "[1", "[1"),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
        ({}, "anything", "anything"),
        ({"$ref": "#/$defs/gone"}, "x", "x"),
    ],
)
def test_text_is_converted_to_a_value(described: dict[str, Any], text: str, expected: Any) -> None:
    assert one(described, text) == expected
    assert type(one(described, text)) is type(expected)


def test_without_a_schema_everything_is_text() -> None:
    assert convert_values(None, {"a": "1", "b": "@file"}) == {"a": "1", "b": "@file"}


def test_secrets_and_long_texts_can_come_from_files(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("line 1\nline 2\n")
    assert one({"writeOnly": True}, f"@{file}") == "line 1\nline 2"
    assert one({"format": "multiline"}, f"@{file}") == "line 1\nline 2\n"
    assert one({"writeOnly": True}, "@@home") == "@home"
    with pytest.raises(UsageError, match="cannot be read"):
        one({"writeOnly": True}, f"@{tmp_path / 'gone'}")


def test_a_list_has_the_choices_of_its_entries() -> None:
    assert choices_of({"type": "array", "items": {"enum": [1, "b"]}}) == [(1, "1"), ("b", "b")]
    assert choices_of({"oneOf": [{"const": 1, "title": "One"}]}) == [(1, "One")]
    assert choices_of({"oneOf": [{"minimum": 1}]}) == []


CONDITIONAL = {
    "type": "object",
    "required": ["where", "size"],
    "properties": {"where": {"enum": ["here", "there"]}, "size": {"type": "integer", "default": 1}, "why": {}},
    "dependentRequired": {"why": ["who"]},
    "if": {"properties": {"where": {"const": "there"}}, "required": ["where"]},
    "then": {"properties": {"ticket": {}, "who": {}}, "required": ["ticket"]},
}


def test_missing_inputs_depend_on_given_values() -> None:
    assert missing(CONDITIONAL, {}) == ["where"]
    assert missing(CONDITIONAL, {"where": "there"}) == ["ticket"]
    assert missing(CONDITIONAL, {"where": "here", "why": "x"}) == ["who"]
    assert missing(CONDITIONAL, {"where": "there", "ticket": "T"}) == []


def test_active_inputs_depend_on_given_values() -> None:
    assert active_names(CONDITIONAL, {"where": "here"}) == ["where", "size", "why"]
    assert active_names(CONDITIONAL, {"where": "there"}) == ["where", "size", "why", "ticket", "who"]


def test_inputs_are_listed_as_rows() -> None:
    schema = {
        "required": ["a", "b"],
        "properties": {
            "a": {"enum": ["x", "y"], "title": "Where", "description": "A place"},
            "b": {"type": "boolean", "default": True},
            "c": {"type": "string", "writeOnly": True},
            "d": {"type": "array", "items": {"enum": ["h"]}},
        },
    }
    assert input_record(schema) == [
        ["a", "one of x, y", "yes", "", "Where A place"],
        ["b", "boolean", "", "true", ""],
        ["c", "secret", "", "", ""],
        ["d", "some of h", "", "", ""],
    ]


def test_invalid_values_are_listed_by_name() -> None:
    error = InvalidValues({"replicas": "Replicas: must be at most 9", "env": "Environment: required"})
    assert str(error).splitlines()[1:] == [
        "  replicas  Replicas: must be at most 9",
        "  env       Environment: required",
    ]
    assert error.exit_code == 2
