"""Keep track of the hosts of a run, and say which of them failed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from deploy.domain.model import BAD_OUTCOMES, Outcome, Step, StepResult

# A sentence names this many hosts of a step, and this many steps.
MAX_NAMES, MAX_GROUPS = 5, 3
MAX_NAME_LENGTH, MAX_CAUSE_LENGTH = 100, 300
# Results to show of a step before someone asks for the others, and the length of their messages.
SAMPLE, SAMPLE_MESSAGE_LENGTH = 10, 300
# Blocks of output lines of one result. After that, the last block grows.
MAX_BLOCKS = 50


@dataclass(frozen=True, slots=True)
class BadResult:
    """A host that failed or was unreachable, in which step, and the first line of its message."""

    host: str
    outcome: Outcome
    step: str
    cause: str = ""


def failure_sentence(bad: Iterable[BadResult], total: int) -> str:
    """Return which of `total` hosts failed in which step: "2 of 9 hosts failed: web1, web4 failed (Verify)".

    If all failed for the same reason, append it. Name only some hosts and steps if there are many.
    """
    groups: dict[tuple[str, Outcome], list[BadResult]] = {}
    for result in bad:
        groups.setdefault((result.step, result.outcome), []).append(result)
    count = sum(map(len, groups.values()))
    parts = [
        f"{_names([result.host for result in group])} {outcome.value} ({_shortened(step, MAX_NAME_LENGTH)})"
        for (step, outcome), group in list(groups.items())[:MAX_GROUPS]
    ]
    rest = sum(map(len, list(groups.values())[MAX_GROUPS:]))
    parts += [f"and {rest} more"] if rest else []
    causes = {result.cause for group in groups.values() for result in group}
    cause = _shortened(causes.pop(), MAX_CAUSE_LENGTH) if len(causes) == 1 else ""
    sentence = f"{count} of {total} hosts failed: {'; '.join(parts)}"
    return f"{sentence}: {cause}" if cause else sentence


def _names(hosts: list[str]) -> str:
    shown = [_shortened(host, MAX_NAME_LENGTH) for host in sorted(hosts, key=_natural)[:MAX_NAMES]]
    rest = len(hosts) - len(shown)
    return ", ".join(shown) + (f", and {rest} more" if rest else "")


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key that orders `web2` before `web10`."""
    return [(int(part[:18]), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


def first_line(message: str) -> str:
    """Return the first line of a message that is not empty."""
    return next((line.strip() for line in message.splitlines() if line.strip()), "")


@dataclass(slots=True)
class Hosts:
    """The hosts of a run: what they reported, kept between batches so that the cost per result stays the same.

    `outcomes` holds the outcomes of open steps by step ID and host, and `bad` the last bad result of each host.
    """

    names: set[str] = field(default_factory=set)
    outcomes: dict[int, dict[str, Outcome]] = field(default_factory=dict)
    bad: dict[str, tuple[int, BadResult]] = field(default_factory=dict)
    _lines: dict[str, list[list[int]]] = field(default_factory=dict)

    def note_line(self, host: str, number: int) -> None:
        """Record that an output line is about the next result of a host."""
        blocks = self._lines.setdefault(host, [])
        if blocks and (blocks[-1][1] == number - 1 or len(blocks) >= MAX_BLOCKS):
            blocks[-1][1] = number
        else:
            blocks.append([number, number])

    def take_lines(self, host: str) -> list[list[int]]:
        """Remove and return the blocks of lines about the next result of a host."""
        return self._lines.pop(host, [])

    def restore(self, result: StepResult, step: str, *, is_open: bool) -> None:
        """Record a result that is already stored and counted. `is_open`: its step can receive further results."""
        self._note(result, step)
        if is_open:
            self.outcomes.setdefault(result.step_id, {})[result.host] = result.outcome

    def add(self, result: StepResult, step: Step) -> None:
        """Record a new result in the counts and the sample of its step. A later result of a host replaces the earlier."""
        self._note(result, step.name)
        outcomes = self.outcomes.setdefault(step.id, {})
        counts = Counter(step.host_counts or {})
        before = outcomes.get(result.host)
        if before is not None:
            counts[before.value] -= 1
        counts[result.outcome.value] += 1
        outcomes[result.host] = result.outcome
        step.host_counts = {outcome.value: counts[outcome.value] for outcome in Outcome if counts[outcome.value]}
        _sample(step, result)

    def close(self, step: Step) -> None:
        """Forget the outcomes of a step that takes no more results."""
        self.outcomes.pop(step.id, None)

    def discard(self, step: Step) -> None:
        """Forget a step that is removed with its results."""
        self.close(step)
        self.bad = {host: found for host, found in self.bad.items() if found[0] != step.id}

    def sentence(self) -> str:
        """Return which hosts failed, or an empty string if none failed or there is only one host."""
        if not self.bad or len(self.names) == 1:  # the message of a single host says more
            return ""
        return failure_sentence([found for _, found in self.bad.values()], len(self.names))

    def _note(self, result: StepResult, step: str) -> None:
        self.names.add(result.host)
        if result.outcome in BAD_OUTCOMES:
            cause = first_line(result.message)
            self.bad.pop(result.host, None)  # keep the order of the results
            self.bad[result.host] = (result.step_id, BadResult(result.host, result.outcome, step, cause))
        elif (known := self.bad.get(result.host)) is not None and known[0] == result.step_id:
            del self.bad[result.host]


def sample_of(result: StepResult, *, has_diff: bool = False) -> dict[str, Any]:
    """Return a result as clients receive it without asking for the whole message and the diff.

    `has_diff`: the result has a diff that was not read.
    """
    return {
        "host": result.host,
        "outcome": result.outcome.value,
        "duration": result.duration,
        "message": _shortened(result.message, SAMPLE_MESSAGE_LENGTH),
        "diff": None,
        "has_more": has_diff or result.diff is not None or len(result.message) > SAMPLE_MESSAGE_LENGTH,
        "lines": result.lines,
    }


def summarize(step: Step) -> None:
    """Count and sample the results of a step that was stored with all its results in `hosts`."""
    if step.host_counts is not None:
        return
    known, step.hosts, step.host_counts = step.hosts, [], {}
    hosts = Hosts()
    for fields in known:
        hosts.add(stored_result(step.id, fields), step)


def stored_result(step_id: int, fields: dict[str, Any]) -> StepResult:
    """Return a result that was stored in the field `hosts` of its step."""
    return StepResult(**{**fields, "step_id": step_id, "outcome": Outcome(fields["outcome"])})


def _sample(step: Step, result: StepResult) -> None:
    """Add a result to the sample of its step. Failures come first and displace others."""
    known = [other for other in step.hosts if other["host"] != result.host]
    is_bad = result.outcome in BAD_OUTCOMES
    place = sum(other["outcome"] in BAD_OUTCOMES for other in known) if is_bad else len(known)
    if place < SAMPLE:
        step.hosts = [*known[:place], sample_of(result), *known[place:]][:SAMPLE]
    elif len(known) < len(step.hosts):
        step.hosts = known
