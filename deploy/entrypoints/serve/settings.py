"""Load the settings and report each invalid value in one sentence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from deploy.config import STRING_LIST, Settings, SettingsError

ENV_FILE = Path(".env")
# Passwords, keys, and URLs that contain them.
KINDS: dict[object, str] = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    Path: "a path",
    Path | None: "a path",
    str: "a string",
    SecretStr | None: "a string",
}
SECRET_SETTINGS = {"secret_key", "initial_user_password", "database_url"}


def load_settings(env_file: Path | None = ENV_FILE, **given: Any) -> Settings:
    """Return the settings. `given` overrides the environment, which overrides `env_file`.

    `given` maps field names to values; None means not given.

    Raises:
        SettingsError: Values are invalid, or `env_file` cannot be read.
    """
    known = {name: value for name, value in given.items() if value is not None}
    try:
        return Settings(_env_file=env_file, **known)
    except ValidationError as error:
        raise SettingsError("\n".join(_sentence(fault, env_file) for fault in error.errors())) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        advice = "Save the file as UTF-8, and make it readable for the user that runs this command."
        raise SettingsError(f"The settings in {_shown(env_file)} cannot be read ({reason}). {advice}") from None


def from_environment(name: str) -> str | None:
    """Return the value of a setting in the environment. Like Pydantic, ignore case and empty values."""
    return next((value for variable, value in os.environ.items() if variable.lower() == name and value), None)


def _sentence(fault: Any, env_file: Path | None) -> str:
    name = str(fault["loc"][0])
    reason = fault.get("ctx", {}).get("error") if fault["type"] == "value_error" else None
    rule = f"{name.upper()} {reason or _rule(Settings.model_fields[name])}"
    if name in SECRET_SETTINGS:
        return f"{rule}."
    source = "" if from_environment(name) is not None or env_file is None else f" in {_shown(env_file)}"
    return f"{rule} (got {str(fault['input'])[:100]!r}{source})."


def _rule(field: FieldInfo) -> str:
    """Return the rule for the values of a field, based on its type and limits."""
    kind = KINDS.get(field.annotation, STRING_LIST)
    limits = {
        name: getattr(item, name) for item in field.metadata for name in ("ge", "gt", "le") if hasattr(item, name)
    }
    if "ge" in limits and "le" in limits:
        return f"must be {kind} between {limits['ge']} and {limits['le']}"
    if "gt" in limits and "le" in limits:
        return f"must be {kind} greater than {limits['gt']} and at most {limits['le']}"
    return f"must be {kind}"


def _shown(env_file: Path | None) -> str:
    return str(env_file.absolute()) if env_file is not None else "the environment"
