"""A line of output as a terminal shows it. The tests of the page use the same lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from deploy.domain.terminal import Segment, State, plain_text, render, to_ansi
from deploy.domain.terminal.row import BUDGET, COLUMNS

LINES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("terminal_lines.json").read_text())
ESC = "\x1b"


def described(segment: Segment) -> dict[str, Any]:
    style = segment.style
    fields = {
        "text": segment.text,
        "styles": sorted(style.attributes),
        "color": style.color,
        "background": style.background,
        "link": style.link,
    }
    return {name: value for name, value in fields.items() if value not in (None, [])}


@pytest.mark.parametrize("case", LINES, ids=[case["name"] for case in LINES])
def test_a_line_is_shown_as_in_a_terminal(case: dict[str, Any]) -> None:
    rendered, state = [], State()
    for line in case["lines"]:
        rendered.append(render(line, state))
        state = rendered[-1].state
    if "texts" in case:
        assert [line.text for line in rendered] == case["texts"]
    if "segments" in case:
        assert [[described(segment) for segment in line.segments] for line in rendered] == case["segments"]


def test_the_plain_text_of_a_line_has_no_styles() -> None:
    assert plain_text(f"{ESC}[31m10 %\r{ESC}[32m100 %{ESC}[0m") == "100 %"


def test_colors_are_written_back_as_escape_sequences() -> None:
    line = f"a{ESC}[1;31mb{ESC}[38;5;141mc{ESC}[0m{ESC}[48;2;1;2;3md{ESC}[95me"
    written = to_ansi(render(line).segments)
    assert render(written).segments == render(line).segments
    assert Text.from_ansi(written).plain == "abcde"
    assert written.endswith(f"{ESC}[0m")


@pytest.mark.parametrize(
    "line",
    [
        "x" * 1000 + f"{ESC}[2Kx" * 20_000,
        "x" * 20_000 + f"\r{ESC}[P" * 20_000,
        f"{ESC}[999@x" * 20_000,
        f"\r\x07{ESC}[m" * 20_000,
        f"{ESC}[1000G{ESC}[1Kx" * 10_000,
        f"{ESC}[{'1;' * 100_000}mx",
        f"{ESC}[{'9' * 100_000}Cx",
        f"x{ESC}[A" * 20_000,
    ],
    ids=["erasures", "deletions", "insertions", "pictures", "blanks", "parameters", "digits", "rows"],
)
def test_hostile_lines_do_not_take_more_cells_than_allowed(line: str) -> None:
    assert len(render(line).text) <= max(len(line), COLUMNS) < BUDGET
