"""Parse a service's config.json."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.domain.model import MAX_TIMEOUT
from deploy.domain.reports import is_deep, is_encodable

CONFIG = "config.json"
DEFAULT_SCRIPT = "deploy.sh"


class StepOption(BaseModel):
    """A step that is shown as pending until it reports."""

    name: str = Field(min_length=1, max_length=500)
    description: str = Field(default="", max_length=10_000)


class ServiceConfig(BaseModel):
    """The options of config.json. Other keys are kept for scripts that read them."""

    model_config = ConfigDict(extra="allow", strict=True)

    description: str = Field(default="", max_length=10_000, description="What the service deploys, in one sentence.")
    deploy_script: str | None = Field(default=None, min_length=1, description="Script to run (default: deploy.sh).")
    steps: list[StepOption] = Field(
        default=[], max_length=10_000, description="Steps to show as pending before they report."
    )
    ansible_playbook: str | None = Field(
        default=None, min_length=1, description="Playbook to run, or to read step names from."
    )
    ansible_inventory: str | None = Field(default=None, min_length=1, description="Inventory for the playbook.")
    pipelining: bool | None = Field(default=None, description="Use Ansible's SSH pipelining.")
    mitogen: bool | None = Field(
        default=None, description="Run tasks through Mitogen, which speeds up playbooks with many tasks."
    )
    diff: bool | None = Field(default=None, description="Show the changes that the playbook makes to files.")
    concurrency: int = Field(
        default=1, ge=1, le=100, description="How many deployments of this service may run at the same time."
    )
    retention_days: float | None = Field(default=None, ge=0, description="Overrides RETENTION_DAYS for this service.")
    retention_count: int | None = Field(default=None, ge=0, description="Overrides RETENTION_COUNT for this service.")
    timeout: float | None = Field(
        default=None, gt=0, le=MAX_TIMEOUT, description="Timeout of a run in seconds, at most one year."
    )
    inputs: dict[str, Any] | None = Field(default=None, description="JSON Schema of the inputs.")
    confirm: bool = Field(
        default=False, description="Require users to type the name of the service before they start a deployment."
    )


class FolderError(Exception):
    """A folder cannot be used. `file` is relative to the folder."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason


def parse_config(content: bytes) -> tuple[dict[str, Any], ServiceConfig]:
    """Return the content of a config.json, both as read and as validated.

    Raises:
        FolderError: The content is not valid JSON or has invalid options. The reason lists all of them.
    """
    try:
        data = json.loads(content.decode("utf-8-sig"))
        json.dumps(data, allow_nan=False)  # Python parses NaN, but neither the database nor a browser accepts it
    except (ValueError, RecursionError) as error:
        raise FolderError(CONFIG, f"it is not valid JSON: {str(error).partition(';')[0]}") from error
    if not isinstance(data, dict):
        raise FolderError(CONFIG, "it must be a JSON object.")
    if is_deep(data):
        raise FolderError(CONFIG, "it is nested too deeply (50 levels at most).")
    if not is_encodable(data):
        raise FolderError(CONFIG, "a string contains a lone surrogate, which is not a valid character.")
    return data, _validated(data)


def _validated(data: dict[str, Any]) -> ServiceConfig:
    try:
        return ServiceConfig.model_validate(data)
    except ValidationError as error:
        faults = ("{}: {}".format(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors())
        raise FolderError(CONFIG, "; ".join(faults)) from error
