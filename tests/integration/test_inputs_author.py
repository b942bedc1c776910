"""Schemas of inputs as authors write them: which are taken, and what is said of the others."""

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
    """A schema with one input."""
    return {"type": "object", "properties": {"x": described}}


@pytest.fixture
def check(files: Files, tmp_path: Path) -> Check:
    """Check a schema of a service whose folder has one command."""
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
def test_good_ones(schema: dict[str, Any], check: Check) -> None:
    check(json.loads(json.dumps(schema)))


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({}, 'inputs.type: it has to be "object".'),
        ({"type": ["object", "null"]}, 'inputs.type: it has to be "object".'),
        ({"type": "object", "properties": []}, "inputs.properties: "),
        ({"type": "object", "required": "x"}, "inputs.required: "),
        (one(type="text"), "inputs.properties.x.type: "),
        (one(minimum="3"), "inputs.properties.x.minimum: "),
        (one(pattern="("), "inputs.properties.x.pattern: it is not a regular expression"),
        (one(type="integer", default="3"), "inputs.properties.x.default: it does not fit: x: has to be a whole number."),
        ({"type": "object", "properties": {"": {}}}, "inputs.properties.: a name has 1 to 200 characters."),
        ({"type": "object", "properties": {"y" * 201: {}}}, "inputs.properties.yyy"),
        ({"type": "object", "properties": {f"x{n}": {} for n in range(201)}}, "inputs: it describes more than 200"),
        (one(**{"$ref": "https://example.org/s.json"}), "inputs.properties.x.$ref: only parts of the same schema"),
        (one(**{"$ref": "other.json"}), "inputs.properties.x.$ref: only parts of the same schema"),
        (one(**{"$ref": "#"}), "inputs.properties.x.$ref: only parts of the same schema"),
        (one(**{"$ref": "#/$defs/gone"}), "inputs.properties.x.$ref: there is nothing at #/$defs/gone."),
        (one(**{"$ref": "#/properties/x"}), "#/properties/x.$ref: #/properties/x contains itself."),
        (
            {**one(**{"$ref": "#/$defs/a"}), "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}},
            "#/$defs/a.items.$ref: #/$defs/a contains itself.",
        ),
        ({"type": "object", "$id": "https://example.org/"}, "inputs.$id: this is not possible here"),
        ({"type": "object", "$schema": "http://json-schema.org/draft-07/schema#"}, "inputs.$schema: inputs are"),
        ({"type": "object", "patternProperties": {"(a+)+$": {}}}, "inputs.patternProperties: this is not possible"),
        (one(propertyNames={"pattern": "a"}), "inputs.properties.x.propertyNames: this is not possible"),
        (one(writeOnly=True), 'inputs.properties.x: a secret (`writeOnly`) is of the type "string".'),
        (one(type="string", writeOnly=True, default="x"), "inputs.properties.x.default: everybody could read it"),
        (one(type="string", writeOnly=True, enum=["x"]), "inputs.properties.x.enum: everybody could read it"),
        (
            one(type="object", properties={"p": {"type": "string", "writeOnly": True}}),
            "inputs.properties.x.properties.p.writeOnly: this is possible for an input as a whole only",
        ),
        (
            one(type="array", items={"type": "string", "writeOnly": True}),
            "inputs.properties.x.items.writeOnly: this is possible for an input as a whole only",
        ),
        (
            {"type": "object", "additionalProperties": {"type": "string", "writeOnly": True}},
            "inputs.additionalProperties.writeOnly: this is possible for an input as a whole only",
        ),
        (one(**{"x-choices": {}}), 'inputs.properties.x.x-choices: it says either "command" or "inventory".'),
        (one(**{"x-choices": "./bin/list.sh"}), "inputs.properties.x.x-choices: it says either"),
        (one(**{"x-choices": {"url": "http://x"}}), "inputs.properties.x.x-choices: it says either"),
        (one(**{"x-choices": {"inventory": "a", "command": ["b"]}}), "inputs.properties.x.x-choices: it says either"),
        (one(**{"x-choices": {"inventory": ""}}), "inputs.properties.x.x-choices.inventory: "),
        (one(**{"x-choices": {"command": "./bin/list.sh"}}), "inputs.properties.x.x-choices.command: it is a list"),
        (one(**{"x-choices": {"command": []}}), "inputs.properties.x.x-choices.command: it is a list"),
        (one(**{"x-choices": {"command": ["a\x00"]}}), "inputs.properties.x.x-choices.command: there is a NUL"),
        (one(**{"x-choices": {"command": ["gone.sh"]}}), "inputs.properties.x.x-choices.command: there is no 'gone.sh'"),
        (one(**{"x-choices": {"command": ["bin"]}}), "inputs.properties.x.x-choices.command: 'bin': it is a folder"),
        (one(**{"x-choices": {"command": ["../outside.sh"]}}), "inputs.properties.x.x-choices.command: '../outside.sh' leaves"),
        (one(**{"x-choices": {"command": ["link.sh"]}}), "inputs.properties.x.x-choices.command: 'link.sh': it leads out of"),
        (one(**{"x-choices": {"command": ["/bin/ls"]}}), "inputs.properties.x.x-choices.command: '/bin/ls' leaves"),
        (one(**{"x-choices": {"inventory": "a"}, "enum": ["b"]}), "inputs.properties.x.x-choices: the choices are listed"),
        (
            one(type="object", properties={"p": {"x-choices": {"inventory": "a"}}}),
            "inputs.properties.x.properties.p.x-choices: this is possible for an input as a whole only",
        ),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else "",
)  # fmt: skip
def test_broken_ones(schema: dict[str, Any], reason: str, check: Check) -> None:
    with pytest.raises(SchemaFault) as caught:
        check(schema)
    assert str(caught.value).startswith(reason)


def test_nothing_is_ever_fetched(check: Check) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.0)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/schema.json"
        for keyword in ("$ref", "$dynamicRef", "$schema", "$id"):
            with pytest.raises(SchemaFault):
                check(one(**{keyword: url}))
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_pattern_has_a_length_that_can_be_read(check: Check) -> None:
    check(one(type="string", pattern="a" * 2_000))
    with pytest.raises(SchemaFault, match="more than 2000 characters"):
        check(one(type="string", pattern="a" * 2_001))
