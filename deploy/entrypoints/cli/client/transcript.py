"""What is known of a deployment that is watched: its messages applied once each, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Message: TypeAlias = dict[str, Any]
FINAL = frozenset({"success", "failure", "cancelled"})
FINAL_STEP = frozenset({"success", "failure", "skipped"})
TAIL_LINES = 10


class Sequencer:
    """Lets the messages of one deployment through in order: no duplicate, and nothing after a gap.

    `last` is the number of the last message that went through.
    """

    def __init__(self, deployment_id: int, last: int = 0) -> None:
        self._deployment_id = deployment_id
        self.last = last

    def take(self, messages: Iterable[Message]) -> tuple[list[Message], bool]:
        """Return the messages that come next, and whether one is missing before the others."""
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


@dataclass(frozen=True, slots=True)
class StateChange:
    """The deployment has this state now."""

    deployment: Message


@dataclass(frozen=True, slots=True)
class StepChange:
    """A step has this state or message now."""

    step: Message


@dataclass(frozen=True, slots=True)
class OutputLine:
    """A line of output; `at` as the server wrote it."""

    number: int
    at: str
    text: str


Change: TypeAlias = StateChange | StepChange | OutputLine


class Transcript:
    """A deployment as it is shown: state, steps, and the last lines of its output."""

    def __init__(self) -> None:
        self.deployment: Message = {}
        self.steps: dict[int, Message] = {}
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)

    @property
    def state(self) -> str:
        """Return the deployment's state; queued as long as nothing is known."""
        return str(self.deployment.get("state", "queued"))

    @property
    def is_over(self) -> bool:
        """Whether the deployment has ended."""
        return self.state in FINAL

    @property
    def done(self) -> int:
        """Return how many steps have ended."""
        return sum(step["state"] in FINAL_STEP for step in self.steps.values())

    def running(self) -> list[Message]:
        """Return the steps that run now."""
        return [step for step in self.steps.values() if step["state"] == "running"]

    def pending(self) -> list[Message]:
        """Return the steps that are expected, in order."""
        waiting = [step for step in self.steps.values() if step["state"] == "pending"]
        return sorted(waiting, key=lambda step: int(step["position"]))

    def take(self, messages: Sequence[Message]) -> list[Change]:
        """Apply messages; return what is worth telling of them."""
        changes: list[Change] = []
        for message in messages:
            kind = message.get("type")
            if kind == "deployment":
                changes += self._deployment(message)
            elif kind == "step":
                changes += self._step(message)
            elif kind == "output":
                changes += self._output(message)
        return changes

    def _deployment(self, message: Message) -> list[Change]:
        before = self.deployment
        self.deployment = message
        # Whoever stops what has told its outcome, and goes on, changes no more of that.
        told = ("state",) if self.is_over else ("state", "cancel_requested")
        return [] if before and all(before.get(name) == message.get(name) for name in told) else [StateChange(message)]

    def _step(self, message: Message) -> list[Change]:
        step_id = int(message["id"])
        if message.get("deleted"):
            self.steps.pop(step_id, None)
            return []
        before = self.steps.get(step_id, {})
        self.steps[step_id] = message
        told = ("state", "message")
        is_news = message["state"] != "pending" and any(before.get(name) != message.get(name) for name in told)
        return [StepChange(message)] if is_news else []

    def _output(self, message: Message) -> list[Change]:
        lines = [OutputLine(int(number), str(at), str(text)) for number, at, text, *_ in message["lines"]]
        self.tail.extend(line.text for line in lines if line.text.strip())
        return list(lines)
