"""Text from servers and scripts, made fit to be shown: it may hold anything, and a terminal obeys a lot."""

from __future__ import annotations

import re
from datetime import datetime, timezone

_ESCAPE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colors, and moving the cursor
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC, DCS, ...: window titles, links, the clipboard
    r"|\x1b[ -/]*[0-~]?"
)
_COLOR = re.compile(r"\x1b\[[0-9;:]*m")
# Everything that is not to be seen but does something; the last two ranges turn the direction of writing.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Return one line that does nothing but be read: no escape sequences, no control characters."""
    return _CONTROL.sub(_shown, _ESCAPE.sub("", overwritten(text)))


def colored(text: str) -> str:
    """Return one line like `printable`, with the escape sequences for colors still in it."""
    parts: list[str] = []
    end = 0
    text = overwritten(text)
    for color in _COLOR.finditer(text):
        parts += [printable(text[end : color.start()]), color.group()]
        end = color.end()
    return "".join([*parts, printable(text[end:])])


def overwritten(text: str) -> str:
    """Return what is left of a line whose beginning was written over (progress bars do that)."""
    return text.rstrip("\r").rpartition("\r")[2]


def one_line(text: str) -> str:
    """Return a message as one printable line, with a blank for each break and tab."""
    return printable(" ".join(text.split()))


def _shown(match: re.Match[str]) -> str:
    code = ord(match.group())
    return " " if code in (0x0A, 0x0B, 0x0C, 0x2028, 0x2029) else f"\\x{code:02x}" if code < 0x100 else ""


def moment(text: str | None) -> datetime | None:
    """Return the time that a server's answer holds (ISO 8601), or None."""
    # Python 3.10 does not know the Z.
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def seconds_between(start: str | None, end: str | None, now: datetime | None = None) -> float | None:
    """Return how long it took, in seconds; until `now` if it has not ended. None when it has not begun."""
    begun, ended = moment(start), moment(end) or now
    if begun is None or ended is None:
        return None
    return max(0.0, (ended - begun).total_seconds())


def duration(seconds: float | None) -> str:
    """Return a duration for people: `0.3s`, `12s`, `2m 05s`, `1h 02m`; nothing for None."""
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
    """Return a time of the server as the user's clock shows it, to the second."""
    at = moment(text)
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else ""


def utc_now() -> datetime:
    """Return the time by this machine's clock."""
    return datetime.now(timezone.utc)
