"""Find the playbook, the inventory and `ansible-playbook`, as configured or by convention."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from posixpath import dirname, join, normpath

from deploy.adapters.ansible.command import AnsibleSettings, ansible_settings
from deploy.adapters.ansible.playbook_yaml import PlaybookError
from deploy.adapters.runs.supervisor.file_access import FILE, FOLDER, LOOP, MISSING, OUTSIDE, PRIVATE
from deploy.adapters.service_folders.files import FileError, Files

MAX_INVENTORY_DEPTH = 4
INVENTORY_NAMES = ("inventory", "inventory.ini", "inventory.yml", "inventory.yaml", "hosts")


def find_executable(search_path: str) -> str:
    """Return the path of `ansible-playbook` in this server's Python environment, or else the first on `search_path`.

    Raises:
        PlaybookError: It is not installed.
    """
    sibling = Path(sys.executable).with_name("ansible-playbook")
    found = str(sibling) if sibling.is_file() else shutil.which("ansible-playbook", path=search_path)
    if found is None:
        raise PlaybookError(
            "ansible-playbook is neither installed in this server's environment nor found on PATH_FOR_DEPLOY"
        )
    return found


def find_strategies(config: Mapping[str, object]) -> Path | None:
    """Return the folder of Mitogen's strategy plugins if the config enables Mitogen, which runs in Ansible's Python.

    Raises:
        PlaybookError: Mitogen is not installed in this server's environment.
    """
    if not switch(config, "mitogen"):
        return None
    found = importlib.util.find_spec("ansible_mitogen")
    if found is None or not found.submodule_search_locations:
        raise PlaybookError(
            "the config enables mitogen, which is not installed in this server's environment: "
            "install fastdeploy-server[mitogen], or remove `mitogen` from the config"
        )
    return Path(found.submodule_search_locations[0]) / "plugins" / "strategy"


def playbook_path(files: Files, folder: str, config: Mapping[str, object], services_root: str) -> str:
    """Return the path of `ansible_playbook`, relative to the folder or (older configs) to the parent of the root.

    Raises:
        PlaybookError: The file does not exist or may not be read.
    """
    name = _text(config, "ansible_playbook")
    if not name:
        raise PlaybookError("the config does not set ansible_playbook")
    for base in (folder, dirname(services_root)):
        try:
            kind, path = files.look_beside(normpath(join(base, name)), admit=True)
        except FileError as error:
            if error.kind != MISSING:
                raise PlaybookError(f"the playbook {name}: {error}") from error
        else:
            if kind == FILE:
                return path
    raise PlaybookError(f"the playbook {name} is neither in {folder} nor in {dirname(services_root)}")


def find_inventory(files: Files, folder: str, config: Mapping[str, object], settings: AnsibleSettings) -> str | None:
    """Return the inventory to pass to Ansible, or None for the one in `ansible.cfg` or the implicit localhost.

    Raises:
        PlaybookError: The configured inventory does not exist, or an inventory may not be read.
    """
    name = _text(config, "ansible_inventory")
    if name:
        return _inventory(files, join(folder, name), name)
    if settings.inventory:
        return None
    for usual in INVENTORY_NAMES:
        if files.kind(join(folder, usual)) != MISSING:
            return _inventory(files, join(folder, usual), usual)
    return None


def why_hosts_are_hidden(files: Files, folder: str, inventory: str | None, settings: AnsibleSettings) -> str:
    """Return why the hosts of an inventory must not be shown, or an empty string.

    Ansible takes any text that it reads as an inventory for host names, so they could reveal files outside the folder.

    Raises:
        PlaybookError: The inventory includes fastDeploy's own files, which not even a run may show.
    """
    named = [inventory] if inventory is not None else settings.inventory.split(",")
    paths = [join(folder, path.strip()) for path in named if path.strip()]
    kinds = {kind for path in paths for kind in _kinds(files, path, depth=0)}
    if PRIVATE in kinds:
        raise PlaybookError(f"the inventory: {FileError(PRIVATE)}")
    if kinds & {OUTSIDE, LOOP} or any("$" in path or "~" in path for path in paths):
        return "the inventory includes files outside the services folder, so its hosts are not shown"
    return ""


def _inventory(files: Files, path: str, name: str) -> str:
    try:
        files.look_beside(normpath(path))
    except FileError as error:
        if error.kind == MISSING:
            raise PlaybookError(f"the inventory {name} does not exist") from error
        raise PlaybookError(f"the inventory {name}: {error}") from error
    return normpath(path)


def _kinds(files: Files, path: str, depth: int) -> Iterator[str]:
    kind = files.kind(path)
    yield kind
    if kind == FOLDER and depth < MAX_INVENTORY_DEPTH:
        for name, _ in files.entries(path):
            yield from _kinds(files, join(path, name), depth + 1)


def read_settings(files: Files, folder: str) -> AnsibleSettings:
    """Return the settings in the folder's `ansible.cfg`, or the defaults if it is missing or not readable as text.

    Raises:
        PlaybookError: The file is outside the services folder; Ansible's error messages would show its content.
    """
    try:
        return ansible_settings(files.read(join(folder, "ansible.cfg")).decode("utf-8"))
    except FileError as error:
        if error.kind in {OUTSIDE, PRIVATE}:
            raise PlaybookError(f"ansible.cfg: {error}") from error
        return AnsibleSettings()
    except UnicodeDecodeError:
        return AnsibleSettings()


def _text(config: Mapping[str, object], option: str) -> str:
    value = config.get(option)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise PlaybookError(f"{option} must be a path, not {value!r}")
    return value


def switch(config: Mapping[str, object], option: str) -> bool | None:
    value = config.get(option)
    if value is not None and not isinstance(value, bool):
        raise PlaybookError(f"{option} must be true or false, not {value!r}")
    return value
