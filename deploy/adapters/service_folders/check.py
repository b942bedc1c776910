"""Check a service folder and read its config and README."""

from __future__ import annotations

import json
from posixpath import isabs, join, normpath
from typing import Any

from deploy.adapters.ansible.locate import find_inventory, playbook_path, read_settings, why_hosts_are_hidden
from deploy.adapters.ansible.playbook_yaml import PlaybookError
from deploy.adapters.ansible.tasks import task_names
from deploy.adapters.inputs.author import SchemaFault, check_inputs
from deploy.adapters.runs.supervisor.file_access import FILE, FOLDER, LOOP, MISSING, OUTSIDE, PRIVATE
from deploy.adapters.service_folders.config import CONFIG, FolderError, parse_config
from deploy.adapters.service_folders.files import FileError, Files
from deploy.adapters.service_folders.survey import has_script
from deploy.domain.service_config import ServiceConfig

README_LIMIT = 1 << 20
README_NAMES = ("README.md", "readme.md", "Readme.md")


def check_folder(
    files: Files, folder: str, *, accepted: Any = None, mitogen_fault: str = ""
) -> tuple[dict[str, Any], str | None, str]:
    """Return the config and the README of the service in `folder`, and the problem with the README, if any.

    `accepted` is an input schema that already passed the check and is not checked again. `mitogen_fault` is the reason
    Mitogen cannot be used on this server, or empty.

    Raises:
        FolderError: The folder cannot be used.
        TooComplex: Checking the folder exceeds a limit.
    """
    try:
        data, config = parse_config(files.read(join(folder, CONFIG)))
    except FileError as error:
        raise FolderError(CONFIG, f"{error}.") from error
    if config.ansible_playbook is not None:
        _check_playbook(files, folder, config, mitogen_fault)
    if (schema := config.input_schema) is not None:
        _check_inputs(files, schema, folder, is_accepted=_is_same(schema, accepted))
    _check_script(files, folder, config)
    return data, *_readme(files, folder)


def _check_playbook(files: Files, folder: str, config: ServiceConfig, mitogen_fault: str) -> None:
    try:
        settings = read_settings(files, folder)
        task_names(files, playbook_path(files, folder, config, folder.rpartition("/")[0]), folder, settings)
        why_hosts_are_hidden(files, folder, find_inventory(files, folder, config, settings), settings)
        if config.mitogen and mitogen_fault:
            raise PlaybookError(mitogen_fault)
    except (PlaybookError, FileError) as error:
        raise FolderError(str(config.ansible_playbook), str(error)) from error


def _check_inputs(files: Files, inputs: dict[str, Any], folder: str, *, is_accepted: bool) -> None:
    try:
        check_inputs(files, inputs, folder, is_accepted=is_accepted)
    except SchemaFault as error:
        raise FolderError(CONFIG, str(error)) from error


def _is_same(one: Any, other: Any) -> bool:
    """Return True if both are the same JSON. Python's `==` would treat 1 and true as equal."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _check_script(files: Files, folder: str, config: ServiceConfig) -> None:
    if not has_script(files, folder, config):
        return
    script = config.script
    if "\x00" in script:
        raise FolderError(CONFIG, "deploy_script: must not contain NUL characters.")
    if isabs(script):
        kind = FILE if files.exists(script) else MISSING
    elif normpath(script).startswith(".."):
        raise FolderError(CONFIG, f"deploy_script: {script!r} is outside the folder.")
    else:
        kind = files.kind(join(folder, script))
    if kind in {OUTSIDE, PRIVATE, LOOP}:
        raise FolderError(CONFIG, f"deploy_script: {script!r}: {FileError(kind)}.")
    if kind == MISSING:
        hint = "" if config.deploy_script else ", and config.json sets neither deploy_script nor ansible_playbook"
        raise FolderError(script, f"the deploy script does not exist{hint}.")
    if kind != FILE:
        reason = (
            "the deploy script is a folder, not a file."
            if kind == FOLDER
            else f"the deploy script: {FileError(kind)}."
        )
        raise FolderError(script, reason)


def _readme(files: Files, folder: str) -> tuple[str | None, str]:
    for name in README_NAMES:
        try:
            content = files.read_beginning(join(folder, name), README_LIMIT)
        except FileError as error:
            if error.kind in {OUTSIDE, PRIVATE}:
                return None, str(error)
        else:
            return content.decode("utf-8", "replace").replace("\x00", ""), ""
    return None, ""
