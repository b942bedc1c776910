"""Secret values in what a run says: replaced before anything is stored."""

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
# Shorter ones occur everywhere: hiding them would hide the log, and tell where they are.
SHORTEST = 4
# Converting a text takes time that grows with its length, and no number in use is longer.
LONGEST_NUMBER = 300
# How `clean_text` and our Ansible callback end a text that they have cut: right before it, a value may have been cut in
# two.
_CUT = re.compile(r"(?:… \(\d+ more characters\)|\n… \(cut here: [\d,]+ bytes in all\))\Z")


class Mask:
    """Replaces secret values, and each line of those that have several, by `***` wherever they occur.

    Found as they are, and as JSON, Python, URLs, shells and base64 write them. `everything`: replaces every text instead.
    """

    def __init__(self, values: Iterable[str], *, everything: bool = False) -> None:
        spellings = {spelling for value in values for spelling in _spellings(value)}
        self._spellings = sorted(spellings, key=len, reverse=True)
        self._any = re.compile("|".join(map(re.escape, self._spellings)) or r"(?!)")
        self._everything = everything
        # The shortest rest of a value that the next line, or the next line of an event, may begin with; 0: none.
        self._line_rest = 0
        self._event_rest = 0

    def resume(self) -> None:
        """Go on in the middle of a run: what came before is not known, and may have ended within a value.

        Rests of it that are too short to be hidden anywhere stay, for in most cases they are none.
        """
        self._line_rest = self._event_rest = SHORTEST

    def text(self, text: str) -> str:
        """Return the text without the values."""
        if self._everything:
            return HIDDEN if text else text
        return self._hide(text) if self._any.search(text) else text

    def value(self, value: Any) -> Any:
        """Return free-form data without the values; names of fields count as texts, too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(name)): self.value(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner) for inner in value]
        if isinstance(value, (int, float)) and self.text(str(value)) != str(value):
            return HIDDEN  # a secret of digits, printed as a number
        return value

    def report(self, report: StepReport, *, planned: bool = False) -> StepReport:
        """Return a step report without the values. `planned`: `task` in its details is an id, to find the step by."""
        ids = {"task": report.detail["task"]} if planned and "task" in report.detail else {}
        return replace(
            report,
            name=self._cut_off(report.name, NAME_LIMIT),
            message=self._cut_off(report.message),
            detail=self.value(report.detail) | ids,
        )

    def entry(self, entry: Entry) -> Entry:
        """Return one entry of a run without the values."""
        if isinstance(entry, Line):
            return entry._replace(text=self.text(entry.text))
        if isinstance(entry, Reported):
            return replace(entry, report=self.report(entry.report, planned=entry.planned))
        if isinstance(entry, HostReported):
            return replace(entry, result=self._result(entry.result))
        return self._end(entry)

    def event(self, entry: Entry) -> Entry:
        """Return one entry that a playbook's events made; its lines have pieces of their own."""
        if not isinstance(entry, Line):
            return self.entry(entry)
        text = self._without_start(entry.text, self._event_rest)
        self._event_rest = int(entry.continues)
        return entry._replace(text=self.text(self._without_end(text) if entry.continues else text))

    def piece(self, text: str, *, continues: bool) -> str:
        """Return an output line, or (`continues`) a piece of a long one, at whose ends a value may be cut in two."""
        text = self._without_start(text, self._line_rest)
        self._line_rest = int(continues)
        return self._without_end(text) if continues else text

    def _end(self, end: RunEnded) -> RunEnded:
        return replace(end, message=self._cut_off(end.message))

    def _result(self, result: HostResult) -> HostResult:
        return replace(
            result,
            host=self.text(result.host),
            message=self._cut_off(result.message),
            diff=None if result.diff is None else self._cut_off(result.diff),
        )

    def _cut_off(self, text: str, limit: int | None = None) -> str:
        cut = _CUT.search(text)
        if cut is None:
            return self.text(self._without_end(text)) if limit is not None and len(text) >= limit else self.text(text)
        return self.text(self._without_end(text[: cut.start()])) + cut.group()

    def _without_end(self, text: str) -> str:
        """Hide the beginning of a value at the end of the text."""
        size = max((_overlap(text, spelling, len(spelling) - 1) for spelling in self._spellings), default=0)
        return text[: len(text) - size] + HIDDEN if size else text

    def _without_start(self, text: str, shortest: int) -> str:
        """Hide the rest of a value, of so many characters at least (0: none), at the beginning of the text."""
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
    """Return the spans in their order, those that overlap as one."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], stop)
        else:
            merged.append((start, stop))
    return merged


def _overlap(before: str, after: str, longest: int) -> int:
    """Return the length of the longest end of `before`, up to `longest`, that `after` begins with.

    By Knuth, Morris and Pratt, for whom a long value takes no longer than it is: it may be a whole file.
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
    """Return how many characters of `wanted` a text ends with after one more; `borders` are those of its beginnings."""
    while matched and wanted[matched] != char:
        matched = borders[matched - 1]
    return matched + (wanted[matched] == char)


def _spellings(value: str) -> Iterable[str]:
    """Yield how a value may be written, line by line."""
    for part in {value, *value.splitlines(), *(line.strip() for line in value.splitlines())}:
        if len(part) < SHORTEST:
            continue
        yield part
        yield json.dumps(part)[1:-1]
        yield json.dumps(part, ensure_ascii=False)[1:-1]
        yield repr(part)[1:-1]
        yield from (quote(part), quote(part, safe=""), quote_plus(part))
        yield from (part.replace("'", "'\\''"), shlex.quote(part).strip("'"))  # as shells trace their commands
        yield base64.b64encode(part.encode("utf-8", "replace")).decode()
        yield from _as_numbers(part)


def _as_numbers(text: str) -> Iterable[str]:
    """Yield the numbers that a playbook or script can convert the text to: `01067 | int` prints 1067."""
    if len(text) > LONGEST_NUMBER:
        return
    for convert in (int, float):
        try:
            number = str(convert(text))
        except ValueError:
            continue
        if len(number) >= SHORTEST and any(map(str.isdigit, number)):
            yield number
