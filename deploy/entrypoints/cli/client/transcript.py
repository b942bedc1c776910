"""Track the state of a watched deployment, based on its messages."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from deploy.domain.model import BAD_OUTCOMES, FINAL, FINAL_STEPS

Message: TypeAlias = dict[str, Any]
TAIL_LINES = 10
# Failed hosts to show of a step. The others are counted.
MAX_FAILURES = 10


class Sequencer:
    """Filters the messages of a deployment: in order, without duplicates, and up to the first gap.

    `last` is the number of the last accepted message.
    """

    def __init__(self, deployment_id: int, last: int = 0) -> None:
        self._deployment_id = deployment_id
        self.last = last

    def take(self, messages: Iterable[Message]) -> tuple[list[Message], bool]:
        """Return the next messages, and True if there is a gap before the remaining ones."""
        taken: list[Message] = []
        for message in messages:
            seq = message.get("seq")
            if not isinstance(seq, int) or message.get("deployment_id") != self._deployment_id or seq <= self.last:
                continue
            if seq > self.last + 1:
                return taken, True
            self.last = seq
            taken.append(message)
        return taken, False


def mended(step: Message) -> str:
    """Return `ignored` or `rescued` if Ansible did that to the failure of a task that then succeeded, or an empty string."""
    outcome = (step.get("detail") or {}).get("outcome")
    return outcome if step["state"] == "success" and outcome in ("ignored", "rescued") else ""


@dataclass(frozen=True, slots=True)
class StateChange:
    """The deployment's state changed."""

    deployment: Message


@dataclass(frozen=True, slots=True)
class StepChange:
    """The state or message of a step changed."""

    step: Message


@dataclass(frozen=True, slots=True)
class OutputLine:
    """A line of output. `at` is the time as sent by the server."""

    number: int
    at: str
    text: str


@dataclass(frozen=True, slots=True)
class HostFailure:
    """A step failed on a host, or could not reach it. `result` is the message of the server."""

    step: Message
    result: Message


Change: TypeAlias = StateChange | StepChange | HostFailure | OutputLine


class Transcript:
    """The state, steps, and last lines of output of a deployment."""

    def __init__(self) -> None:
        self.deployment: Message = {}
        self.steps: dict[int, Message] = {}
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.lines = 0
        self._open_line: tuple[int, str] = (0, "")
        self._failures: Counter[int] = Counter()

    @property
    def state(self) -> str:
        """Return the state of the deployment. Before the first message, it is `queued`."""
        return str(self.deployment.get("state", "queued"))

    @property
    def is_over(self) -> bool:
        """Return True if the deployment has ended."""
        return self.state in FINAL

    @property
    def done(self) -> int:
        """Return the number of finished steps."""
        return sum(step["state"] in FINAL_STEPS for step in self.steps.values())

    @property
    def open_line(self) -> str:
        """Return the text of a line that has not ended yet, if it is the next one."""
        number, text = self._open_line
        return text if number == self.lines + 1 and not self.is_over else ""

    def running(self) -> list[Message]:
        """Return the running steps."""
        return [step for step in self.steps.values() if step["state"] == "running"]

    def pending(self) -> list[Message]:
        """Return the pending steps in order."""
        waiting = [step for step in self.steps.values() if step["state"] == "pending"]
        return sorted(waiting, key=lambda step: int(step["position"]))

    def take(self, messages: Sequence[Message]) -> list[Change]:
        """Apply messages and return the changes to show."""
        changes: list[Change] = []
        for message in messages:
            kind = message.get("type")
            if kind == "deployment":
                changes += self._deployment(message)
            elif kind == "step":
                changes += self._step(message)
            elif kind == "host":
                changes += self._host(message)
            elif kind == "output":
                changes += self._output(message)
            elif kind == "open_line" and message.get("deployment_id") == self.deployment.get("id"):
                self._open_line = int(message["n"]), str(message["text"])
        return changes

    def _deployment(self, message: Message) -> list[Change]:
        before = self.deployment
        self.deployment = message
        # After a reported outcome, canceling only stops the remaining processes, so do not show it.
        shown = ("state",) if self.is_over else ("state", "cancel_requested")
        return (
            [] if before and all(before.get(name) == message.get(name) for name in shown) else [StateChange(message)]
        )

    def _step(self, message: Message) -> list[Change]:
        step_id = int(message["id"])
        if message.get("deleted"):
            self.steps.pop(step_id, None)
            return []
        before = self.steps.get(step_id, {})
        self.steps[step_id] = message
        shown = ("state", "message")
        has_changed = message["state"] != "pending" and any(before.get(name) != message.get(name) for name in shown)
        return [StepChange(message)] if has_changed else []

    def _host(self, message: Message) -> list[Change]:
        step = self.steps.get(int(message["step_id"]))
        if step is None or message["outcome"] not in BAD_OUTCOMES:
            return []
        self._failures[step["id"]] += 1
        return [HostFailure(step, message)] if self._failures[step["id"]] <= MAX_FAILURES else []

    def _output(self, message: Message) -> list[Change]:
        lines = [OutputLine(int(number), str(at), str(text)) for number, at, text, *_ in message["lines"]]
        self.lines = max([self.lines, *(line.number for line in lines)])
        self.tail.extend(line.text for line in lines if line.text.strip())
        return list(lines)
