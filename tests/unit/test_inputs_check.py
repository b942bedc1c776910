"""Test input schemas, checks of values, and the error messages."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.adapters.inputs.check import checked
from deploy.domain.errors import InvalidInput
from deploy.domain.inputs import Fault


def inputs(properties: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties or {}, **more}


def errors_of(schema: dict[str, Any], values: dict[str, Any]) -> dict[str, str]:
    """Return the errors by their dotted path below `env`."""
    return {".".join(map(str, fault.path[1:])): fault.sentence for fault in checked(schema, values)[1]}


CHOICE = {"title": "Where to", "oneOf": [{"const": "staging", "title": "Staging"}, {"const": "production"}]}
MANY = {"title": "Hosts", "type": "array", "items": {"enum": ["web1", "web2"]}, "minItems": 1, "uniqueItems": True}


@pytest.mark.parametrize(
    ("described", "given", "message"),
    [
        ({"type": "string", "title": "Domain"}, "example.org", None),
        ({"type": "string", "title": "Domain"}, 7, "Domain: must be text"),
        ({"type": "string"}, None, "x: must be text"),
        ({"type": "string", "minLength": 1}, "", "x: required"),
        ({"type": "string", "minLength": 8}, "short", "x: must have at least 8 characters"),
        ({"type": "string", "maxLength": 3}, "long", "x: must have at most 3 characters"),
        ({"type": "string", "pattern": "^v[0-9]+$"}, "v12", None),
        ({"type": "string", "pattern": "^v[0-9]+$"}, "12", "x: does not match the expected format"),
        (
            {"type": "string", "pattern": "^v[0-9]+$", "examples": ["v12"], "description": "A version."},
            "12",
            "x: does not match the expected format, for example v12",
        ),
        (
            {"type": "string", "pattern": "^v[0-9]+$", "description": "A version, with a v."},
            "12",
            "x: does not match the expected format (A version, with a v)",
        ),
        ({"type": "string", "pattern": "a"}, "a" * 1001, "x: must have at most 1000 characters"),
        ({"type": "string", "format": "multiline"}, "one\ntwo", None),
        ({"type": "string", "format": "date"}, "2026-02-28", None),
        ({"type": "string", "format": "date"}, "2026-02-30", "x: must be a date, such as 2026-03-31"),
        ({"type": "string", "format": "date"}, "20260228", "x: must be a date, such as 2026-03-31"),
        ({"type": "string", "format": "date"}, "", "x: must be a date, such as 2026-03-31"),
        ({"type": "string", "format": "email"}, "nobody", "x: must be an email address"),
        ({"type": "integer", "title": "Replicas", "maximum": 9}, 12, "Replicas: must be at most 9"),
        ({"type": "integer", "title": "Replicas", "minimum": 1}, 0, "Replicas: must be at least 1"),
        ({"type": "integer"}, 1.5, "x: must be a whole number"),
        ({"type": "integer"}, True, "x: must be a whole number"),
        ({"type": "integer"}, "3", "x: must be a whole number"),
        ({"type": "integer"}, 10**400, None),
        ({"type": ["integer", "null"]}, "x", "x: must be a whole number or empty"),
        ({"type": "number", "exclusiveMinimum": 0}, 0, "x: must be greater than 0"),
        ({"type": "number", "exclusiveMaximum": 2.5}, 2.5, "x: must be less than 2.5"),
        ({"type": "number", "multipleOf": 0.1}, 0.3, None),
        ({"type": "number", "multipleOf": 0.1}, 0.35, "x: must be a multiple of 0.1"),
        ({"type": "number", "multipleOf": 0.01}, 1e300, None),
        ({"type": "boolean"}, "yes", "x: must be yes or no (true or false)"),
        ({"enum": ["a", "b"]}, "c", "x: must be one of a, b"),
        ({"enum": list(range(30))}, "c", f"x: must be one of {', '.join(map(str, range(20)))} and 10 more"),
        ({"const": True}, False, "x: must be yes"),
        (CHOICE, "production", None),
        (CHOICE, "test", "Where to: must be one of Staging, production"),
        (MANY, ["web1"], None),
        (MANY, [], "Hosts: must have at least 1 entry"),
        (MANY, ["web1", "web1"], "Hosts: must not contain the same entry twice"),
        ({"not": {"const": "root"}}, "root", "x: not allowed"),
    ],
)
def test_a_single_value_is_checked(described: Any, given: Any, message: str | None) -> None:
    found = errors_of(inputs({"x": described}), {"x": given})
    assert found == ({} if message is None else {"x": message})


@pytest.mark.parametrize(
    ("schema", "values", "expected"),
    [
        (inputs({"a": {"title": "A"}}, required=["a", "b"]), {"b": 1}, {"a": "A: required", "b": "b: not an input of this service; its inputs are a"}),
        (inputs({"a": {}, "b": {"title": "B"}}, required=["a", "b"]), {}, {"a": "a: required", "b": "B: required"}),
        (
            inputs({"a": {"title": "A"}, "b": {}}, dependentRequired={"a": ["b"]}),
            {"a": 1},
            {"b": "b: required because A is set"},
        ),
        (inputs({"h": MANY}), {"h": ["web1", "web9"]}, {"h.1": "Hosts, entry 2: must be one of web1, web2"}),
        (
            inputs({"o": {"type": "object", "title": "O", "properties": {"n": {"type": "number"}}}}),
            {"o": {"n": "x"}},
            {"o.n": "O, n: must be a number"},
        ),
        (inputs({"a": {}}, additionalProperties=True), {"other": 1}, {}),
        (inputs({"a": {}}, additionalProperties=False), {"other": 1}, {"other": "other: not an input of this service"}),
        (inputs({"a": {}}, unevaluatedProperties=False), {"other": 1}, {"": "Some of these are not inputs of this service"}),
        (inputs({"a": {}, "b": {}}, **{"not": {"required": ["a", "b"]}}), {"a": 1, "b": 1}, {"": "This combination of values is not allowed"}),
        (inputs({"a": {"$ref": "#/$defs/size"}}, **{"$defs": {"size": {"title": "Size", "maximum": 3}}}), {"a": 4}, {"a": "Size: must be at most 3"}),
    ],
)  # fmt: skip
def test_several_values_are_checked(schema: dict[str, Any], values: dict[str, Any], expected: dict[str, str]) -> None:
    assert errors_of(schema, values) == expected


CONDITIONAL = inputs(
    {"environment": {"enum": ["staging", "production"], "default": "staging"}, "notify": {"type": "boolean"}},
    required=["environment"],
    **{
        "if": {"properties": {"environment": {"const": "production"}}},
        "then": {
            "properties": {"ticket": {"type": "string"}, "window": {"type": "string", "default": "night"}},
            "required": ["ticket"],
        },
        "else": {"properties": {"size": {"type": "integer", "default": 1}}},
        "dependentSchemas": {"notify": {"properties": {"channel": {"type": "string", "default": "#ops"}}}},
    },
)


@pytest.mark.parametrize(
    ("values", "complete"),
    [
        ({}, {"environment": "staging", "size": 1}),
        ({"notify": True}, {"environment": "staging", "notify": True, "size": 1, "channel": "#ops"}),
        (
            {"environment": "production", "ticket": "T1"},
            {"environment": "production", "ticket": "T1", "window": "night"},
        ),
        ({"environment": "staging", "size": 5}, {"environment": "staging", "size": 5}),
    ],
)
def test_defaults_are_added_if_their_condition_holds(values: dict[str, Any], complete: dict[str, Any]) -> None:
    assert checked(CONDITIONAL, values) == (complete, [])


def test_a_condition_that_holds_can_require_more_inputs() -> None:
    assert errors_of(CONDITIONAL, {"environment": "production"}) == {"ticket": "ticket: required"}


def test_chained_conditions_add_defaults_one_after_the_other() -> None:
    schema = inputs(
        {"a": {"default": 1}},
        allOf=[
            {"if": {"required": ["b"]}, "then": {"properties": {"c": {"default": 3}}}},
            {"if": {"required": ["a"]}, "then": {"properties": {"b": {"default": 2}}}},
        ],
    )
    assert checked(schema, {}) == ({"a": 1, "b": 2, "c": 3}, [])


def test_a_default_is_a_copy() -> None:
    schema = inputs({"hosts": {"type": "array", "default": []}})
    checked(schema, {})[0]["hosts"].append("web1")
    assert checked(schema, {})[0] == {"hosts": []}


def test_messages_do_not_repeat_values() -> None:
    secret = "hunter2-hunter2"
    kinds: list[dict[str, Any]] = [
        {"type": "integer"},
        {"enum": ["a"]},
        {"pattern": "^x$"},
        {"maxLength": 2},
        {"minLength": 99},
        {"format": "date"},
        {"not": {}},
        {"const": 1},
        {"anyOf": [{"type": "integer"}, {"maxLength": 1}]},
    ]
    for kind in kinds:
        found = checked(inputs({"password": kind}), {"password": secret})[1]
        assert found
        assert "hunter2" not in str(found)


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$"])
def test_a_catastrophic_pattern_is_abandoned(pattern: str) -> None:
    given = "a" * 60 + "!"
    (fault,) = checked(inputs({"x": {"type": "string", "pattern": pattern}}), {"x": given})[1]
    assert fault == Fault(("env", "x"), "x: does not match the expected format")


@pytest.mark.parametrize(
    ("entries", "is_unique"),
    [
        ([], True),
        ([1, True, "1", [1], {"a": 1}, None, 1.5, 0, False], True),
        ([1, 1.0], False),
        ([{"a": [1], "b": 2}, {"b": 2.0, "a": [1.0]}], False),
        ([["a"], ["a"]], False),
        ([10**400, 10**400 + 1], True),
    ],
)
def test_entries_are_compared_by_value(entries: list[Any], is_unique: bool) -> None:
    found = errors_of(inputs({"x": {"type": "array", "uniqueItems": True}}), {"x": entries})
    assert found == ({} if is_unique else {"x": "x: must not contain the same entry twice"})


def test_a_long_list_is_not_compared_pairwise_and_errors_are_limited() -> None:
    found = errors_of(inputs({"x": MANY}), {"x": [{"n": n} for n in range(100_000)]})
    assert len(found) == 200


class TestEffort:
    """Schemas come from authors, and values can come from any user. Together, they must not keep the server busy."""

    @pytest.mark.parametrize("step", [0.1, 0.5, 7, 1e308])
    def test_integers_of_any_length_can_be_multiples(self, step: float) -> None:
        schema = inputs({"x": {"type": "integer", "multipleOf": step}})
        assert set(errors_of(schema, {"x": int("9" * 4000)})) <= {"x"}
        assert errors_of(schema, {"x": 0}) == {}

    @pytest.mark.parametrize(
        ("described", "value"),
        [
            ({"items": {"enum": [{"a": n} for n in range(2000)]}}, [{"a": 1999}] * 5000),
            ({"uniqueItems": True}, [n / 7 for n in range(100_000)]),
            ({"items": {"type": "integer", "minimum": 0}}, list(range(100_000))),
            (
                {
                    "unevaluatedProperties": {"type": "object", "unevaluatedProperties": {"type": "integer"}},
                    "allOf": [{"anyOf": [{"unevaluatedProperties": False}] * 30}] * 10,
                },
                {f"k{n}": {f"j{m}": {} for m in range(20)} for n in range(2000)},
            ),
        ],
        ids=["enum", "uniqueItems", "items", "unevaluatedProperties"],
    )
    def test_a_check_that_takes_too_long_is_rejected(self, described: dict[str, Any], value: object) -> None:
        with pytest.raises(InvalidInput, match="too long to validate"):
            checked(inputs({"x": described}), {"x": value})

    def test_all_patterns_together_have_a_limit(self) -> None:
        """Four of them stay below the limit on processor time."""
        schema = inputs({f"x{number}": {"type": "string", "pattern": "^(a|aa)+$"} for number in range(4)})
        with pytest.raises(InvalidInput, match="too long to validate"):
            checked(schema, {f"x{number}": f"{'a' * 60}!" for number in range(4)})

    def test_ordinary_values_stay_far_below_the_limit(self) -> None:
        schema = inputs(
            {"x": {"type": "array", "items": {"enum": [f"v{n}" for n in range(1000)]}, "uniqueItems": True}}
        )
        assert errors_of(schema, {"x": [f"v{n}" for n in range(200)]}) == {}
