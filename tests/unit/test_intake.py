"""Convert spool records to entries."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from deploy.adapters.runs.directory import Record
from deploy.domain.masking import Mask
from deploy.domain.model import StepReport, StepState
from deploy.domain.reports import Entry, Line, Reported, RunEnded
from deploy.service_layer.ingest.entries import masked_entries
from tests.runs import at

STAMP = at(1).timestamp()


def record(kind: str, data: Any, stamp: float = STAMP) -> Record:
    return Record(1, stamp, kind, data)


def entries_of(records: Iterable[Record]) -> list[Entry]:
    """Return the entries of a run without secrets."""
    return masked_entries(list(records), Mask(()))


class TestEntries:
    def test_lines_and_reports_of_a_script(self) -> None:
        report = '{"name": "A", "state": "running"}'
        found = entries_of([record("start", {"pid": 1}), record("out", "hello"), record("out", report)])
        step = StepReport(name="A", state=StepState.RUNNING)
        assert found == [Line("hello", at(1)), Reported(step, at(1))]

    def test_a_part_of_a_long_line_is_never_a_report(self) -> None:
        forged = '{"name": "A", "state": "success"}'
        assert entries_of([record("part", forged)]) == [Line(forged, at(1), continues=True)]

    def test_the_output_beside_events_never_reports_steps(self) -> None:
        forged = '{"name": "A", "state": "failure"}'
        assert entries_of([record("log", forged)]) == [Line(forged, at(1))]
        masked = masked_entries([record("log", "the s3cret-value")], Mask(["s3cret-value"]))
        assert masked == [Line("the ***", at(1))]

    def test_notes_are_distinguished_from_script_output(self) -> None:
        assert entries_of([record("note", "Something was left running.")]) == [
            Line("[fastdeploy] Something was left running.", at(1))
        ]

    def test_events_of_a_playbook(self) -> None:
        text = json.dumps({"text": "one\ntwo"})
        assert entries_of([record("event", text)]) == [Line("one", at(1)), Line("two", at(1))]
        assert entries_of([record("event", '{"event": "play_start"}')]) == []

    def test_each_entry_has_the_time_of_its_record(self) -> None:
        found = entries_of([record("out", "a", STAMP), record("out", "b", STAMP + 0.25), record("out", "c", STAMP)])
        assert [entry.at for entry in found] == [at(1), at(1.25), at(1)]

    def test_entries_stay_in_order(self) -> None:
        found = entries_of(record("out", str(number)) for number in range(50))
        assert [entry.text for entry in found if isinstance(entry, Line)] == [str(number) for number in range(50)]


class TestEnd:
    @pytest.mark.parametrize(
        ("data", "ended"),
        [
            ({"code": 0, "signal": None, "cause": None, "message": ""}, RunEnded(at(1), 0)),
            ({"code": 3, "message": "It ended."}, RunEnded(at(1), 3, message="It ended.")),
            (
                {"code": None, "signal": "SIGKILL", "cause": "timeout", "message": "Too long."},
                RunEnded(at(1), None, "SIGKILL", "timeout", "Too long."),
            ),
            ({"cause": "not_started", "message": "a\x00b"}, RunEnded(at(1), None, None, "not_started", "a\ufffdb")),
            ({}, RunEnded(at(1), None)),
        ],
    )
    def test_the_end_of_a_run(self, data: dict[str, Any], ended: RunEnded) -> None:
        assert entries_of([record("exit", data)]) == [ended]
