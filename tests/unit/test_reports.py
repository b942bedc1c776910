"""Test which lines are step reports, which are output, and how hostile values are changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.domain.model import Outcome, StepReport, StepState
from deploy.domain.reports import (
    CUT,
    MAX_DEPTH,
    MESSAGE_LIMIT,
    NAME_LIMIT,
    HostReported,
    Line,
    Reported,
    as_in_a_line,
    clean_text,
    is_deep,
    read_event,
    read_line,
    report_of,
    report_problem,
    short_text,
    step_name,
    step_report,
)
from tests.runs import at

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Includes surrogates, because a script can print them in JSON.
any_characters = st.text(st.characters(codec=None), max_size=20)


def report_in(text: str) -> StepReport:
    """Return the report in a line, which must be a report."""
    entry = read_line(text, at(1))
    assert isinstance(entry, Reported)
    assert (entry.at, entry.planned) == (at(1), False)
    return entry.report


class TestReadLine:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "hello",
            "name",
            "{}",
            "{",
            "}",
            "{not json}",
            "[]",
            '["name"]',
            '"name"',
            "null",
            "1",
            '{"name": 1}',
            '{"name": null}',
            '{"name": ""}',
            '{"name": "   "}',
            '{"name": ["A"]}',
            '{"state": "running"}',
            '{"message": "no name"}',
            '{"name": "A", "state": "exploded"}',
            '{"name": "A", "state": ""}',
            '{"name": "A", "state": null}',
            '{"name": "A", "state": 1}',
            '{"name": "A", "state": ["success"]}',
            '{"name": "A"}',
            '{"name": "shop", "level": 50, "msg": "FATAL: duplicate key"}',
            '{"name": "A", "state": "failure"} and more',
            'more and {"name": "A", "state": "failure"}',
            '{"name": "A", "state": "failure"} {"name": "B", "state": "failure"}',
            '{"name": "A", "state": "failure"',
            "{'name': 'A', 'state': 'failure'}",
            '{"name": "\\u001b[0m", "state": "failure"}',
            '{"name": "A", "state": "success", "n": ' + "9" * 5000 + "}",
            '{"name": "A", "state": "success", "deep": ' + "[" * 100_000 + "]" * 100_000 + "}",
            '{"name": "A", "state": "success", "deep": ' + '{"a":' * 60 + "1" + "}" * 60 + "}",
        ],
        ids=lambda text: text[:30],
    )
    def test_other_lines_are_output(self, text: str) -> None:
        assert read_line(text, at(1)) == Line(text, at(1))

    @pytest.mark.parametrize(
        ("text", "state"),
        [
            ('{"name": "A", "state": "pending"}', StepState.PENDING),
            ('{"name": "A", "state": "running"}', StepState.RUNNING),
            ('{"name": "A", "state": "success"}', StepState.SUCCESS),
            ('{"name": "A", "state": "failure"}', StepState.FAILURE),
            ('{"name": "A", "state": "skipped"}', StepState.SKIPPED),
            ('{"name": "A", "state": "Running"}', StepState.RUNNING),
            ('{"name": "A", "state": "ok"}', StepState.SUCCESS),
            ('{"name": "A", "state": "changed"}', StepState.SUCCESS),
            ('{"name": "A", "state": "failed"}', StepState.FAILURE),
            ('{"name": "A", "state": "unreachable"}', StepState.FAILURE),
            ('  {"name": "A", "state": "running"}\t', StepState.RUNNING),
        ],
    )
    def test_state_names_are_converted(self, text: str, state: StepState) -> None:
        assert report_in(text) == StepReport(name="A", state=state)

    @pytest.mark.parametrize("before", ["\x1b[0m", "\ufeff", " \x1b[1;31m ", "\x1b]0;title\x07"])
    def test_what_surrounds_a_report_invisibly_is_ignored(self, before: str) -> None:
        report = report_in(before + '{"name": "A", "state": "failure"}\x1b[0m')
        assert report == StepReport(name="A", state=StepState.FAILURE)

    def test_escape_codes_are_removed_from_names_and_messages(self) -> None:
        fields = {"name": "\x1b[1mApply\x1b[0m", "state": "failure", "message": "\x1b[31mError:\x1b[0m no\x1b"}
        report = report_in(json.dumps(fields))
        assert (report.name, report.message) == ("Apply", "Error: no␛")

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ('{"name": "A", "state": "failure",}', "not valid JSON"),
            ("{'name': 'A', 'state': 'failure'}", "not valid JSON"),
            ('{"name": "A"}{"name": "B", "state": "failure"}', "not valid JSON, or more than one object"),
            ('2026-11-30 INFO {"name": "A", "state": "failure"}', "a line of its own"),
            ('{"name": "A", "state": "failure"} # done', "a line of its own"),
            ('{"name": "A",', "a single line"),
            ('{"name": "A", "state": "error"}', "one of: pending, running, success, failure"),
            ('{"name": 5, "state": "failure"}', "name of a step must be a string"),
            ('{"name": " ", "state": "failure"}', "name of a step must be a string"),
            ('{"name": "A", "state": "failure", "deep": ' + '{"a":' * 60 + "1" + "}" * 60 + "}", "nested too deeply"),
        ],
        ids=lambda text: text[:40],
    )
    def test_the_reason_a_line_is_not_a_report_is_given(self, text: str, problem: str) -> None:
        assert read_line(text, at(1)) == Line(text, at(1))
        assert problem in (report_problem(text) or "")

    @pytest.mark.parametrize(
        "text",
        [
            '{"name": "shop", "level": 50, "msg": "FATAL: duplicate key"}',
            '{"state": "failure"}',
            '{"log": {"name": "A", "state": "failure"}}',
            "name: A, state: failure",
            '"name": "A"',
            "",
        ],
    )
    def test_lines_that_do_not_look_like_reports_have_no_problem(self, text: str) -> None:
        assert report_problem(text) is None

    def test_a_failed_step_shows_its_error_message_and_keeps_its_message(self) -> None:
        report = report_in('{"name": "A", "state": "failure", "message": "m", "error_message": "e"}')
        assert (report.message, report.detail) == ("e", {"message": "m", "error_message": "e"})
        report = report_in('{"name": "A", "state": "failure", "message": "m", "error_message": ""}')
        assert (report.message, report.detail) == ("m", {"error_message": ""})

    def test_other_fields_are_detail(self) -> None:
        report = report_in('{"name": "A", "state": "running", "message": "m", "host": "web1", "n": [1, {"a": null}]}')
        assert report.detail == {"host": "web1", "n": [1, {"a": None}]}

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({}, ""),
            ({"message": "done"}, "done"),
            ({"error_message": "broken"}, "broken"),
            ({"message": "done", "error_message": "broken"}, "done"),
            ({"message": "", "error_message": "broken"}, "broken"),
            ({"message": None}, ""),
            ({"message": 0}, ""),
            ({"message": 12}, "12"),
            ({"message": {"code": 3}}, '{"code": 3}'),
            ({"message": ["a", "b"]}, '["a", "b"]'),
        ],
    )
    def test_messages(self, fields: dict[str, Any], message: str) -> None:
        assert report_in(json.dumps({"name": "A", "state": "success", **fields})).message == message

    def test_an_error_message_is_also_in_the_detail(self) -> None:
        assert report_in('{"name": "A", "state": "success", "error_message": "broken"}').detail == {
            "error_message": "broken"
        }

    def test_names_are_trimmed(self) -> None:
        assert report_in(json.dumps({"name": "  A  ", "state": "success"})).name == "A"

    def test_texts_keep_their_length_until_they_are_masked(self) -> None:
        report = report_in(
            json.dumps({"name": "x" * 10_000, "state": "success", "message": "y" * (MESSAGE_LIMIT + 7)})
        )
        assert (report.name, report.message) == ("x" * 10_000, "y" * (MESSAGE_LIMIT + 7))

    def test_the_mark_for_cut_text_has_no_meaning_in_a_report_of_a_script(self) -> None:
        report = report_in(json.dumps({"name": f"a{CUT}9;", "state": "success", "message": f"b{CUT}9;"}))
        assert (report.name, report.message) == ("a␚9;", "b␚9;")

    @pytest.mark.parametrize(
        ("printed", "kept"), [("a\x00b", f"a{REPLACEMENT}b"), ("\ud800", "?"), ("ä\x00\udfff", f"ä{REPLACEMENT}?")]
    )
    def test_characters_that_cannot_be_stored_are_replaced(self, printed: str, kept: str) -> None:
        report = report_in(json.dumps({"name": printed, "state": "success", "message": printed}))
        assert (report.name, report.message) == (kept, kept)

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
    def test_non_finite_numbers_become_null(self, number: str) -> None:
        report = report_in(f'{{"name": "A", "state": "running", "took": {number}}}')
        assert report.detail == {"took": None}

    def test_ordinary_numbers_stay_unchanged(self) -> None:
        assert report_in('{"name": "A", "state": "success", "a": 1, "b": -2.5, "c": 1e3}').detail == {
            "a": 1,
            "b": -2.5,
            "c": 1000.0,
        }

    def test_the_last_of_two_equal_keys_wins(self) -> None:
        assert report_in('{"name": "A", "name": "B", "state": "success"}').name == "B"

    @given(st.text())
    def test_any_text_is_accepted(self, text: str) -> None:
        assert read_line(text, at(1)) == Line(text, at(1)) or text.strip()[:1] == "{"

    @given(
        st.dictionaries(
            st.sampled_from(["name", "state", "message", "error_message", "task", "x"]),
            st.recursive(
                st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.sampled_from(["ok"])),
                lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
                max_leaves=10,
            ),
        )
    )
    def test_every_report_can_be_stored(self, fields: dict[str, Any]) -> None:
        entry = read_line(json.dumps(fields), at(1))
        if isinstance(entry, Reported):
            assert entry.report.name.strip()
            json.dumps(entry.report.detail, allow_nan=False)
            for text in (entry.report.name, entry.report.message):
                text.encode()
                assert "\x00" not in text


class TestFieldsOfALine:
    @given(
        st.dictionaries(
            any_characters,
            # By default, Hypothesis tries up to 100 values per key, which takes much longer and does not find more
            # bugs.
            st.recursive(
                st.none() | st.floats() | any_characters, lambda inner: st.lists(inner, max_size=3), max_leaves=5
            ),
            max_size=5,
        )
    )
    def test_fields_equal_those_of_a_printed_line(self, fields: dict[str, Any]) -> None:
        line = json.dumps({**fields, "name": "A", "state": "running", "message": "m"})
        detail_fields = as_in_a_line(fields)
        assert report_of("A", StepState.RUNNING, {**detail_fields, "message": "m"}) == report_in(line)
        json.dumps(detail_fields, allow_nan=False, ensure_ascii=False).encode()


class TestCleanText:
    @given(st.text(alphabet=st.characters(codec=None, categories=None)), st.integers(1, 50))
    def test_any_text_fits_and_can_be_stored(self, text: str, limit: int) -> None:
        cleaned = short_text(clean_text(text), limit)
        cleaned.encode()
        assert "\x00" not in cleaned
        assert len(cleaned) <= limit + len(f"… ({len(text)} more characters)")

    @given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
    def test_storable_text_stays_unchanged(self, text: str) -> None:
        assert clean_text(text) == text

    @given(st.text(min_size=1))
    def test_cleaning_a_name_twice_changes_nothing(self, name: str) -> None:
        assert step_name(step_name(name)) == step_name(name) or len(name) > NAME_LIMIT


def nested(levels: int, kind: type) -> Any:
    """Return lists or objects nested `levels` deep."""
    value: Any = 1
    for _ in range(levels):
        value = [value] if kind is list else {"a": value}
    return value


class TestIsDeep:
    @pytest.mark.parametrize("kind", [list, dict])
    def test_nesting_up_to_the_limit_is_not_deep(self, kind: type) -> None:
        assert not is_deep(nested(MAX_DEPTH, kind))
        assert is_deep(nested(MAX_DEPTH + 1, kind))

    def test_width_is_not_depth(self) -> None:
        assert not is_deep({"a": [{"b": list(range(10_000))}] * 10})

    def test_the_deepest_branch_counts(self) -> None:
        assert is_deep([1, {"a": 2, "b": nested(MAX_DEPTH, list)}, 3])


class TestReadEvent:
    """Lines written by our Ansible callback."""

    @pytest.mark.parametrize("text", ["", "no json", "[1]", "3", '"text"', "{", "[" * 100_000])
    def test_lines_without_an_object_are_output(self, text: str) -> None:
        assert read_event(text, at(1)) == [Line(text, at(1))]

    def test_text_is_output_line_by_line(self) -> None:
        text = json.dumps({"text": "TASK [Install] ***\n\n ok: [web1]\n"})
        assert read_event(text, at(1)) == [Line(part, at(1)) for part in ("TASK [Install] ***", "", " ok: [web1]")]

    def test_a_long_line_is_split(self) -> None:
        text = json.dumps({"text": "before\nthe beginning", "part": True})
        assert read_event(text, at(1)) == [Line("before", at(1)), Line("the beginning", at(1), continues=True)]
        assert read_event(json.dumps({"text": "the end\nafter"}), at(1)) == [
            Line("the end", at(1)),
            Line("after", at(1)),
        ]

    def test_a_task_start_is_a_running_step(self) -> None:
        fields = {"event": "task_start", "task": "t1", "name": "Install", "play": "web", "path": "site.yml:3"}
        (entry,) = read_event(json.dumps(fields), at(1))
        detail = {"task": "t1", "play": "web", "path": "site.yml:3"}
        assert entry == Reported(
            StepReport(name="Install", state=StepState.RUNNING, detail=detail), at(1), planned=True
        )

    @pytest.mark.parametrize(
        ("state", "read"),
        [
            ("success", StepState.SUCCESS),
            ("failure", StepState.FAILURE),
            ("skipped", StepState.SKIPPED),
            ("nonsense", StepState.SUCCESS),
            (None, StepState.SUCCESS),
            (["failure"], StepState.SUCCESS),
        ],
    )
    def test_a_task_end_is_a_finished_step(self, state: object, read: StepState) -> None:
        fields = {"event": "task_end", "task": "t1", "name": "Install", "state": state, "message": "why"}
        (entry,) = read_event(json.dumps(fields), at(1))
        assert isinstance(entry, Reported)
        assert (entry.report.state, entry.report.message, entry.planned) == (read, "why", True)

    @pytest.mark.parametrize("name", [None, "", 3, ["x"]])
    def test_a_task_always_has_a_name(self, name: object) -> None:
        (entry,) = read_event(json.dumps({"event": "task_start", "task": "t1", "name": name}), at(1))
        assert isinstance(entry, Reported)
        assert entry.report.name

    @pytest.mark.parametrize("outcome", list(Outcome))
    def test_host_results_are_parsed(self, outcome: Outcome) -> None:
        fields = {"event": "host_result", "task": "t1", "host": "web1", "outcome": outcome.value, "duration": 0.5}
        (entry,) = read_event(json.dumps({**fields, "message": "m", "diff": "+x"}), at(1))
        assert isinstance(entry, HostReported)
        result = entry.result
        assert (result.task, result.host, result.outcome, result.duration) == ("t1", "web1", outcome, 0.5)
        assert (result.message, result.diff) == ("m", "+x")

    @pytest.mark.parametrize(
        ("field", "value", "kept"),
        [
            ("duration", "fast", None),
            ("duration", None, None),
            ("duration", 10**400, None),
            ("duration", float("nan"), None),
            ("duration", 3, 3.0),
            ("diff", {"before": 1}, None),
            ("diff", "a\x00", f"a{REPLACEMENT}"),
            ("message", None, ""),
            ("message", 7, "7"),
            ("host", None, "None"),
            ("host", "web\x00", f"web{REPLACEMENT}"),
            ("task", None, "None"),
        ],
    )
    def test_unusual_values_are_harmless(self, field: str, value: object, kept: object) -> None:
        fields = {"event": "host_result", "task": "t1", "host": "web1", "outcome": "ok", field: value}
        (entry,) = read_event(json.dumps(fields), at(1))
        assert isinstance(entry, HostReported)
        assert getattr(entry.result, field) == kept

    @pytest.mark.parametrize("outcome", ["exploded", None, 3, ["ok"], {}])
    def test_an_unknown_outcome_is_dropped(self, outcome: object) -> None:
        assert read_event(json.dumps({"event": "host_result", "task": "t1", "outcome": outcome}), at(1)) == []

    @pytest.mark.parametrize("event", ["play_start", "playbook_end", "something new", None, 1])
    def test_other_events_are_ignored(self, event: object) -> None:
        assert read_event(json.dumps({"event": event}), at(1)) == []

    def test_a_forged_step_in_playbook_text_stays_text(self) -> None:
        forged = '{"name": "A", "state": "success"}'
        assert read_event(json.dumps({"text": forged}), at(1)) == [Line(forged, at(1))]


class TestStepReport:
    def test_a_name_and_a_state_are_enough(self) -> None:
        assert step_report({"name": "A", "state": "running"}) == StepReport(name="A", state=StepState.RUNNING)

    def test_a_report_needs_a_name(self) -> None:
        assert step_report({"state": "running"}) is None
