"""Convert spool records to the domain's entries, with secret values masked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone

from deploy.adapters.runs.directory import Record
from deploy.domain.masking import Mask
from deploy.domain.reports import Entry, Line, RunEnded, clean_text, read_event, read_line, report_problem

START, EXIT, OPEN = "start", "exit", "open"
# Distinguishes messages from the supervisor in the log from the script's output.
NOTE_PREFIX = "[fastdeploy] "
MAX_REPORT_NOTES = 20


class ReportNotes:
    """Adds notes to the log about lines that look like step reports but are not. Their number per run is limited."""

    def __init__(self) -> None:
        self._left = MAX_REPORT_NOTES

    def about(self, line: Line) -> Iterable[Line]:
        """Return the notes to add after a log line of a script."""
        problem = report_problem(line.text) if self._left > 0 and "name" in line.text else None
        if problem is None:
            return ()
        self._left -= 1
        more = " Further lines like this are not mentioned." if self._left == 0 else ""
        return (Line(f"{NOTE_PREFIX}The line above is not a step report. {problem}{more}", line.at),)


def masked_entries(records: Sequence[Record], mask: Mask, notes: ReportNotes | None = None) -> list[Entry]:
    """Return the entries in the records, with secret values masked, and with `notes` about them."""
    entries = entries_of(records, mask)
    lines = [entry for entry in entries if isinstance(entry, Line)]
    is_split = any(line.continues for line in lines)
    notes = notes or ReportNotes()
    if is_split or not mask.is_unused("\n".join([line.text for line in lines])):
        return [entry for record in records for entry in _masked(record, mask, notes)]
    # The output of a run with events never reports steps.
    is_script = not any(record.kind in ("log", "event") for record in records)
    found: list[Entry] = []
    for entry in entries:
        found.append(entry if isinstance(entry, (Line, RunEnded)) else mask.entry(entry))
        if is_script and isinstance(entry, Line) and not entry.text.startswith(NOTE_PREFIX):
            found += notes.about(entry)
    return found


def _masked(record: Record, mask: Mask, notes: ReportNotes) -> Iterable[Entry]:
    entries = entries_of([record], mask)
    if record.kind == "event":
        return map(mask.event, entries)
    is_end = record.kind == "out" and mask.is_in_line
    if is_end:  # the end of a long line is never a report
        entries = [Line(record.data, entry.at) for entry in entries]
    if record.kind not in ("out", "log", "part"):
        return entries
    found: list[Entry] = []
    for entry in entries:
        found.append(mask.output(entry) if isinstance(entry, Line) else mask.entry(entry))
        if isinstance(entry, Line) and record.kind == "out" and not is_end:
            found += notes.about(entry)
    return found


def entries_of(records: Iterable[Record], mask: Mask) -> list[Entry]:
    """Return the entries in the records, in order. Only values in our own sentences are masked."""
    entries: list[Entry] = []
    at, moment = 0.0, datetime.now(timezone.utc)
    for record in records:
        if record.at != at:
            at, moment = record.at, datetime.fromtimestamp(record.at, timezone.utc)
        if record.kind == "out":
            entries.append(read_line(record.data, moment))
        elif record.kind == "log":
            entries.append(Line(record.data, moment))
        elif record.kind == "part":
            entries.append(Line(record.data, moment, continues=True))
        elif record.kind == "event":
            entries += read_event(record.data, moment)
        elif record.kind == "note":
            entries.append(Line(NOTE_PREFIX + sentence(record.data, mask), moment))
        elif record.kind == EXIT:
            entries.append(_ended(record.data, moment, mask))
    return entries


def _ended(fields: dict[str, object], at: datetime, mask: Mask) -> RunEnded:
    code, signal, cause = fields.get("code"), fields.get("signal"), fields.get("cause")
    return RunEnded(
        at=at,
        code=code if isinstance(code, int) else None,
        signal=str(signal) if signal else None,
        cause=str(cause) if cause else None,
        message=clean_text(sentence(fields.get("message") or "", mask)),
        is_playbook=fields.get("events") == 1,
    )


def sentence(data: object, mask: Mask) -> str:
    """Return a sentence of the supervisor, with its values masked.

    Masking our own words could damage them, and reveal that a secret is such a word.
    """
    if not isinstance(data, list):  # a supervisor that an earlier version started
        return mask.text(str(data))
    template, *values = map(str, data or [""])
    first, *others = template.split("{}", len(values))
    return first + "".join(mask.text(value) + words for value, words in zip(values, others, strict=False))
