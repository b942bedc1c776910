"""Convert spool records to the domain's entries."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone

from deploy.adapters.runs.directory import Record
from deploy.domain.masking import Mask
from deploy.domain.reports import Entry, Line, RunEnded, clean_text, read_event, read_line

START, EXIT = "start", "exit"
# Distinguishes messages from the supervisor in the log from the script's output.
NOTE_PREFIX = "[fastdeploy] "


def masked_entries(records: Iterable[Record], mask: Mask | None) -> list[Entry]:
    """Return the entries in the records, with secret values masked.

    `mask` is None if the deployment has no secrets.
    """
    if mask is None:
        return entries_of(records)
    entries: list[Entry] = []
    for record in records:
        if record.kind == "event":
            entries += map(mask.event, entries_of([record]))
        elif record.kind in ("out", "part"):
            text = mask.piece(record.data, continues=record.kind == "part")
            entries += map(mask.entry, entries_of([record._replace(data=text)]))
        else:
            entries += map(mask.entry, entries_of([record]))
    return entries


def entries_of(records: Iterable[Record]) -> list[Entry]:
    """Return the entries in the records, in order."""
    entries: list[Entry] = []
    at, moment = 0.0, datetime.now(timezone.utc)
    for record in records:
        if record.at != at:
            at, moment = record.at, datetime.fromtimestamp(record.at, timezone.utc)
        if record.kind == "out":
            entries.append(read_line(record.data, moment))
        elif record.kind == "part":
            entries.append(Line(record.data, moment))
        elif record.kind == "event":
            entries += read_event(record.data, moment)
        elif record.kind == "note":
            entries.append(Line(NOTE_PREFIX + record.data, moment))
        elif record.kind == EXIT:
            entries.append(_ended(record.data, moment))
    return entries


def _ended(fields: dict[str, object], at: datetime) -> RunEnded:
    code, signal, cause = fields.get("code"), fields.get("signal"), fields.get("cause")
    return RunEnded(
        at=at,
        code=code if isinstance(code, int) else None,
        signal=str(signal) if signal else None,
        cause=str(cause) if cause else None,
        message=clean_text(str(fields.get("message") or "")),
    )
