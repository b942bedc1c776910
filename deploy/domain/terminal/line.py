"""Interpret one line of output as a terminal would, without moving to other lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from deploy.domain.terminal.row import Row
from deploy.domain.terminal.sequences import DRAWING, LINE_END, LINK, MOVES, SPECIAL, TOKEN, picture
from deploy.domain.terminal.style import PLAIN, Style, number, restyled, sgr


@dataclass(frozen=True, slots=True)
class State:
    """What a line leaves to the next one: the style, and the character sets (True: line drawing)."""

    style: Style = PLAIN
    sets: tuple[bool, bool] = (False, False)
    shifted: bool = False


class Segment(NamedTuple):
    """Text in one style."""

    text: str
    style: Style


class Rendered(NamedTuple):
    """A line as a terminal shows it, and the state at its end."""

    segments: list[Segment]
    state: State

    @property
    def text(self) -> str:
        """Return the text without styles."""
        return "".join([segment.text for segment in self.segments])


START = State()


def render(line: str, state: State = START) -> Rendered:
    """Return a line as a terminal shows it. `state` is the state at the end of the previous line."""
    if not SPECIAL.search(line):
        return Rendered(_merged([(_drawn(line, state), state.style)]), state)
    line = LINE_END.sub(r"\1", line)
    output: Output = Row() if MOVES.search(line) else Flow()
    for token in TOKEN.finditer(line):
        state = _INTERPRETERS[str(token.lastgroup)](token, output, state)
    return Rendered(_merged(output.pieces()), replace(state, style=replace(state.style, link=None)))


def plain_text(line: str) -> str:
    """Return the text that a terminal shows for a line."""
    return line if not SPECIAL.search(line) else render(line).text


def to_ansi(segments: Iterable[Segment]) -> str:
    """Return segments as text with escape sequences for colors only, which ends in the default style."""
    parts: list[str] = []
    is_plain = True
    for text, style in segments:
        codes = sgr(style)
        if codes != "0" or not is_plain:
            parts.append(f"\x1b[{codes}m")
        parts.append(text)
        is_plain = codes == "0"
    return "".join(parts) + ("" if is_plain else "\x1b[0m")


class Output(Protocol):
    """What a line is written to."""

    def write(self, text: str, style: Style) -> None: ...
    def annotate(self, text: str) -> None: ...
    def pieces(self) -> Iterator[tuple[str, Style]]: ...


class Flow:
    """The output of a line without cursor movements, which only appends. It keeps tabs."""

    def __init__(self) -> None:
        self._pieces: list[tuple[str, Style]] = []

    def write(self, text: str, style: Style) -> None:
        """Append text."""
        self._pieces.append((text, style))

    def annotate(self, text: str) -> None:
        """Append text in the style of the text before."""
        self._pieces.append((text, self._pieces[-1][1] if self._pieces else PLAIN))

    def pieces(self) -> Iterator[tuple[str, Style]]:
        """Yield the text with its styles."""
        return iter(self._pieces)


def _merged(pieces: Iterable[tuple[str, Style]]) -> list[Segment]:
    segments: list[Segment] = []
    texts: list[str] = []
    last = PLAIN
    for text, style in pieces:
        if texts and style != last:
            segments.append(Segment("".join(texts), last))
            texts = []
        if text:
            texts.append(text)
            last = style
    return [*segments, Segment("".join(texts), last)] if texts else segments


def _drawn(text: str, state: State) -> str:
    return text.translate(DRAWING) if state.sets[state.shifted] else text


def _text(token: re.Match[str], output: Output, state: State) -> State:
    text = _drawn(token["text"], state)
    if isinstance(output, Row) and "\t" in text:
        first, *others = text.split("\t")
        output.write(first, state.style)
        for other in others:
            output.tab()
            output.write(other, state.style)
    else:
        output.write(text, state.style)
    return state


def _sequence(token: re.Match[str], output: Output, state: State) -> State:
    parameters, final = token["parameters"], token["final"]
    if parameters[:1] in ("<", "=", ">", "?"):
        return state  # a private mode, such as hiding the cursor
    if final == "m":
        return replace(state, style=restyled(state.style, parameters))
    if isinstance(output, Row) and final in _CURSOR:
        _CURSOR[final](output, number(parameters.partition(";")[0]))
    return state


def _string(token: re.Match[str], _output: Output, state: State) -> State:
    if token["kind"] != "]" or not token["string"].startswith("8;"):
        return state
    link = LINK.fullmatch(token["string"])
    return replace(state, style=replace(state.style, link=link[1] if link else None))


def _charset(token: re.Match[str], _output: Output, state: State) -> State:
    is_drawing = token["charset"] == "0"
    sets = (is_drawing, state.sets[1]) if token["set"] == "(" else (state.sets[0], is_drawing)
    return replace(state, sets=sets)


def _escape(token: re.Match[str], output: Output, state: State) -> State:
    if isinstance(output, Row) and token["escape"]:
        match token["escape"]:
            case "7":
                output.save()
            case "8":
                output.restore()
            case "D" | "E" | "M" | "c":
                output.leave()
    return START if token["escape"] == "c" else state


def _control(token: re.Match[str], output: Output, state: State) -> State:
    control = token["control"]
    if control in "\x0e\x0f":
        return replace(state, shifted=control == "\x0e")
    if not isinstance(output, Row) or control not in "\x08\x0b\x0c\r":
        output.annotate(picture(control))
    elif control == "\r":
        output.move_to(0)
    elif control == "\x08":
        output.move_by(-1)
    else:
        output.leave()
    return state


def _erase_display(row: Row, mode: int) -> None:
    # Erasing the whole screen starts over, but the log keeps what was there.
    if mode in (0, 1):
        row.erase(mode)
    else:
        row.leave()


_INTERPRETERS: dict[str, Callable[[re.Match[str], Output, State], State]] = {
    "text": _text,
    "parameters": _sequence,
    "final": _sequence,
    "string": _string,
    "charset": _charset,
    "escape": _escape,
    "control": _control,
}
_CURSOR: dict[str, Callable[[Row, int], None]] = {
    "@": lambda row, n: row.insert(n or 1),
    "C": lambda row, n: row.move_by(n or 1),
    "a": lambda row, n: row.move_by(n or 1),
    "D": lambda row, n: row.move_by(-(n or 1)),
    "G": lambda row, n: row.move_to((n or 1) - 1),
    "`": lambda row, n: row.move_to((n or 1) - 1),
    "I": lambda row, n: row.tab(n or 1),
    "Z": lambda row, n: row.tab(-(n or 1)),
    "J": _erase_display,
    "K": lambda row, n: row.erase(n),
    "P": lambda row, n: row.delete(n or 1),
    "X": lambda row, n: row.blank(n or 1),
    "s": lambda row, _: row.save(),
    "u": lambda row, _: row.restore(),
    **dict.fromkeys("ABEFHdfST", lambda row, _: row.leave()),
}
