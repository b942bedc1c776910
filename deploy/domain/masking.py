"""Mask secret values in the output of a run before the output is stored."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote, quote_plus

from deploy.domain.model import HostResult, StepReport
from deploy.domain.reports import NAME_LIMIT, Entry, HostReported, Line, Reported, RunEnded

HIDDEN = "***"
# Shorter values occur by chance. Masking them would make the log unreadable and reveal where they occur.
MIN_LENGTH = 4
# Limits the conversion time, which grows with the length. Real numbers are shorter.
MAX_NUMBER_LENGTH = 300
# The end of a text that `clean_text` or our Ansible callback has truncated, possibly inside a secret value.
_CUT = re.compile(r"(?:… \(\d+ more characters\)|\n… \(cut here: [\d,]+ bytes in all\))\Z")


class Mask:
    """Replaces secret values, and each line of multi-line values, with `***`.

    Finds values verbatim and as encoded in JSON, Python, URLs, shells, and Base64. With `everything`, masks all text.
    """

    def __init__(self, values: Iterable[str], *, everything: bool = False) -> None:
        spellings = {spelling for value in values for spelling in _spellings(value)}
        self._spellings = sorted(spellings, key=len, reverse=True)
        self._any = re.compile("|".join(map(re.escape, self._spellings)) or r"(?!)")
        self._everything = everything
        # Minimum length for masking the rest of a value at the start of the next line, or of an event's next line. 0:
        # no rest.
        self._line_rest = 0
        self._event_rest = 0

    def resume(self) -> None:
        """Continue in the middle of a run. The unknown text before this point could have ended inside a value.

        Do not mask rests shorter than `MIN_LENGTH`, because most of them are not parts of a value.
        """
        self._line_rest = self._event_rest = MIN_LENGTH

    def text(self, text: str) -> str:
        """Return the text with the values masked."""
        if self._everything:
            return HIDDEN if text else text
        return self._hide(text) if self._any.search(text) else text

    def value(self, value: Any) -> Any:
        """Return JSON data with the values masked, including in field names."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(name)): self.value(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner) for inner in value]
        if isinstance(value, (int, float)) and self.text(str(value)) != str(value):
            return HIDDEN  # a numeric secret
        return value

    def report(self, report: StepReport, *, planned: bool = False) -> StepReport:
        """Return a step report with the values masked.

        If `planned` is true, keep `task` in its details, because it is an ID.
        """
        ids = {"task": report.detail["task"]} if planned and "task" in report.detail else {}
        return replace(
            report,
            name=self._mask_truncated(report.name, NAME_LIMIT),
            message=self._mask_truncated(report.message),
            detail=self.value(report.detail) | ids,
        )

    def entry(self, entry: Entry) -> Entry:
        """Return an entry of a run with the values masked."""
        if isinstance(entry, Line):
            return entry._replace(text=self.text(entry.text))
        if isinstance(entry, Reported):
            return replace(entry, report=self.report(entry.report, planned=entry.planned))
        if isinstance(entry, HostReported):
            return replace(entry, result=self._result(entry.result))
        return self._end(entry)

    def event(self, entry: Entry) -> Entry:
        """Return an entry from a playbook event with the values masked. Track pieces of its lines separately."""
        if not isinstance(entry, Line):
            return self.entry(entry)
        text = self._without_start(entry.text, self._event_rest)
        self._event_rest = int(entry.continues)
        return entry._replace(text=self.text(self._without_end(text) if entry.continues else text))

    def piece(self, text: str, *, continues: bool) -> str:
        """Return a line, or a piece of a long line (`continues`). Also mask values that are cut off at its ends."""
        text = self._without_start(text, self._line_rest)
        self._line_rest = int(continues)
        return self._without_end(text) if continues else text

    def _end(self, end: RunEnded) -> RunEnded:
        return replace(end, message=self._mask_truncated(end.message))

    def _result(self, result: HostResult) -> HostResult:
        return replace(
            result,
            host=self.text(result.host),
            message=self._mask_truncated(result.message),
            diff=None if result.diff is None else self._mask_truncated(result.diff),
        )

    def _mask_truncated(self, text: str, limit: int | None = None) -> str:
        cut = _CUT.search(text)
        if cut is None:
            return self.text(self._without_end(text)) if limit is not None and len(text) >= limit else self.text(text)
        return self.text(self._without_end(text[: cut.start()])) + cut.group()

    def _without_end(self, text: str) -> str:
        """Mask the beginning of a value at the end of the text."""
        size = max((_overlap(text, spelling, len(spelling) - 1) for spelling in self._spellings), default=0)
        return text[: len(text) - size] + HIDDEN if size else text

    def _without_start(self, text: str, shortest: int) -> str:
        """Mask the rest of a value at the start of the text if it has at least `shortest` characters (0: never)."""
        if not shortest:
            return text
        size = max((_overlap(spelling, text, len(spelling) - 1) for spelling in self._spellings), default=0)
        return HIDDEN + text[size:] if size >= shortest else text

    def _hide(self, text: str) -> str:
        kept, done = [], 0
        for start, stop in _merged(_spans(text, self._spellings)):
            kept += [text[done:start], HIDDEN]
            done = stop
        return "".join([*kept, text[done:]])


def _spans(text: str, spellings: Sequence[str]) -> Iterable[tuple[int, int]]:
    for spelling in spellings:
        start = text.find(spelling)
        while start >= 0:
            yield start, start + len(spelling)
            start = text.find(spelling, start + 1)


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the spans in order, with overlapping spans merged."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], stop)
        else:
            merged.append((start, stop))
    return merged


def _overlap(before: str, after: str, longest: int) -> int:
    """Return the length of the longest suffix of `before`, at most `longest`, that is a prefix of `after`.

    Use the Knuth-Morris-Pratt algorithm, which takes linear time: a value can be a whole file.
    """
    wanted = after[:longest]
    if not wanted:
        return 0
    matched, borders = 0, [0]
    for char in wanted[1:]:
        matched = _grown(wanted, borders, matched, char)
        borders.append(matched)
    matched = 0
    for char in before[-len(wanted) :]:
        matched = _grown(wanted, borders, matched, char)
    return matched


def _grown(wanted: str, borders: Sequence[int], matched: int, char: str) -> int:
    """Return the length of the matched prefix of `wanted` after one more character (a Knuth-Morris-Pratt step)."""
    while matched and wanted[matched] != char:
        matched = borders[matched - 1]
    return matched + (wanted[matched] == char)


def _spellings(value: str) -> Iterable[str]:
    """Yield the different ways to write a value, or each of its lines."""
    for part in {value, *value.splitlines(), *(line.strip() for line in value.splitlines())}:
        if len(part) < MIN_LENGTH:
            continue
        yield part
        yield json.dumps(part)[1:-1]
        yield json.dumps(part, ensure_ascii=False)[1:-1]
        yield repr(part)[1:-1]
        yield from (quote(part), quote(part, safe=""), quote_plus(part))
        yield from (part.replace("'", "'\\''"), shlex.quote(part).strip("'"))  # as printed by `set -x`
        yield base64.b64encode(part.encode("utf-8", "replace")).decode()
        yield from _as_numbers(part)


def _as_numbers(text: str) -> Iterable[str]:
    """Yield the numbers that a playbook or script could convert the text to: `01067 | int` prints 1067."""
    if len(text) > MAX_NUMBER_LENGTH:
        return
    for convert in (int, float):
        try:
            number = str(convert(text))
        except ValueError:
            continue
        if len(number) >= MIN_LENGTH and any(map(str.isdigit, number)):
            yield number
