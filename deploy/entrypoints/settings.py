"""Load the settings. What is wrong with them becomes one sentence for each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from deploy.config import LIST_OF_TEXTS, ConfigurationError, Settings

ENV_FILE = Path(".env")
# Passwords and keys, and addresses that hold them.
NEVER_SHOWN = {"secret_key", "initial_user_password", "database_url"}


class SettingsError(ConfigurationError):
    """Settings have values that break their rules; the text has one sentence for each."""


def load_settings(env_file: Path | None = ENV_FILE, **given: Any) -> Settings:
    """Return the settings; `given` (by field, None: not given) wins over the environment, that over `env_file`.

    Raises:
        SettingsError: values break their rules; one sentence for each.
        ConfigurationError: `env_file` cannot be read.
    """
    known = {name: value for name, value in given.items() if value is not None}
    try:
        return Settings(_env_file=env_file, **known)
    except ValidationError as error:
        raise SettingsError("\n".join(_sentence(fault, env_file) for fault in error.errors())) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"The settings in {_shown(env_file)} cannot be read ({reason}).") from None


def from_environment(name: str) -> str | None:
    """Return the value that the environment has for this setting; as for Pydantic, case and empty values do not count."""
    return next((value for variable, value in os.environ.items() if variable.lower() == name and value), None)


def _sentence(fault: Any, env_file: Path | None) -> str:
    name = str(fault["loc"][0])
    reason = fault.get("ctx", {}).get("error") if fault["type"] == "value_error" else None
    words = f"{name.upper()} {reason or _rule(Settings.model_fields[name])}"
    if name in NEVER_SHOWN:
        return f"{words}."
    place = "" if from_environment(name) is not None or env_file is None else f", in {_shown(env_file)}"
    return f"{words} (got {str(fault['input'])[:100]!r}{place})."


def _rule(field: FieldInfo) -> str:
    """Return what a value of this field must be, from its type and its limits."""
    kinds = {int: "an integer", float: "a number", bool: "true or false", Path: "a path", str: "text"}
    kind = kinds.get(field.annotation, LIST_OF_TEXTS)  # type: ignore[arg-type]
    limits = {
        name: getattr(item, name) for item in field.metadata for name in ("ge", "gt", "le") if hasattr(item, name)
    }
    if "ge" in limits and "le" in limits:
        return f"must be {kind} between {limits['ge']} and {limits['le']}"
    if "gt" in limits and "le" in limits:
        return f"must be {kind} greater than {limits['gt']}, and at most {limits['le']}"
    return f"must be {kind}"


def _shown(env_file: Path | None) -> str:
    return str(env_file.absolute()) if env_file is not None else "the environment"
