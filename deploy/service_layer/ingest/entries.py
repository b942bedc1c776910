"""Convert spool records to the domain's entries, with secret values masked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone

from deploy.adapters.runs.directory import Record
from deploy.domain.masking import Mask
from deploy.domain.reports import Entry, Line, RunEnded, clean_text, read_event, read_line

START, EXIT = "start", "exit"
# Distinguishes messages from the supervisor in the log from the script's output.
NOTE_PREFIX = "[fastdeploy] "


def masked_entries(records: Sequence[Record], mask: Mask) -> list[Entry]:
    """Return the entries in the records, with secret values masked."""
    entries = entries_of(records, mask)
    lines = [entry for entry in entries if isinstance(entry, Line)]
    is_split = any(line.continues for line in lines)
    if not is_split and mask.is_unused("\n".join([line.text for line in lines])):
        return [entry if isinstance(entry, (Line, RunEnded)) else mask.entry(entry) for entry in entries]
    return [entry for record in records for entry in _masked(record, mask)]


def _masked(record: Record, mask: Mask) -> Iterable[Entry]:
    entries = entries_of([record], mask)
    if record.kind == "event":
        return map(mask.event, entries)
    if record.kind == "out" and mask.is_in_line:  # the end of a long line is never a report
        entries = [Line(record.data, entry.at) for entry in entries]
    if record.kind in ("out", "log", "part"):
        return [mask.output(entry) if isinstance(entry, Line) else mask.entry(entry) for entry in entries]
    return entries


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
