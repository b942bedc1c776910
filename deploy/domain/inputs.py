"""The inputs of a service, the values given for them, and the faults in these values, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from deploy.domain.errors import InvalidInput
from deploy.domain.service_config import StartOptions

ENV, CONFIRM = "env", "confirm"


@dataclass(frozen=True, slots=True)
class Fault:
    """A problem with one value: its path in the request (`("env", "replicas")`), and a message without a period."""

    path: tuple[str | int, ...]
    sentence: str


class InvalidValues(InvalidInput):
    """The values do not match the inputs of the service. Messages never repeat a value, because it could be secret."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__(" ".join(f"{fault.sentence}." for fault in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Choice:
    """A value that users can choose, and the title shown for it."""

    value: Any
    title: str | None = None


@dataclass(frozen=True, slots=True)
class ChoiceError:
    """An input (`name`) whose choices could not be loaded, and the reason (`sentence`)."""

    name: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The inputs of a service: its schema with choices filled in, and the inputs whose choices could not be loaded."""

    schema: dict[str, Any] | None
    problems: tuple[ChoiceError, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedValues:
    """Valid values, with defaults filled in. Secret values are kept separately.

    `checked_for` holds the options of the service's config that the values were checked against. They must not change
    before the deployment starts.
    """

    env: dict[str, Any]
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    checked_for: StartOptions = field(default=(None, False), repr=False)
