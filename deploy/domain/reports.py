"""What the output of a run means: JSON lines of deploy scripts, events of our Ansible callback."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from deploy.domain.model import HostResult, Outcome, StepReport, StepState

NAME_LIMIT = 500
MESSAGE_LIMIT = 65_536
LONGEST = 1e9
# Levels of JSON in JSON: far more than anybody writes, far fewer than any reader of ours stumbles over.
DEEPEST = 50
_OWN_FIELDS = frozenset({"name", "state", "message"})

# Scripts that pass on Ansible's words are understood, too.
_STATES = {state.value: state for state in StepState} | {
    "ok": StepState.SUCCESS,
    "changed": StepState.SUCCESS,
    "failed": StepState.FAILURE,
    "unreachable": StepState.FAILURE,
}


class Line(NamedTuple):
    """A line of output that is just that; `continues`: a piece of a long one, whose next piece follows.

    A named tuple, because a flood of output makes a million of them: it is four times as fast as a frozen dataclass.
    """

    text: str
    at: datetime
    continues: bool = False


@dataclass(frozen=True, slots=True)
class Reported:
    """A step report. `planned` is true where every start is told, so that none has to be guessed (Ansible)."""

    report: StepReport
    at: datetime
    planned: bool = False


@dataclass(frozen=True, slots=True)
class HostReported:
    """The result of an Ansible task on one host."""

    result: HostResult
    at: datetime


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run is over. `cause` is None for an end of its own accord, else `timeout`, `cancelled`, `not_started`, `lost`."""

    at: datetime
    code: int | None
    signal: str | None = None
    cause: str | None = None
    message: str = ""


Entry: TypeAlias = Line | Reported | HostReported | RunEnded


def clean_text(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Return `text` as PostgreSQL can keep it: no NUL, no lone surrogates, at most `limit` characters."""
    if len(text) > limit:
        text = text[:limit] + f"… ({len(text) - limit} more characters)"
    if text.isascii():
        return text.replace("\x00", "\N{REPLACEMENT CHARACTER}") if "\x00" in text else text
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


def is_deep(value: Any) -> bool:
    """Whether lists and objects lie in each other deeper than `DEEPEST` levels."""
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _inside(outer) if isinstance(inner, (dict, list))]
        if not level:
            return False
    return any(_inside(outer) for outer in level)


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def is_encodable(value: Any) -> bool:
    """Whether every text in it can be written as UTF-8: JSON can spell half a character, which no answer can carry."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def step_name(name: str) -> str:
    """Return a step's name as it is kept, so that a plan and the reports of it agree."""
    return clean_text(name.strip() or name, NAME_LIMIT)


def step_state(word: str) -> StepState | None:
    """Return the state that a script means by a word, whatever its case; None if nobody knows it."""
    return _STATES.get(word.lower())


def step_report(fields: dict[str, Any]) -> StepReport | None:
    """Return the report that a JSON object makes, or None if it is none (no name, a state nobody knows, too deep)."""
    name = fields.get("name")
    said = fields.get("state", StepState.SUCCESS.value)
    state = step_state(said) if isinstance(said, str) else None
    if not isinstance(name, str) or not name.strip() or state is None or is_deep(fields):
        return None
    return report_of(name, state, fields)


def report_of(name: str, state: StepState, fields: dict[str, Any]) -> StepReport:
    """Return the report of a step whose name and state are known; `fields`: all that was said of it."""
    said = fields.get("message") or fields.get("error_message") or ""
    return StepReport(
        name=step_name(name),
        state=state,
        message=clean_text(said if isinstance(said, str) else json.dumps(said)),
        detail={key: value for key, value in fields.items() if key not in _OWN_FIELDS},
    )


def read_line(text: str, at: datetime) -> Entry:
    """Read a line of a script's output: a step report where it is a JSON object with a name, else a log line."""
    stripped = text.strip()
    if stripped[:1] == "{" and stripped[-1:] == "}":
        fields = _json_object(stripped)
        report = step_report(fields) if fields is not None else None
        if report is not None:
            return Reported(report, at)
    return Line(text, at)


def read_event(text: str, at: datetime) -> list[Entry]:
    """Read a line that our Ansible callback wrote; what cannot be understood is kept as a log line.

    A line that is too long for one event comes in pieces, and is kept in pieces, like one of a script.
    """
    fields = _json_object(text)
    if fields is None:
        return [Line(text, at)]
    if isinstance(said := fields.get("text"), str):
        *lines, last = said.removesuffix("\n").split("\n")
        return [*(Line(line, at) for line in lines), Line(last, at, continues=fields.get("part") is True)]
    if fields.get("event") == "task_start":
        return [_task_report(fields, StepState.RUNNING, at)]
    if fields.get("event") == "task_end":
        return [_task_report(fields, _STATES.get(str(fields.get("state")), StepState.SUCCESS), at)]
    if fields.get("event") == "host_result":
        return _host_result(fields, at)
    return []


def as_in_a_line(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields that came as JSON by another way, and are not too deep, as they are read from a line of output."""
    return _json_object(json.dumps(fields)) or {}


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = _DECODER.decode(text)
        if "\\u" in text:
            # An escape can spell half a character (a lone surrogate), which no answer could carry.
            value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _nothing(_constant: str) -> None:
    """Read NaN and Infinity, which Python writes but which are no JSON, as null."""


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


# Once made, for making one takes longer than reading a line.
_DECODER = json.JSONDecoder(parse_constant=_nothing, parse_float=_finite)


def _task_report(fields: dict[str, Any], state: StepState, at: datetime) -> Entry:
    detail = {key: fields[key] for key in ("task", "play", "path") if fields.get(key)}
    name = step_name(str(fields.get("name") or "Unnamed task"))
    message = clean_text(str(fields.get("message") or ""))
    return Reported(StepReport(name=name, state=state, message=message, detail=detail), at, planned=True)


def _host_result(fields: dict[str, Any], at: datetime) -> list[Entry]:
    try:
        outcome = Outcome(fields.get("outcome"))
    except ValueError:
        return []
    duration, diff = fields.get("duration"), fields.get("diff")
    result = HostResult(
        task=str(fields.get("task", "")),
        host=clean_text(str(fields.get("host", "")), NAME_LIMIT),
        outcome=outcome,
        duration=float(duration) if isinstance(duration, (int, float)) and abs(duration) < LONGEST else None,
        message=clean_text(str(fields.get("message") or "")),
        diff=clean_text(diff, 4 * MESSAGE_LIMIT) if isinstance(diff, str) else None,
    )
    return [HostReported(result, at)]
