"""Make text from servers and scripts safe to print, because terminals execute control sequences in it."""

from __future__ import annotations

import re
from datetime import datetime, timezone

_ESCAPE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colors and cursor movement
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC, DCS, ...: window titles, links, and the clipboard
    r"|\x1b[ -/]*[0-~]?"
)
_COLOR = re.compile(r"\x1b\[[0-9;:]*m")
# Invisible characters that have an effect. The last two ranges change the text direction.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Return a line without escape sequences and control characters."""
    return _CONTROL.sub(_shown, _ESCAPE.sub("", overwritten(text)))


def colored(text: str) -> str:
    """Return a line like `printable`, but keep the escape sequences for colors."""
    parts: list[str] = []
    end = 0
    text = overwritten(text)
    for color in _COLOR.finditer(text):
        parts += [printable(text[end : color.start()]), color.group()]
        end = color.end()
    return "".join([*parts, printable(text[end:])])


def overwritten(text: str) -> str:
    """Return the text that a terminal shows for a line with carriage returns, as printed by progress bars."""
    return text.rstrip("\r").rpartition("\r")[2]


def one_line(text: str) -> str:
    """Return a message as one printable line, with whitespace collapsed to single spaces."""
    return printable(" ".join(text.split()))


def _shown(match: re.Match[str]) -> str:
    code = ord(match.group())
    return " " if code in (0x0A, 0x0B, 0x0C, 0x2028, 0x2029) else f"\\x{code:02x}" if code < 0x100 else ""


def parse_time(text: str | None) -> datetime | None:
    """Parse a time from the server (ISO 8601). Return None for None."""
    # Python 3.10 cannot parse Z.
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def seconds_between(start: str | None, end: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds between two times, or until `now` if there is no end. Return None if there is no start."""
    begun, ended = parse_time(start), parse_time(end) or now
    if begun is None or ended is None:
        return None
    return max(0.0, (ended - begun).total_seconds())


def duration(seconds: float | None) -> str:
    """Format a duration as `0.3s`, `12s`, `2m 05s`, or `1h 02m`. Return an empty string for None."""
    if seconds is None:
        return ""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"


def local_time(text: str | None) -> str:
    """Format a time from the server in the local time zone, to the second."""
    at = parse_time(text)
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else ""


def utc_now() -> datetime:
    """Return the current time of this machine in UTC."""
    return datetime.now(timezone.utc)
