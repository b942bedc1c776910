"""Make text from servers and scripts safe to print, because terminals execute control sequences in it."""

from __future__ import annotations

from datetime import datetime, timezone

from deploy.domain.terminal import State, plain_text, render, to_ansi


def printable(text: str) -> str:
    """Return text as one line, as a terminal shows it, without colors and control characters."""
    return plain_text(text.replace("\n", " "))


def colored(line: str, state: State) -> tuple[str, State]:
    """Return a line like `printable`, but with colors, and the state for the next line."""
    rendered = render(line, state)
    return to_ansi(rendered.segments), rendered.state


def one_line(text: str) -> str:
    """Return a message as one printable line, with whitespace collapsed to single spaces."""
    return printable(" ".join(text.split()))


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
