"""Results of Ansible tasks on hosts."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Outcome(str, Enum):
    """The outcome of an Ansible task on one host."""

    OK = "ok"
    CHANGED = "changed"
    SKIPPED = "skipped"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    IGNORED = "ignored"
    RESCUED = "rescued"


# The outcomes after which a host leaves the run.
BAD_OUTCOMES = frozenset({Outcome.FAILED, Outcome.UNREACHABLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class HostResult:
    """What Ansible reports about a task on one host.

    `task` is Ansible's ID for the task, and `duration` is in seconds.
    """

    task: str
    host: str
    outcome: Outcome
    duration: float | None = None
    message: str = ""
    diff: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """The stored result of a step on one host.

    `lines` holds the numbers of the output lines about it, as pairs of the first and the last line of each block.
    Results of several hosts can alternate in the output, for example if the task is a loop.
    """

    step_id: int
    host: str
    outcome: Outcome
    duration: float | None = None
    message: str = ""
    diff: str | None = None
    lines: list[list[int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRecap:
    """The number of tasks on one host by outcome, as in Ansible's recap: `ok` includes `changed` and `ignored`."""

    host: str
    ok: int
    changed: int
    failed: int
    unreachable: int
    skipped: int
    rescued: int
    ignored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSummary:
    """The number of hosts of a deployment, each counted once, by the worst that happened to it."""

    total: int
    ok: int
    changed: int
    failed: int
    unreachable: int
