"""Check input schemas as authors write them: which are accepted, and what is reported about the others."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.adapters.inputs.author import SchemaFault, check_inputs
from deploy.adapters.service_folders.files import Files

Check = Callable[[dict[str, Any]], None]


def one(**described: Any) -> dict[str, Any]:
    """Return a schema with one input."""
    return {"type": "object", "properties": {"x": described}}


@pytest.fixture
def check(files: Files, tmp_path: Path) -> Check:
    """Return a function that checks a schema for a service whose folder contains one command."""
    made = tmp_path / "shop"
    (made / "bin").mkdir(parents=True)
    (made / "bin" / "list.sh").write_text("#!/bin/sh\n")
    (tmp_path / "outside.sh").write_text("#!/bin/sh\n")
    (made / "link.sh").symlink_to("/bin/ls")
    (made / "shared.sh").symlink_to(tmp_path / "outside.sh")
    return lambda schema: check_inputs(files, schema, str(made))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        one(type="string", title="X", description="Help", format="multiline", pattern="^a+$", default="aa"),
        one(type="array", items={"enum": [1, 2]}, uniqueItems=True, default=[1]),
        one(oneOf=[{"const": "a", "title": "A"}]),
        one(type="string", writeOnly=True, minLength=4),
        one(**{"x-choices": {"command": ["./bin/list.sh", "--all", "$(id)"]}}),
        one(**{"x-choices": {"command": ["bin/list.sh"]}, "default": "not known yet"}),
        one(**{"x-choices": {"command": ["shared.sh"]}}),
        one(type="array", items={"x-choices": {"inventory": "web"}}),
        {
            **one(**{"$ref": "#/$defs/password"}),
            "$defs": {"password": {"type": "string", "writeOnly": True}},
            "$schema": "https://json-schema.org/draft/2020-12/schema",
        },
        {
            "type": "object",
            "allOf": [
                {"if": {"required": ["a"]}, "then": {"properties": {"b": {"type": "string", "writeOnly": True}}}}
            ],
            "dependentSchemas": {"b": {"properties": {"c": {"x-choices": {"inventory": "hosts"}}}}},
        },
        one(enum=["writeOnly"], default="writeOnly"),
        one(type="object", properties={"inner": {"type": "string"}}),
    ],
)
def test_valid_schemas_are_accepted(schema: dict[str, Any], check: Check) -> None:
    check(json.loads(json.dumps(schema)))


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({}, 'inputs.type: must be "object".'),
        ({"type": ["object", "null"]}, 'inputs.type: must be "object".'),
        ({"type": "object", "properties": []}, "inputs.properties: "),
        ({"type": "object", "required": "x"}, "inputs.required: "),
        (one(type="text"), "inputs.properties.x.type: "),
        (one(minimum="3"), "inputs.properties.x.minimum: "),
        (one(pattern="("), "inputs.properties.x.pattern: not a valid regular expression"),
        (one(type="integer", default="3"), "inputs.properties.x.default: does not match the schema: x: must be a whole number."),
        (one(uniqueItems=True, default=list(range(100_000))), "inputs.properties.x.default: takes too long to validate."),
        ({"type": "object", "properties": {"": {}}}, "inputs.properties.: the name must have 1 to 200 characters."),
        ({"type": "object", "properties": {"y" * 201: {}}}, "inputs.properties.yyy"),
        ({"type": "object", "properties": {f"x{n}": {} for n in range(201)}}, "inputs: the schema describes more than 200"),
        ({"type": "object", "allOf": [{}] * 2_001}, "inputs: the schema is too complicated (more than 2000 parts"),
        (one(**{"$ref": "https://example.org/s.json"}), "inputs.properties.x.$ref: must refer to a part of the same schema"),
        (one(**{"$ref": "other.json"}), "inputs.properties.x.$ref: must refer to a part of the same schema"),
        (one(**{"$ref": "#"}), "inputs.properties.x.$ref: must refer to a part of the same schema"),
        (one(**{"$ref": "#/$defs/gone"}), "inputs.properties.x.$ref: #/$defs/gone does not exist."),
        (one(**{"$ref": "#/properties/x"}), "#/properties/x.$ref: #/properties/x refers to itself."),
        (
            {**one(**{"$ref": "#/$defs/a"}), "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}},
            "#/$defs/a.items.$ref: #/$defs/a refers to itself.",
        ),
        ({"type": "object", "$id": "https://example.org/"}, "inputs.$id: not supported here"),
        ({"type": "object", "$schema": "http://json-schema.org/draft-07/schema#"}, "inputs.$schema: must be"),
        ({"type": "object", "patternProperties": {"(a+)+$": {}}}, "inputs.patternProperties: not supported here"),
        (one(propertyNames={"pattern": "a"}), "inputs.properties.x.propertyNames: not supported here"),
        (one(writeOnly=True), 'inputs.properties.x: a secret (`writeOnly`) must be of type "string".'),
        (one(type="string", writeOnly=True, default="x"), "inputs.properties.x.default: not allowed for a secret"),
        (one(type="string", writeOnly=True, enum=["x"]), "inputs.properties.x.enum: not allowed for a secret"),
        (
            one(type="object", properties={"p": {"type": "string", "writeOnly": True}}),
            "inputs.properties.x.properties.p.writeOnly: allowed only for a whole input",
        ),
        (
            one(type="array", items={"type": "string", "writeOnly": True}),
            "inputs.properties.x.items.writeOnly: allowed only for a whole input",
        ),
        (
            {"type": "object", "additionalProperties": {"type": "string", "writeOnly": True}},
            "inputs.additionalProperties.writeOnly: allowed only for a whole input",
        ),
        (one(**{"x-choices": {}}), 'inputs.properties.x.x-choices: must have either "command" or "inventory".'),
        (one(**{"x-choices": "./bin/list.sh"}), "inputs.properties.x.x-choices: must have either"),
        (one(**{"x-choices": {"url": "http://x"}}), "inputs.properties.x.x-choices: must have either"),
        (one(**{"x-choices": {"inventory": "a", "command": ["b"]}}), "inputs.properties.x.x-choices: must have either"),
        (one(**{"x-choices": {"inventory": ""}}), "inputs.properties.x.x-choices.inventory: "),
        (one(**{"x-choices": {"command": "./bin/list.sh"}}), "inputs.properties.x.x-choices.command: must be a list of strings"),
        (one(**{"x-choices": {"command": []}}), "inputs.properties.x.x-choices.command: must be a list of strings"),
        (one(**{"x-choices": {"command": ["a\x00"]}}), "inputs.properties.x.x-choices.command: must not contain NUL"),
        (one(**{"x-choices": {"command": ["gone.sh"]}}), "inputs.properties.x.x-choices.command: 'gone.sh' does not exist"),
        (one(**{"x-choices": {"command": ["bin"]}}), "inputs.properties.x.x-choices.command: 'bin': it is a folder"),
        (one(**{"x-choices": {"command": ["../outside.sh"]}}), "inputs.properties.x.x-choices.command: '../outside.sh' is outside"),
        (one(**{"x-choices": {"command": ["link.sh"]}}), "inputs.properties.x.x-choices.command: 'link.sh': it is outside the services folder"),
        (one(**{"x-choices": {"command": ["/bin/ls"]}}), "inputs.properties.x.x-choices.command: '/bin/ls' is outside"),
        (one(**{"x-choices": {"inventory": "a"}, "enum": ["b"]}), "inputs.properties.x.x-choices: the choices are also listed"),
        (
            one(type="object", properties={"p": {"x-choices": {"inventory": "a"}}}),
            "inputs.properties.x.properties.p.x-choices: allowed only for a whole input",
        ),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else "",
)  # fmt: skip
def test_invalid_schemas_are_rejected(schema: dict[str, Any], reason: str, check: Check) -> None:
    with pytest.raises(SchemaFault) as caught:
        check(schema)
    assert str(caught.value).startswith(reason)


def test_nothing_is_fetched_from_the_network(check: Check) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.0)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        for keyword in ("$ref", "$dynamicRef", "$schema", "$id"):
            with pytest.raises(SchemaFault):
                check(one(**{keyword: url}))
        with pytest.raises(BlockingIOError):
            server.accept()


def test_the_length_of_a_pattern_is_limited(check: Check) -> None:
    check(one(type="string", pattern="a" * 2_000))
    with pytest.raises(SchemaFault, match="at most 2000 characters"):
        check(one(type="string", pattern="a" * 2_001))
