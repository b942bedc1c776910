"""Find secret values in text, also when the end of a line or of a piece of output splits them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from deploy.domain.masking.spellings import MIN_LENGTH, Spelling
from deploy.domain.reports import CUT

Span: TypeAlias = tuple[int, int]

# Length of the beginnings to look for. Also the length from which the beginning of a value at the end of a line is
# masked: programs break lines within long values, but a shorter beginning occurs by chance.
HEAD = 16
# Number of candidates to compare before switching to a slower method that takes linear time.
_MAX_TRIES = 16
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]")
_PARTIAL = re.compile(r"(?:[A-Za-z0-9+/_-]={0,2})?")
# What programs write at the start and the end of each line when they break a value: indentation, quotation marks, list
# marks, commas, backslashes, and colors.
_COLOR = r"\x1b\[[0-9;]*m"
_LEAD = re.compile(rf"(?:[\s\"'|\\]|- |{_COLOR})*")
_TAIL = re.compile(rf"(?:[\s\"',\\]|{_COLOR})*\Z")
# Line breaks, how they are written in a JSON string, and where a text was cut off.
_BREAK = re.compile(rf"\r?\n|(?:\\r)?\\n|{CUT}")


class Needle:
    """A spelling of a value to look for."""

    def __init__(self, spelling: Spelling) -> None:
        self.text, self._before, self._after = spelling
        self.head = self.text[:HEAD]
        self._borders = [0]

    def spans(self, text: str) -> Iterator[Span]:
        """Yield each occurrence in the text."""
        size, start = len(self.text), text.find(self.text)
        while start >= 0:
            yield self._extended(text, start, start + size)
            if text.find(self.text, start + 1, start + 2 * size - 1) >= 0:  # occurrences overlap
                yield from (self._extended(text, stop - size, stop) for stop in self._stops(text, start))
                return
            start = text.find(self.text, start + size)

    def end_overlap(self, text: str, shortest: int) -> int:
        """Return the length of the longest beginning of this needle (not all of it) at the end of the text."""
        tail = text[-(len(self.text) - 1) :]
        start, tries = tail.find(self.head), 0
        while start >= 0 and tries < _MAX_TRIES:
            if self.text.startswith(tail[start:]):
                return len(tail) - start
            start, tries = tail.find(self.head, start + 1), tries + 1
        if start >= 0:
            matched = self._advanced(tail, 0)
            return matched if matched >= shortest else 0
        for size in range(min(HEAD, len(self.text)) - 1, shortest - 1, -1):
            if text.endswith(self.text[:size]):
                return size
        return 0

    def start_overlap(self, text: str, shortest: int) -> int:
        """Return the length of the longest end of this needle (not all of it) at the start of the text."""
        reversed_needle = Needle(Spelling(self.text[::-1]))
        return reversed_needle.end_overlap(text[: len(self.text)][::-1], shortest)

    def continued(self, text: str, matched: int) -> tuple[int, int]:
        """Continue an occurrence of which the first `matched` characters came before the text.

        Return how much of the text belongs to it, and how much of the needle has been seen afterward (0: it ended).
        """
        rest = self.text[matched:]
        if text.startswith(rest):
            return len(rest), 0
        if rest.startswith(text):
            return len(text), matched + len(text)
        for count, char in enumerate(text, 1):
            matched = self._step(matched, char)
            if matched == len(self.text):
                return count, 0
            if matched <= count:
                return 0, 0
        return len(text), matched

    def _extended(self, text: str, start: int, stop: int) -> Span:
        """Add the characters at both ends that depend on the value partially, and padding."""
        if self._before and start and _BASE64.match(text, start - 1):
            start -= 1
        return start, self.extended_stop(text, stop)

    def extended_stop(self, text: str, stop: int) -> int:
        """Return the end of an occurrence that stops here, including a last character that only partly depends on it."""
        partial = _PARTIAL.match(text, stop) if self._after else None
        return partial.end() if partial is not None else stop

    # The rest is the algorithm of Knuth, Morris, and Pratt, which takes linear time: a value can be a whole file.

    def _border(self, size: int) -> int:
        """Return the length of the longest beginning that is also an end of the first `size` characters."""
        while len(self._borders) < size:
            self._borders.append(self._step(self._borders[-1], self.text[len(self._borders)]))
        return self._borders[size - 1]

    def _step(self, matched: int, char: str) -> int:
        while matched and self.text[matched] != char:
            matched = self._border(matched)
        return matched + (self.text[matched] == char)

    def _advanced(self, text: str, matched: int) -> int:
        for char in text:
            matched = self._step(matched, char)
        return matched

    def _stops(self, text: str, start: int) -> Iterator[int]:
        matched, size = 0, len(self.text)
        for stop, char in enumerate(text[start:], start + 1):
            matched = self._step(matched, char)
            if matched == size:
                yield stop
                matched = self._border(size)


class Stream:
    """What is known about the text before the next one: the values that it ended in, and how."""

    def __init__(self) -> None:
        self.matched: dict[Needle, int] = {}
        # The text before was a piece of a line that continues, or it is unknown.
        self.is_in_line = self.is_unknown = False

    def copy(self) -> Stream:
        """Return a copy, so that text can be looked at that comes again later."""
        copy = Stream()
        copy.matched = dict(self.matched)
        copy.is_in_line, copy.is_unknown = self.is_in_line, self.is_unknown
        return copy

    @property
    def is_idle(self) -> bool:
        """Return True if the next text cannot contain the rest of a value."""
        return not (self.matched or self.is_in_line or self.is_unknown)


class Search:
    """Finds the needles in text."""

    def __init__(self, spellings: Iterable[Spelling]) -> None:
        self._needles = [Needle(spelling) for spelling in sorted(spellings)]
        self._heads = sorted({needle.head for needle in self._needles}, key=len)

    def may_find(self, text: str) -> bool:
        """Return False if the text does not contain the beginning of any value. Fast: most text does not."""
        return any(head in text for head in self._heads)

    def spans(self, text: str) -> list[Span]:
        """Return where the text contains values, including values that it breaks into lines or cuts off."""
        if not self.may_find(text) and CUT not in text:
            return []
        needles = self._begun_in(text)
        found = _whole(text, needles)
        stream, start = Stream(), 0
        for end in _BREAK.finditer(text):
            part, is_cut = text[start : end.start()], end[0] == CUT
            found += _broken(part, self._needles if is_cut else needles, stream, start, continues=is_cut)
            start = end.end()
        return found + _broken(text[start:], needles, stream, start)

    def line_spans(self, text: str, stream: Stream, *, continues: bool) -> list[Span]:
        """Return where a line, or a piece of a line that continues, contains values or parts of values."""
        needles = self._begun_in(text)
        if stream.is_idle and not continues and not needles:
            return []
        found = _whole(text, needles)
        if stream.is_unknown:
            found += _unknown_rest(text, self._needles, stream)
        return found + _broken(text, self._needles if continues else needles, stream, 0, continues=continues)

    def _begun_in(self, text: str) -> list[Needle]:
        return [needle for needle in self._needles if needle.head in text]


def _whole(text: str, needles: Iterable[Needle]) -> list[Span]:
    return [span for needle in needles for span in needle.spans(text)]


def _broken(text: str, needles: Sequence[Needle], stream: Stream, at: int, *, continues: bool = False) -> list[Span]:
    """Return where the text, which begins at position `at`, contains parts of values. Update the stream."""
    whole, core = (0, len(text)), _core(text)
    if core[0] >= core[1] and not continues and not stream.is_in_line:
        return []  # an empty line between two parts
    found, matched = _rest(text, (whole,) if stream.is_in_line else (whole, core), stream)
    for start, stop in (whole,) if continues else (whole, core):
        for needle in needles:
            size = 0 if needle in matched else needle.end_overlap(text[start:stop], 1 if continues else HEAD)
            if size:
                matched[needle] = size
                found.append((stop - size, stop))
    stream.matched, stream.is_in_line, stream.is_unknown = matched, continues, False
    return [(at + start, at + stop) for start, stop in found]


def _core(text: str) -> Span:
    """Return where the text is, without what programs write around the parts of a value that they break."""
    lead, tail = _LEAD.match(text), _TAIL.search(text)
    assert lead is not None
    assert tail is not None
    return lead.end(), tail.start()


def _rest(text: str, lines: Sequence[Span], stream: Stream) -> tuple[list[Span], dict[Needle, int]]:
    """Return where the text continues values from before, and how much of them has been seen if it ends in them."""
    found: list[Span] = []
    matched: dict[Needle, int] = {}
    for needle, before in stream.matched.items():
        for start, stop in lines:
            size, after = needle.continued(text[start:stop], before)
            if not size and not stream.is_in_line and needle.text[before] == " ":
                # The line break replaces a space.
                size, after = needle.continued(text[start:stop], before + 1)
            if size:
                found.append((start, start + size if after else needle.extended_stop(text, start + size)))
                if after:
                    matched[needle] = after
                break
    return found, matched


def _unknown_rest(text: str, needles: Iterable[Needle], stream: Stream) -> Iterator[Span]:
    """Yield the rest of a value that could have begun before, in text that is not known. Update the stream.

    Leave short rests, because most of them are not parts of a value.
    """
    for needle in needles:
        size = needle.start_overlap(text, MIN_LENGTH)
        if not size and len(text) >= HEAD and (start := needle.text.find(text)) > 0:
            size, stream.matched[needle] = len(text), start
        if size:
            yield 0, size


def without(text: str, spans: Iterable[Span], replacement: str) -> str:
    """Return the text with each span replaced. Spans that overlap are replaced together."""
    kept, done = [], 0
    for start, stop in _merged(spans):
        kept += [text[done:start], replacement]
        done = stop
    return "".join([*kept, text[done:]])


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, stop in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], stop)
        else:
            merged.append((start, stop))
    return merged
