"""Service folders: read, checked, and reported folder by folder where something is wrong."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deploy.adapters.ansible.locate import find_inventory, find_strategies, playbook_path
from deploy.adapters.ansible.playbook_yaml import PlaybookError
from deploy.adapters.ansible.tasks import task_names
from deploy.adapters.inputs.author import SchemaFault, check_programs, check_schema
from deploy.config import LONGEST_TIMEOUT
from deploy.domain.commands import ServiceFolder
from deploy.domain.model import PlannedStep, Service
from deploy.domain.reports import is_deep, is_encodable

CONFIG = "config.json"
DEFAULT_SCRIPT = "deploy.sh"
SIZE_LIMIT = 1 << 20
NOTHING: Mapping[str, Any] = MappingProxyType({})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


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
        default=None, gt=0, le=LONGEST_TIMEOUT, description="Time limit of a run, in seconds; a year at most."
    )
    inputs: dict[str, Any] | None = Field(default=None, description="JSON Schema of what a deployment is given.")
    confirm: bool = Field(default=False, description="Whoever starts it types the name of the service.")


class FolderError(Exception):
    """A folder is broken: `file` (relative to it) and the reason."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason


class RootError(OSError):
    """The services folder itself cannot be read; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A broken folder, as it is reported."""

    folder: str
    file: str
    reason: str


class ServiceFolders:
    """The folders below the services root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """Return the names of the folders, sorted; hidden ones are left out.

        Raises:
            RootError: the services folder is there, but cannot be read.
        """
        try:
            with os.scandir(self.root) as entries:
                return sorted(entry.name for entry in entries if _is_folder(entry))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise RootError(
                f"The services folder {self.root} cannot be read ({error.strerror}); "
                "let the user who runs fastDeploy read it, or set SERVICES_ROOT."
            ) from error

    def read(self, accepted: Mapping[str, Any] = NOTHING) -> tuple[list[ServiceFolder], list[Problem]]:
        """Return the good folders, and what is wrong with the others (or, without a name, with the root itself).

        `accepted`: for names of services, schemas of inputs that were found good before, and are not looked at again.
        """
        try:
            names = self.names()
        except RootError as error:
            return [], [Problem("", "", str(error))]
        folders: list[ServiceFolder] = []
        problems: list[Problem] = []
        seen: dict[str, str] = {}
        for name in names:
            try:
                if (twin := seen.setdefault(name.lower(), name)) != name:
                    raise FolderError("", f"its name differs from {twin} by upper and lower case only; rename one.")
                folders.append(self._read(name, accepted.get(name)))
            except FolderError as error:
                problems.append(Problem(name, error.file, error.reason))
        if not self.root.is_dir():
            problems.append(
                Problem("", "", f"The services folder {self.root} does not exist; create it or set SERVICES_ROOT.")
            )
        return folders, problems

    def playbook_steps(self, service: Service) -> list[PlannedStep]:
        """Return the steps that the playbook of a service promises; none where it has no readable playbook."""
        if service.data.get("ansible_playbook") is None:
            return []
        try:
            names = task_names(playbook_path(self.root / service.name, service.data, self.root))
        except (PlaybookError, OSError):
            return []
        return [PlannedStep(name=name) for name in names]

    def _read(self, name: str, accepted: Any) -> ServiceFolder:
        if not _NAME.fullmatch(name):
            raise FolderError("", "a service name has up to 100 letters, digits, dots, dashes or underscores.")
        folder = self.root / name
        data = _read_config(folder)
        config = _validated(data)
        if config.ansible_playbook is not None:
            self._check_playbook(folder, data)
        if config.inputs is not None:
            _check_inputs(config.inputs, folder, is_accepted=_same(config.inputs, accepted))
        try:
            _check_script(folder, config)
        except (OSError, RuntimeError) as error:  # no permission; before Python 3.13, links in a circle
            raise FolderError(config.deploy_script or DEFAULT_SCRIPT, f"it cannot be read ({error}).") from error
        return ServiceFolder(name=name, data=data, readme=_readme(folder))

    def _check_playbook(self, folder: Path, data: dict[str, Any]) -> None:
        try:
            task_names(playbook_path(folder, data, self.root))
            find_inventory(folder, data, self.root)
            find_strategies(data)
        except (PlaybookError, OSError) as error:
            raise FolderError(str(data["ansible_playbook"]), str(error)) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return not entry.name.startswith(".") and entry.is_dir()
    except OSError:
        return False  # links in a circle


def _check_inputs(inputs: dict[str, Any], folder: Path, *, is_accepted: bool) -> None:
    try:
        if not is_accepted:
            check_schema(inputs)
        check_programs(inputs, folder)
    except SchemaFault as error:
        raise FolderError(CONFIG, str(error)) from error


def _same(one: Any, other: Any) -> bool:
    """Whether they are the same in JSON; to Python, 1 and true are, too."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _check_script(folder: Path, config: ServiceConfig) -> None:
    if not has_script(folder, config.model_dump(exclude_none=True)):
        return
    script = config.deploy_script or DEFAULT_SCRIPT
    if "\x00" in script:
        raise FolderError(CONFIG, "deploy_script: a path has no NUL in it.")
    path = folder / script
    if not os.path.isabs(script) and not path.resolve().is_relative_to(folder.resolve()):
        raise FolderError(CONFIG, f"deploy_script: {script!r} leaves the folder.")
    if not path.is_file():
        hint = "" if config.deploy_script else " and config.json names neither a deploy_script nor an ansible_playbook"
        raise FolderError(script, f"the deploy script does not exist{hint}.")


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            # Reading a device or a pipe may never end.
            raise FolderError(CONFIG, "it cannot be read (it is not a file).")
        if status.st_size > SIZE_LIMIT:
            raise FolderError(CONFIG, "it is larger than 1 MiB.")
        data = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(data, allow_nan=False)  # NaN is read, but neither the database nor a browser takes it
    except FileNotFoundError as error:
        raise FolderError(CONFIG, "the file does not exist.") from error
    except OSError as error:
        raise FolderError(CONFIG, f"it cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise FolderError(CONFIG, f"it is not valid JSON: {error}") from error
    if not isinstance(data, dict):
        raise FolderError(CONFIG, "it has to be a JSON object.")
    if is_deep(data):
        raise FolderError(CONFIG, "its lists and objects lie in each other too deeply.")
    if not is_encodable(data):
        raise FolderError(CONFIG, "a text has half a character in it (a lone surrogate).")
    return data


def _validated(data: dict[str, Any]) -> ServiceConfig:
    try:
        return ServiceConfig.model_validate(data)
    except ValidationError as error:
        faults = ("{}: {}".format(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors())
        raise FolderError(CONFIG, "; ".join(faults)) from error


def _readme(folder: Path) -> str | None:
    for name in ("README.md", "readme.md", "Readme.md"):
        path = folder / name
        if path.is_file():
            try:
                return path.read_bytes()[:SIZE_LIMIT].decode("utf-8", "replace").replace("\x00", "")
            except OSError:
                return None
    return None


def has_script(folder: Path, data: dict[str, Any]) -> bool:
    """Whether a service is deployed by a script (else the platform runs its playbook)."""
    named = data.get("deploy_script") is not None
    return named or (folder / DEFAULT_SCRIPT).exists() or data.get("ansible_playbook") is None
