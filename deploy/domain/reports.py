"""Parse the output of a run: JSON lines from deploy scripts, and events from our Ansible callback."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from deploy.domain.model import HostResult, Outcome, StepReport, StepState

NAME_LIMIT = 500
MESSAGE_LIMIT = 65_536
DIFF_LIMIT = 4 * MESSAGE_LIMIT
NO_HOSTS_STEP = "Find hosts"
# Characters of JSON: all other fields that a script reports about a step.
DETAIL_LIMIT = 4 * MESSAGE_LIMIT
# Our Ansible callback puts this control character where it cuts off a text, followed by the size of the whole text in
# bytes and a semicolon. It replaces control characters from other sources.
CUT = "\x1a"
_CUT_AND_SIZE = re.compile(rf"{CUT}(\d*);?")
MAX_DURATION = 1e9
# Nesting levels of JSON: far more than scripts use, and far fewer than any of our parsers can handle.
MAX_DEPTH = 50
# Escape sequences of terminals: CSI (such as colors), OSC (such as titles and links), and short ones.
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][0-9A-B]|[@-Z\\^_=>78])")
_BYTE_ORDER_MARK = "\ufeff"
_LOOKS_NAMED = re.compile(r"""["']name["']\s*:""")
_LOOKS_LIKE_STATE = re.compile(r"""["']state["']\s*:""")
_FIRST_OF_SEVERAL_LINES = re.compile(r"""\{\s*["']name["']\s*:\s*["'][^"']*["']\s*,$""")
_STEP_FIELDS = frozenset({"name", "state", "message"})

# Also accept Ansible's names, because some scripts pass them on.
_STATES = {state.value: state for state in StepState} | {
    "ok": StepState.SUCCESS,
    "changed": StepState.SUCCESS,
    "failed": StepState.FAILURE,
    "unreachable": StepState.FAILURE,
}


class Line(NamedTuple):
    """A line of log output. `continues` is True for a piece of a long line if another piece follows.

    `host` is the host whose next result the line belongs to, or empty.

    A named tuple is four times as fast as a frozen dataclass, and a run can print millions of lines.
    """

    text: str
    at: datetime
    continues: bool = False
    host: str = ""


@dataclass(frozen=True, slots=True)
class Reported:
    """A step report. If `planned` is True, every step start is reported (Ansible), so no starts are inferred."""

    report: StepReport
    at: datetime
    planned: bool = False


@dataclass(frozen=True, slots=True)
class HostReported:
    """The result of an Ansible task on one host."""

    result: HostResult
    at: datetime


@dataclass(frozen=True, slots=True)
class HostErrorsCleared:
    """A playbook cleared the failures of its hosts (`meta: clear_host_errors`), and continues on them."""

    at: datetime


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The end of a run.

    `cause` is None if the script ended on its own; otherwise it is `timeout`, `cancelled`, `not_started`, or `lost`.
    `error` is the last error that Ansible printed, if the run is a playbook (`is_playbook`) and no step failed.
    """

    at: datetime
    code: int | None
    signal: str | None = None
    cause: str | None = None
    message: str = ""
    is_playbook: bool = False
    error: str = ""


Entry: TypeAlias = Line | Reported | HostReported | HostErrorsCleared | RunEnded


def clean_text(text: str) -> str:
    """Return `text` in a form that PostgreSQL can store: no NUL, no lone surrogates."""
    if text.isascii():
        return text.replace("\x00", "\N{REPLACEMENT CHARACTER}") if "\x00" in text else text
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


def short_text(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Return at most `limit` characters of `text`, and a note if there are more. Mask secret values before.

    Otherwise, the limit could split a value, which could then not be recognized.
    """
    return text if len(text) <= limit else text[:limit] + f"… ({len(text) - limit} more characters)"


def with_cut_notes(text: str) -> str:
    """Return text from our Ansible callback with a note wherever it was cut off. Mask secret values before."""
    return _CUT_AND_SIZE.sub(_cut_note, text) if CUT in text else text


def _cut_note(cut: re.Match[str]) -> str:
    return f"\n… (cut here: {int(cut[1][:18]):,} bytes in all)" if cut[1] else ""


def is_deep(value: Any) -> bool:
    """Return True if lists and objects are nested more than `MAX_DEPTH` levels deep."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer) if isinstance(inner, (dict, list))]
        if not level:
            return False
    return any(_inside(outer) for outer in level)


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def is_encodable(value: Any) -> bool:
    """Return True if all text in the value can be encoded as UTF-8.

    JSON escapes can contain lone surrogates, which cannot.
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def step_name(name: str) -> str:
    """Return a step's name in the form in which it is stored, so that names in plans and reports match."""
    return short_text(_full_name(name), NAME_LIMIT)


def _full_name(name: str) -> str:
    printed = _printed(name)
    return printed.strip() or printed


def _printed(text: str) -> str:
    """Return text that did not come from our Ansible callback, without colors. `CUT` has no meaning in it."""
    plain = _ANSI.sub("", text).replace("\x1b", "\N{SYMBOL FOR ESCAPE}") if "\x1b" in text else text
    return clean_text(plain).replace(CUT, "\N{SYMBOL FOR SUBSTITUTE}")


def step_state(word: str) -> StepState | None:
    """Return the state for a state name, in any case, or None if the name is unknown."""
    return _STATES.get(word.lower())


def step_report(fields: dict[str, Any]) -> StepReport | None:
    """Return the step report in a JSON object, or None if it is not a step report.

    It is not a step report if it has no name or no known state, or if it is nested too deeply.
    """
    name, word = fields.get("name"), fields.get("state")
    state = step_state(word) if isinstance(word, str) else None
    if not isinstance(name, str) or not _full_name(name).strip() or state is None or is_deep(fields):
        return None
    return report_of(name, state, fields)


def report_of(name: str, state: StepState, fields: dict[str, Any]) -> StepReport:
    """Return a report for a step with this name and state. `fields` holds everything that was reported.

    The texts have their full length, because secret values in them are not masked yet.
    """
    error = fields.get("error_message") if state is StepState.FAILURE else None
    message = error or fields.get("message") or fields.get("error_message") or ""
    detail = {key: value for key, value in fields.items() if key not in _STEP_FIELDS}
    if error and fields.get("message"):
        detail["message"] = fields["message"]  # a failed step shows its error instead
    return StepReport(
        name=_full_name(name),
        state=state,
        message=_printed(message if isinstance(message, str) else json.dumps(message)),
        detail=detail,
    )


def read_line(text: str, at: datetime) -> Entry:
    """Parse a line of a script's output.

    A JSON object with a name and a known state is a step report; any other line is a log line.
    """
    if "{" in text:
        fields = _only_object(_bare(text))
        report = step_report(fields) if fields is not None else None
        if report is not None:
            return Reported(report, at)
    return Line(text, at)


def report_problem(text: str) -> str | None:
    """Return why a log line that looks like a step report is not one, or None if it does not look like one.

    The sentence does not contain any part of the line.
    """
    if not _LOOKS_NAMED.search(text):
        return None
    bare = _bare(text)
    fields = _only_object(bare)
    if fields is not None:
        return _problem_of(fields)
    if _FIRST_OF_SEVERAL_LINES.match(bare):
        return "A step report must be on a single line."
    if not _LOOKS_LIKE_STATE.search(text):
        return None
    if not bare.startswith("{") or not bare.endswith("}"):
        return "A step report must be on a line of its own, without other text."
    return "It is not valid JSON, or more than one object."


def _problem_of(fields: dict[str, Any]) -> str | None:
    """Return why a JSON object is not a step report, or None if it does not look like one."""
    if "name" not in fields or "state" not in fields:
        return None
    if not isinstance(fields["name"], str) or not _full_name(fields["name"]).strip():
        return "The name of a step must be a string that is not empty."
    if is_deep(fields):
        return f"It is nested too deeply ({MAX_DEPTH} levels at most)."
    return f"The state of a step must be one of: {', '.join(state.value for state in StepState)}."


def _bare(text: str) -> str:
    """Return a line without what can surround a report invisibly: spaces, colors, and a byte order mark."""
    plain = _ANSI.sub("", text) if "\x1b" in text else text
    return plain.strip().strip(_BYTE_ORDER_MARK).strip()


def _only_object(bare: str) -> dict[str, Any] | None:
    """Return the JSON object that is the whole text, or None."""
    return _json_object(bare) if bare[:1] == "{" and bare[-1:] == "}" else None


def read_event(text: str, at: datetime) -> list[Entry]:
    """Parse a line from our Ansible callback. Keep an invalid line as a log line.

    Lines that are too long for one event arrive and are stored in pieces, as they are for scripts.
    """
    fields = _json_object(text)
    if fields is None:
        return [Line(text, at)]
    if isinstance(printed := fields.get("text"), str):
        *lines, last = printed.removesuffix("\n").split("\n")
        host = clean_text(str(fields.get("host") or ""))
        is_part = fields.get("part") is True
        return [*(Line(line, at, host=host) for line in lines), Line(last, at, continues=is_part, host=host)]
    if fields.get("event") == "task_start":
        return [_task_report(fields, StepState.RUNNING, at)]
    if fields.get("event") == "task_end":
        return [_task_report(fields, _STATES.get(str(fields.get("state")), StepState.SUCCESS), at)]
    if fields.get("event") == "host_result":
        return _host_result(fields, at)
    if fields.get("event") == "waiting":
        return [_task_report({**fields, "message": _waiting(fields)}, StepState.RUNNING, at)]
    if fields.get("event") == "errors_cleared":
        return [HostErrorsCleared(at)]
    if fields.get("event") == "no_hosts":
        return [_no_hosts(fields, at)]
    return []


def as_in_a_line(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields from another source as if they had been parsed from a line of output. Check `is_deep` first."""
    return _json_object(json.dumps(fields)) or {}


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = _DECODER.decode(text)
        if "\\u" in text:
            # An escape can be a lone surrogate, which cannot be part of a response.
            value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _nothing(_constant: str) -> None:
    """Parse NaN and Infinity as null. Python writes them, but they are not valid JSON."""


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


# Shared because creating a decoder takes longer than parsing a line.
_DECODER = json.JSONDecoder(parse_constant=_nothing, parse_float=_finite)


def _task_report(fields: dict[str, Any], state: StepState, at: datetime) -> Entry:
    detail = {key: fields[key] for key in ("task", "play", "path", "templated", "outcome") if fields.get(key)}
    name = _full_name(str(fields.get("name") or "Unnamed task"))
    message = clean_text(str(fields.get("message") or ""))
    return Reported(StepReport(name=name, state=state, message=message, detail=detail), at, planned=True)


def _waiting(fields: dict[str, Any]) -> str:
    """Return which hosts a running task waits for. Up to ten are named."""
    hosts, count = fields.get("hosts"), fields.get("count")
    names = ", ".join(map(str, hosts)) if isinstance(hosts, list) else ""
    more = count - len(hosts) if isinstance(count, int) and isinstance(hosts, list) else 0
    return f"Waiting for {names}" + (f" and {more} more" if more > 0 else "")


def _no_hosts(fields: dict[str, Any], at: datetime) -> Entry:
    """Return the failed step for a playbook that ran on no host. It decides, because Ansible's exit code is 0."""
    found = fields.get("patterns")
    patterns = list(dict.fromkeys(map(str, found))) if isinstance(found, list) else []
    named = f" “{', '.join(patterns)}”" if any(patterns) else ""
    message = f"No host matched{named}, so nothing was deployed. Check the inventory, and `hosts` in the playbook."
    return Reported(StepReport(name=NO_HOSTS_STEP, state=StepState.FAILURE, message=clean_text(message)), at)


def _host_result(fields: dict[str, Any], at: datetime) -> list[Entry]:
    try:
        outcome = Outcome(fields.get("outcome"))
    except ValueError:
        return []
    duration, diff = fields.get("duration"), fields.get("diff")
    result = HostResult(
        task=str(fields.get("task", "")),
        host=clean_text(str(fields.get("host", ""))),
        outcome=outcome,
        duration=float(duration) if isinstance(duration, (int, float)) and abs(duration) < MAX_DURATION else None,
        message=clean_text(str(fields.get("message") or "")),
        diff=clean_text(diff) if isinstance(diff, str) else None,
    )
    return [HostReported(result, at)]
