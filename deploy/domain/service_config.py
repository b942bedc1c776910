"""The options of a service's config.json, each declared once.

The check of a service folder is derived from these classes, and a test compares the reference in the docs with them.
Unknown keys remain in the service's `data`, for scripts and clients that read them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple, TypeAlias

# Seconds: one year. Leaves room for computations with a timeout, such as the expiration of the run's token.
MAX_TIMEOUT = 31_536_000
MAX_TAG = 64
# Larger values of RETENTION_DAYS and RETENTION_COUNT have the same effect, and PostgreSQL could not compute with them.
MAX_RETENTION_DAYS, MAX_RETENTION_COUNT = 36_500, 1_000_000_000
DEFAULT_SCRIPT = "deploy.sh"
StartOptions: TypeAlias = "tuple[dict[str, Any] | Literal[True] | None, bool]"


class Kind(NamedTuple):
    """A kind of value: how errors describe it, and a function that converts JSON or raises ValueError."""

    expected: str
    convert: Callable[[Any], Any]


class Option(NamedTuple):
    """The declaration of an option. `limits` are named after the constraints of Pydantic.

    If `is_needed_by_runs` is true, a deployment fails if the stored value is invalid. Otherwise, the default applies.
    """

    kind: Kind
    description: str
    limits: Mapping[str, int]
    is_needed_by_runs: bool


def _exactly(kind: type[Any]) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if type(value) is not kind:  # `bool` is a subclass of `int`
            raise ValueError
        return value

    return convert


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError
    try:
        return float(value)
    except OverflowError as error:  # JSON integers have no limit
        raise ValueError from error


def _steps(value: Any) -> tuple[StepOption, ...]:
    return tuple(map(_step, _exactly(list)(value)))


def _step(value: Any) -> StepOption:
    given = _exactly(dict)(value)
    if "name" not in given:
        raise ValueError
    return StepOption(**{name: _converted(STEP_OPTIONS[name], given[name]) for name in STEP_OPTIONS if name in given})


def _tags(value: Any) -> tuple[str, ...]:
    tags = _exactly(list)(value)
    if not all(type(tag) is str and is_tag(tag) for tag in tags):
        raise ValueError
    return tuple(dict.fromkeys(tags))


def is_tag(text: str) -> bool:
    """Return True if the text can be a tag of a service."""
    return 0 < len(text) <= MAX_TAG and text.isprintable() and text.strip() == text


def _object_or_true(value: Any) -> Any:
    return value if value is True else _exactly(dict)(value)


TEXT = Kind("text", _exactly(str))
PATH = Kind("a path", _exactly(str))
SWITCH = Kind("true or false", _exactly(bool))
INTEGER = Kind("an integer", _exactly(int))
DAYS = Kind("a number of days", _number)
SECONDS = Kind("a number of seconds", _number)
STEPS = Kind('a list of {"name", "description"}', _steps)
TAGS = Kind(f"a list of texts of 1 to {MAX_TAG} characters", _tags)
OBJECT_OR_TRUE = Kind("an object, or true", _object_or_true)


class Limit(NamedTuple):
    """A limit: how errors describe it, and a function that returns True if a value meets it."""

    expected: str
    holds: Callable[[Any, int], bool]


_LIMITS: Mapping[str, Limit] = {
    "ge": Limit("at least {}", lambda value, limit: value >= limit),
    "gt": Limit("greater than {}", lambda value, limit: value > limit),
    "le": Limit("at most {}", lambda value, limit: value <= limit),
    "min_length": Limit("with a length of at least {}", lambda value, limit: len(value) >= limit),
    "max_length": Limit("with a length of at most {}", lambda value, limit: len(value) <= limit),
}


def _option(kind: Kind, description: str, *, runs: bool = False, **limits: int) -> dict[str, Option]:
    """Return the metadata of a field that is an option."""
    return {"option": Option(kind, description, limits, runs)}


def options_of(kind: type[Any]) -> dict[str, Option]:
    """Return the options that a class declares, by name, in order."""
    return {each.name: each.metadata["option"] for each in fields(kind) if "option" in each.metadata}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOption:
    """A step that is shown as pending until it reports."""

    name: str = field(metadata=_option(TEXT, "Name of the step.", min_length=1, max_length=500))
    description: str = field(default="", metadata=_option(TEXT, "What the step does.", max_length=10_000))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """The parsed config of a service.

    `invalid` contains the values that an earlier version stored and that this version does not accept, by option. The
    option itself then has its default.
    """

    description: str = field(
        default="", metadata=_option(TEXT, "What the service deploys, in one sentence.", max_length=10_000)
    )
    deploy_script: str | None = field(
        default=None, metadata=_option(PATH, "Script to run (default: deploy.sh).", runs=True, min_length=1)
    )
    steps: tuple[StepOption, ...] = field(
        default=(), metadata=_option(STEPS, "Steps to show as pending before they report.", max_length=10_000)
    )
    ansible_playbook: str | None = field(
        default=None, metadata=_option(PATH, "Playbook to run, or to read step names from.", runs=True, min_length=1)
    )
    ansible_inventory: str | None = field(
        default=None, metadata=_option(PATH, "Inventory for the playbook.", runs=True, min_length=1)
    )
    pipelining: bool | None = field(default=None, metadata=_option(SWITCH, "Use Ansible's SSH pipelining.", runs=True))
    mitogen: bool | None = field(
        default=None,
        metadata=_option(SWITCH, "Run tasks through Mitogen, which speeds up playbooks with many tasks.", runs=True),
    )
    diff: bool | None = field(
        default=None, metadata=_option(SWITCH, "Show the changes that the playbook makes to files.", runs=True)
    )
    concurrency: int = field(
        default=1,
        metadata=_option(INTEGER, "How many deployments of this service may run at the same time.", ge=1, le=100),
    )
    retention_days: float | None = field(
        default=None, metadata=_option(DAYS, "Overrides RETENTION_DAYS for this service.", ge=0)
    )
    retention_count: int | None = field(
        default=None, metadata=_option(INTEGER, "Overrides RETENTION_COUNT for this service.", ge=0)
    )
    timeout: float | None = field(
        default=None,
        metadata=_option(SECONDS, "Timeout of a run in seconds, at most one year.", runs=True, gt=0, le=MAX_TIMEOUT),
    )
    inputs: dict[str, Any] | Literal[True] | None = field(
        default=None,
        metadata=_option(OBJECT_OR_TRUE, "JSON Schema of the inputs, or true to accept any values.", runs=True),
    )
    confirm: bool = field(
        default=False,
        metadata=_option(
            SWITCH,
            "Require users to type the name of the service before they start a deployment.",
            runs=True,
        ),
    )
    tags: tuple[str, ...] = field(
        default=(),
        metadata=_option(TAGS, "Tags of the service, to which administrators can grant access.", max_length=50),
    )
    invalid: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Any) -> ServiceConfig:
        """Return the config in a parsed config.json. Never fail, because an earlier version may have stored it."""
        given = data if isinstance(data, dict) else {}
        values, invalid = {}, {}
        for name, option in OPTIONS.items():
            if given.get(name) is None:
                continue
            try:
                values[name] = _converted(option, given[name])
            except ValueError:
                invalid[name] = given[name]
        return cls(**values, invalid=invalid)

    def to_json(self) -> dict[str, Any]:
        """Return the options that are set, as in config.json. `from_json` returns the same config again."""
        values = {name: getattr(self, name) for name in OPTIONS if name not in ("steps", "tags")}
        steps = [{"name": step.name, "description": step.description} for step in self.steps]
        given = {name: value for name, value in values.items() if value is not None}
        return {**given, "steps": steps, "tags": list(self.tags), **self.invalid}

    @property
    def script(self) -> str:
        """Return the path of the deploy script. It is only used if the service runs a script."""
        return self.deploy_script or DEFAULT_SCRIPT

    @property
    def names_script(self) -> bool:
        """Return True if a script deploys the service, whether or not the folder contains a `deploy.sh`."""
        return self.deploy_script is not None or self.ansible_playbook is None

    @property
    def input_schema(self) -> dict[str, Any] | None:
        """Return the JSON Schema of the inputs, or None if the service does not declare inputs."""
        return None if self.inputs is True else self.inputs

    @property
    def start_options(self) -> StartOptions:
        """Return the options that a start is checked against."""
        return self.inputs, self.confirm

    def faults(self, *names: str) -> str:
        """Return what is wrong with the stored values of these options, or with those that runs need, or ""."""
        wanted = names or [name for name, option in OPTIONS.items() if option.is_needed_by_runs]
        return "; ".join(f"{name} must be {_expected(OPTIONS[name])}" for name in wanted if name in self.invalid)


STEP_OPTIONS: Mapping[str, Option] = options_of(StepOption)
OPTIONS: Mapping[str, Option] = options_of(ServiceConfig)


def _converted(option: Option, value: Any) -> Any:
    converted = option.kind.convert(value)
    for name, limit in option.limits.items():
        if not _LIMITS[name].holds(converted, limit):
            raise ValueError
    return converted


def _expected(option: Option) -> str:
    limits = " and ".join(_LIMITS[name].expected.format(limit) for name, limit in option.limits.items())
    return f"{option.kind.expected}, {limits}" if limits else option.kind.expected
