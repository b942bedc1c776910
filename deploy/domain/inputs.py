"""What a service asks for, and what is wrong with the answers: plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from deploy.domain.errors import InvalidInput

ENV, CONFIRM = "env", "confirm"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one answer: where it stands in the request (`("env", "replicas")`), and a sentence."""

    path: tuple[str | int, ...]
    sentence: str


class InvalidAnswers(InvalidInput):
    """Answers do not fit what the service asks for. No sentence ever repeats an answer: it may be a secret."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__(" ".join(f"{fault.sentence}." for fault in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the values that may be chosen; `title` is what people read."""

    value: Any
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Choices that could not be found out, of which input, and why (a sentence)."""

    name: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a service asks for at this moment: its schema with choices filled in; `problems` where that failed."""

    schema: dict[str, Any] | None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Answers that were found good: complete with defaults, the secret ones apart.

    `config` is what the service's config said when they were checked.
    """

    env: dict[str, Any]
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    config: dict[str, Any] = field(default_factory=dict, repr=False)
