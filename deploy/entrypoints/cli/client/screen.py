"""Where output goes: consoles that know what their stream can show."""

from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, slots=True)
class Marks:
    """How states look: in Unicode, or in ASCII where the stream knows no more."""

    success: str = "✔"
    failure: str = "✘"
    skipped: str = "↷"
    running: str = "▸"
    waiting: str = "·"
    cancelled: str = "⊘"
    between: str = " · "

    def of(self, state: str) -> str:
        """Return the mark of a step's or deployment's state."""
        return str(getattr(self, state, self.waiting))


ASCII = Marks(success="+", failure="x", skipped="-", running=">", waiting=".", cancelled="#", between=" - ")
COLORS = {"success": "green", "failure": "red", "cancelled": "yellow", "running": "cyan", "skipped": "dim"}


def console(stream: TextIO) -> Console:
    """Return a console that takes texts as they are: no markup, no smileys, nothing highlighted by guessing.

    Whether there are colors is rich's decision (it knows NO_COLOR); a character that the stream cannot encode is
    escaped.
    """
    from rich.console import Console

    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return Console(file=stream, markup=False, emoji=False, highlight=False)


def is_interactive(stream: TextIO) -> bool:
    """Whether somebody looks at it on a terminal that can move its cursor (so not whether there are colors)."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")


def marks_for(stream: TextIO) -> Marks:
    """Return the marks that this stream can show."""
    return Marks() if _is_unicode(stream) else ASCII


def print_json(value: Any, stream: TextIO | None = None) -> None:
    """Print a JSON document for a script."""
    out = stream or sys.stdout
    out.write(json.dumps(value, indent=2, ensure_ascii=not _is_unicode(out)) + "\n")
    out.flush()


def say(text: str, *, style: str = "", error: bool = False) -> None:
    """Print a sentence, unbroken, to standard output or, for errors and remarks, to standard error."""
    console(sys.stderr if error else sys.stdout).print(text, style=style or None, soft_wrap=True)


def _is_unicode(stream: TextIO) -> bool:
    return (getattr(stream, "encoding", None) or "").lower().replace("-", "").startswith("utf")
