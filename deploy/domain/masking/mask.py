"""Mask secret values in the output of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from deploy.domain.masking.search import Search, Span, Stream, without
from deploy.domain.masking.spellings import MIN_LENGTH, spellings
from deploy.domain.model import HostResult, StepReport
from deploy.domain.reports import Entry, HostErrorsCleared, HostReported, Line, Reported

HIDDEN = "***"


class Mask:
    """Replaces secret values, and each line of multi-line values, with `***`.

    Finds values in all `spellings`. With `everything`, masks all text. A mask belongs to one run, because it tracks the
    values that the run splits: the output of the script, and the lines of a playbook's events.
    """

    def __init__(self, values: Iterable[str], *, everything: bool = False) -> None:
        self._search = Search(spellings(values))
        self._everything = everything
        self._output, self._events = Stream(), Stream()

    def resume(self) -> None:
        """Continue in the middle of a run. The unknown text before this point could have ended inside a value."""
        self._output.is_unknown = self._events.is_unknown = True

    def is_unused(self, text: str) -> bool:
        """Return True if the next output has nothing to mask, according to all its lines, joined.

        This is one search for a whole batch of lines, because most output does not contain secrets.
        """
        is_idle = self._output.is_idle and self._events.is_idle and not self._everything
        return is_idle and not self._search.may_find(text)

    def text(self, text: str) -> str:
        """Return the text with the values masked, including a value that `CUT` cuts off."""
        if self._everything:
            return HIDDEN if text else text
        return _masked(text, self._search.spans(text))

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
            name=self.text(report.name),
            message=self.text(report.message),
            detail=self.value(report.detail) | ids,
        )

    def entry(self, entry: Entry) -> Entry:
        """Return an entry of a run with the values masked, regardless of the entries before."""
        if isinstance(entry, Line):
            return entry._replace(text=self.text(entry.text))
        if isinstance(entry, Reported):
            return replace(entry, report=self.report(entry.report, planned=entry.planned))
        if isinstance(entry, HostReported):
            return replace(entry, result=self._result(entry.result))
        if isinstance(entry, HostErrorsCleared):
            return entry
        return replace(entry, message=self.text(entry.message))

    def output(self, line: Line) -> Line:
        """Return the next line, or piece of a line, that the run printed. Also mask values that it splits."""
        return self._next(line, self._output)

    def open_line(self, text: str) -> str:
        """Return a line that the run has not ended yet, and that comes again when it ends.

        Also mask the beginning of a value at its end, except for beginnings so short that they occur by chance.
        """
        if self._everything:
            return self.text(text)
        spans = self._search.line_spans(text, self._output.copy(), continues=True)
        return _masked(text, [span for span in spans if span[1] < len(text) or span[1] - span[0] >= MIN_LENGTH])

    def event(self, entry: Entry) -> Entry:
        """Return the next entry from a playbook's events. Also mask values that its lines split."""
        return self._next(entry, self._events) if isinstance(entry, Line) else self.entry(entry)

    @property
    def is_in_line(self) -> bool:
        """Return True if the last output was a piece of a line that continues."""
        return self._output.is_in_line

    def _next(self, line: Line, stream: Stream) -> Line:
        if self._everything:
            return line._replace(text=self.text(line.text))
        spans = self._search.line_spans(line.text, stream, continues=line.continues)
        return line._replace(text=_masked(line.text, spans)) if spans else line

    def _result(self, result: HostResult) -> HostResult:
        return replace(
            result,
            host=self.text(result.host),
            message=self.text(result.message),
            diff=None if result.diff is None else self.text(result.diff),
        )


def _masked(text: str, spans: list[Span]) -> str:
    return without(text, spans, HIDDEN) if spans else text
