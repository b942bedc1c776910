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
from deploy.service_layer.ingest.entries import MAX_REPORT_NOTES, NOTE_PREFIX, ReportNotes, masked_entries
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


class TestReportNotes:
    def test_a_line_that_is_almost_a_report_is_followed_by_a_note(self) -> None:
        line = Line("INFO " + '{"name": "A", "state": "failure"}', at(1))
        note = Line(
            f"{NOTE_PREFIX}The line above is not a step report. A step report must be on a line of its own, "
            "without other text.",
            at(1),
        )
        assert entries_of([record("out", line.text), record("out", "next")]) == [line, note, Line("next", at(1))]

    def test_the_note_also_follows_a_masked_line(self) -> None:
        records = [record("out", '{"name": "hunter2-hunter2", "state": "error"}')]
        line, note = masked_entries(records, Mask(["hunter2-hunter2"]))
        assert isinstance(line, Line)
        assert line.text == '{"name": "***", "state": "error"}'
        assert isinstance(note, Line)
        assert note.text.startswith(NOTE_PREFIX)

    def test_the_number_of_notes_is_limited_across_batches(self) -> None:
        notes = ReportNotes()
        text = '{"name": "A", "state": "error"}'
        found = [
            entry
            for _ in range(MAX_REPORT_NOTES)
            for entry in masked_entries([record("out", text), record("out", text)], Mask(()), notes)
            if isinstance(entry, Line) and entry.text.startswith(NOTE_PREFIX)
        ]
        assert len(found) == MAX_REPORT_NOTES
        assert found[-1].text.endswith("Further lines like this are not mentioned.")

    def test_notes_of_the_supervisor_are_not_checked(self) -> None:
        assert len(entries_of([record("note", ["{}", '{"name": "A", "state": "error"}'])])) == 1


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
