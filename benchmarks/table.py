"""Show results as a table on the terminal, and write them between two markers in README.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- table: written by `just bench` -->", "<!-- end of the table -->"
HEAD = ("what", "measured", "baseline, same run", "ratio", "goal", "")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measurement. `good` is None if the measurement does not have a goal."""

    what: str
    measured: str
    baseline: str = "-"
    ratio: str = "-"
    goal: str = "-"
    good: bool | None = None

    def cells(self) -> tuple[str, ...]:
        """Return the cells in the order of `HEAD`."""
        verdict = {None: "", True: "pass", False: "**miss**"}[self.good]
        return (self.what, self.measured, self.baseline, self.ratio, self.goal, verdict)


def attempt(name: str, measure: Callable[[], list[Row]]) -> list[Row]:
    """Run a measurement. If it fails, return a row with the error, so that others can continue."""
    try:
        return measure()
    except Exception as error:
        return [Row(what=name, measured=f"failed: {error}"[:1000].replace("\n", " "), good=False)]


def markdown(rows: Sequence[Row]) -> str:
    """Return the table with aligned columns."""
    lines = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    padded = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    padded.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(padded)


def write_readme(about: Sequence[str], rows: Sequence[Row]) -> None:
    """Replace the text between the markers."""
    text = "\n\n".join([BEGIN, *about, markdown(rows), END])
    before = README.read_text(encoding="utf-8")
    found = re.compile(re.escape(BEGIN) + ".*" + re.escape(END), re.DOTALL)
    README.write_text(found.sub(lambda _: text, before), encoding="utf-8")
