"""Compare two deployments."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.domain.changes import (
    Change,
    Snapshot,
    config_changes,
    file_changes,
    input_changes,
    unknown,
    value_changes,
)


def inputs(before: dict[str, Any], after: dict[str, Any], *secrets: set[str]) -> list[Change]:
    secret_before, secret_after = secrets or (set(), set())
    return input_changes(before, after, secret_before=secret_before, secret_after=secret_after)


def config(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    return config_changes(Snapshot(config=before), Snapshot(config=after))


def test_added_removed_and_changed_values_are_found_by_name() -> None:
    assert value_changes({"b": 1, "c": 2, "d": 3}, {"a": 0, "b": 1, "c": "2"}) == [
        Change("a", "added", None, 0),
        Change("c", "changed", 2, "2"),
        Change("d", "removed", 3, None),
    ]


@pytest.mark.parametrize(("before", "after"), [(1, True), (0, False), (1, 1.0), (None, False), ([], {})])
def test_values_of_different_types_differ(before: Any, after: Any) -> None:
    assert value_changes({"a": before}, {"a": after}) == [Change("a", "changed", before, after)]


def test_null_differs_from_a_missing_value() -> None:
    assert value_changes({}, {"a": None}) == [Change("a", "added")]
    assert value_changes({"a": None}, {}) == [Change("a", "removed")]
    assert value_changes({"a": None}, {"a": None}) == []


class TestInputs:
    def test_only_top_level_names_are_compared(self) -> None:
        assert inputs({"a": {"b": 1}}, {"a": {"b": 2}}) == [Change("a", "changed", {"b": 1}, {"b": 2})]

    def test_added_and_removed_secrets_are_shown_without_values(self) -> None:
        assert inputs({}, {}, set(), {"key"}) == [Change("key", "added")]
        assert inputs({}, {}, {"key"}, set()) == [Change("key", "removed")]

    def test_secrets_given_in_both_deployments_are_not_compared(self) -> None:
        assert inputs({"a": 1}, {"a": 1}, {"key"}, {"key"}) == []

    def test_a_value_that_became_a_secret_is_not_shown(self) -> None:
        assert inputs({"key": "plain"}, {}, set(), {"key"}) == [Change("key", "changed")]
        assert inputs({}, {"key": "plain"}, {"key"}, set()) == [Change("key", "changed")]

    def test_changes_are_sorted_by_name(self) -> None:
        found = inputs({"c": 1}, {"a": 1}, {"d"}, {"b"})
        assert [(change.name, change.kind) for change in found] == [
            ("a", "added"),
            ("b", "added"),
            ("c", "removed"),
            ("d", "removed"),
        ]


class TestConfig:
    def test_nested_names_are_dotted(self) -> None:
        before = {"timeout": 10, "inputs": {"properties": {"replicas": {"default": 1}}}}
        after = {"timeout": 10, "inputs": {"properties": {"replicas": {"default": 2, "minimum": 1}}}}
        assert config(before, after) == [
            Change("inputs.properties.replicas.default", "changed", 1, 2),
            Change("inputs.properties.replicas.minimum", "added", None, 1),
        ]

    def test_objects_in_lists_are_numbered_and_plain_lists_are_values(self) -> None:
        before = {"steps": [{"name": "one"}, {"name": "two"}], "tags": ["a", "b"]}
        after = {"steps": [{"name": "one"}, {"name": "2"}], "tags": ["a"]}
        assert config(before, after) == [
            Change("steps.1.name", "changed", "two", "2"),
            Change("tags", "changed", ["a", "b"], ["a"]),
        ]

    def test_empty_values_count(self) -> None:
        assert config({}, {"inputs": {}}) == [Change("inputs", "added", None, {})]
        assert config({"steps": []}, {}) == [Change("steps", "removed", [], None)]
        assert config({}, {}) == []

    def test_a_deployment_without_a_snapshot_has_no_changes(self) -> None:
        assert config_changes(Snapshot(), Snapshot(config={"a": 1})) == []
        assert config_changes(Snapshot(config={"a": 1}), Snapshot()) == []


class TestFiles:
    def test_digests_are_not_shown(self) -> None:
        before = Snapshot(files={"deploy.sh": "aa", "old": "bb", "same": "cc"})
        after = Snapshot(files={"deploy.sh": "ab", "new/one": "dd", "same": "cc"})
        assert file_changes(before, after) == [
            Change("deploy.sh", "changed"),
            Change("new/one", "added"),
            Change("old", "removed"),
        ]

    def test_files_unknown_on_one_side_are_not_compared(self) -> None:
        assert file_changes(Snapshot(), Snapshot(files={"a": "aa"})) == []
        assert file_changes(Snapshot(files={"a": "aa"}), Snapshot()) == []


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (Snapshot({}, {}), Snapshot({}, {}), []),
        (Snapshot({}, None), Snapshot({}, {}), ["files"]),
        (Snapshot({}, {}), Snapshot({}, None), ["files"]),
        (Snapshot(), Snapshot({}, {}), ["config", "files"]),
    ],
)
def test_missing_snapshots_are_reported(before: Snapshot, after: Snapshot, expected: list[str]) -> None:
    assert unknown(before, after) == expected
