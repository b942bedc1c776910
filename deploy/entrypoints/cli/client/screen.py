"""Print to the console in the form that the output stream supports."""

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
    """Symbols for states, in Unicode by default."""

    success: str = "✔"
    failure: str = "✘"
    skipped: str = "↷"
    running: str = "▸"
    waiting: str = "·"
    cancelled: str = "⊘"
    between: str = " · "

    def of(self, state: str) -> str:
        """Return the symbol for the state of a step or deployment."""
        return str(getattr(self, state, self.waiting))


ASCII = Marks(success="+", failure="x", skipped="-", running=">", waiting=".", cancelled="#", between=" - ")
COLORS = {"success": "green", "failure": "red", "cancelled": "yellow", "running": "cyan", "skipped": "dim"}


def console(stream: TextIO) -> Console:
    """Return a console that prints text unchanged: no markup, emoji codes, or automatic highlighting.

    Rich decides whether to use colors (it respects NO_COLOR). Characters that the stream cannot encode are escaped.
    """
    from rich.console import Console

    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return Console(file=stream, markup=False, emoji=False, highlight=False)


def is_interactive(stream: TextIO) -> bool:
    """Return True if the stream is a terminal that can move its cursor. It might still not support color."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")


def marks_for(stream: TextIO) -> Marks:
    """Return the symbols that the stream can encode."""
    return Marks() if _is_unicode(stream) else ASCII


def print_json(value: Any, stream: TextIO | None = None) -> None:
    """Print a value as JSON."""
    out = stream or sys.stdout
    out.write(json.dumps(value, indent=2, ensure_ascii=not _is_unicode(out)) + "\n")
    out.flush()


def say(text: str, *, style: str = "", error: bool = False) -> None:
    """Print a message without wrapping it, to standard output or, if `error` is true, to standard error."""
    console(sys.stderr if error else sys.stdout).print(text, style=style or None, soft_wrap=True)


def _is_unicode(stream: TextIO) -> bool:
    return (getattr(stream, "encoding", None) or "").lower().replace("-", "").startswith("utf")
