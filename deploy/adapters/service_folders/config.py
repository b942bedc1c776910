"""What a service's config.json may say."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.domain.model import MAX_TIMEOUT
from deploy.domain.reports import is_deep, is_encodable

CONFIG = "config.json"
DEFAULT_SCRIPT = "deploy.sh"


class StepOption(BaseModel):
    """A step to show before it reports."""

    name: str = Field(min_length=1, max_length=500)
    description: str = Field(default="", max_length=10_000)


class ServiceConfig(BaseModel):
    """What config.json may say. Other keys are kept for the scripts that read them."""

    model_config = ConfigDict(extra="allow", strict=True)

    description: str = Field(default="", max_length=10_000, description="One sentence: what is deployed.")
    deploy_script: str | None = Field(default=None, min_length=1, description="Script to run; default deploy.sh.")
    steps: list[StepOption] = Field(default=[], max_length=10_000, description="Steps to show before they report.")
    ansible_playbook: str | None = Field(
        default=None, min_length=1, description="Playbook to run, or to take steps from."
    )
    ansible_inventory: str | None = Field(default=None, min_length=1, description="Inventory of the playbook.")
    pipelining: bool | None = Field(default=None, description="Ansible's SSH pipelining.")
    mitogen: bool | None = Field(default=None, description="Run tasks through mitogen: faster on many tasks.")
    diff: bool | None = Field(default=None, description="Show what a playbook changes in files.")
    concurrency: int = Field(default=1, ge=1, le=100, description="Deployments of this service at once.")
    retention_days: float | None = Field(default=None, ge=0, description="As the setting, for this service.")
    retention_count: int | None = Field(default=None, ge=0, description="As the setting, for this service.")
    timeout: float | None = Field(
        default=None, gt=0, le=MAX_TIMEOUT, description="Time limit of a run, in seconds; a year at most."
    )
    inputs: dict[str, Any] | None = Field(default=None, description="JSON Schema of what a deployment is given.")
    confirm: bool = Field(default=False, description="Whoever starts it types the name of the service.")


class FolderError(Exception):
    """A folder cannot be used: `file` (relative to it) and the reason."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason


def parse_config(content: bytes) -> tuple[dict[str, Any], ServiceConfig]:
    """Return what a config.json says, as it is and validated.

    Raises:
        FolderError: it is not JSON, or does not say what it may; every fault is named.
    """
    try:
        data = json.loads(content.decode("utf-8-sig"))
        json.dumps(data, allow_nan=False)  # NaN is read, but neither the database nor a browser takes it
    except (ValueError, RecursionError) as error:
        raise FolderError(CONFIG, f"it is not valid JSON: {error}") from error
    if not isinstance(data, dict):
        raise FolderError(CONFIG, "it must be a JSON object.")
    if is_deep(data):
        raise FolderError(CONFIG, "it is nested too deeply (50 levels at most).")
    if not is_encodable(data):
        raise FolderError(CONFIG, "a text contains half a character (a lone surrogate).")
    return data, _validated(data)


def _validated(data: dict[str, Any]) -> ServiceConfig:
    try:
        return ServiceConfig.model_validate(data)
    except ValidationError as error:
        faults = ("{}: {}".format(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors())
        raise FolderError(CONFIG, "; ".join(faults)) from error
