"""Find the playbook, the inventory, and `ansible-playbook`, either as configured or by convention."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from posixpath import basename, dirname, join, normpath

from deploy.adapters.ansible.command import AnsibleSettings, ansible_settings
from deploy.adapters.ansible.playbook_yaml import PlaybookError
from deploy.adapters.runs.supervisor.file_access import FILE, FOLDER, LOOP, MAX_ENTRIES, MISSING, OUTSIDE, PRIVATE
from deploy.adapters.service_folders.files import FileError, Files
from deploy.domain.service_config import ServiceConfig

MAX_INVENTORY_DEPTH = 4
_TOO_MUCH = "too much"
# Folders in an inventory where Ansible does not look for hosts.
_VARIABLES = ("group_vars", "host_vars", "vars_plugins")
INVENTORY_NAMES = ("inventory", "inventory.ini", "inventory.yml", "inventory.yaml", "hosts")


def find_executable(search_path: str) -> str:
    """Return the path of `ansible-playbook` in this server's Python environment, or else the first on `search_path`.

    Raises:
        PlaybookError: `ansible-playbook` is not installed.
    """
    sibling = Path(sys.executable).with_name("ansible-playbook")
    found = str(sibling) if sibling.is_file() else shutil.which("ansible-playbook", path=search_path)
    if found is None:
        raise PlaybookError(
            "ansible-playbook is neither installed in this server's environment nor found on PATH_FOR_DEPLOY"
        )
    return found


def find_strategies(config: ServiceConfig) -> Path | None:
    """Return the folder of Mitogen's strategy plugins if the config enables Mitogen, which runs in Ansible's Python.

    Raises:
        PlaybookError: Mitogen is not installed in this server's environment.
    """
    if not config.mitogen:
        return None
    found = importlib.util.find_spec("ansible_mitogen")
    if found is None or not found.submodule_search_locations:
        raise PlaybookError(
            "the config enables mitogen, which is not installed in this server's environment: "
            "install fastdeploy-server[mitogen], or remove `mitogen` from the config"
        )
    return Path(found.submodule_search_locations[0]) / "plugins" / "strategy"


def playbook_path(files: Files, folder: str, config: ServiceConfig, services_root: str) -> str:
    """Return the path of `ansible_playbook`, relative to the folder or (older configs) to the parent of the root.

    Raises:
        PlaybookError: The file does not exist or cannot be read.
    """
    name = config.ansible_playbook
    if name is None:
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


def find_inventory(files: Files, folder: str, config: ServiceConfig, settings: AnsibleSettings) -> str | None:
    """Return the inventory to pass to Ansible, or None to use the one in `ansible.cfg` or the implicit localhost.

    Raises:
        PlaybookError: The configured inventory does not exist, or an inventory cannot be read.
    """
    name = config.ansible_inventory
    if name is not None:
        return _inventory(files, join(folder, name), name)
    if settings.inventory:
        return None
    for usual in INVENTORY_NAMES:
        if files.kind(join(folder, usual)) != MISSING:
            return _inventory(files, join(folder, usual), usual)
    return None


def why_hosts_are_hidden(files: Files, folder: str, inventory: str | None, settings: AnsibleSettings) -> str:
    """Return the reason the hosts of an inventory must not be shown, or an empty string.

    Ansible parses any text in an inventory as host names, so host names could reveal the content of files outside the
    folder.

    Raises:
        PlaybookError: The inventory includes fastDeploy's own files, which must never be shown, not even by a run.
    """
    configured = [path.strip() for path in settings.inventory.split(",") if path.strip()] if inventory is None else []
    # Ansible joins and normalizes paths as text before it follows links.
    paths = [normpath(join(folder, path)) for path in configured] if inventory is None else [inventory]
    named = [files.kind(path) for path in paths]
    kinds = {
        *named,
        *(inner for path, kind in zip(paths, named, strict=True) for inner in _kinds_in(files, path, kind)),
    }
    if PRIVATE in kinds:
        raise PlaybookError(f"the inventory: {FileError(PRIVATE)}")
    if kinds & {OUTSIDE, LOOP} or _are_expanded(paths, configured):
        return "the inventory includes files outside the services folder, so its hosts are not shown"
    if not {*named} <= {FILE, FOLDER}:
        return "the inventory does not exist in the services folder, so its hosts are not shown"
    if _TOO_MUCH in kinds:
        return (
            f"the inventory has more than {MAX_INVENTORY_DEPTH} levels of folders or {MAX_ENTRIES} files in one of them, "
            "so its hosts are not shown"
        )
    return ""


def _are_expanded(paths: list[str], configured: list[str]) -> bool:
    """Return True if Ansible might change a path, or a text in `ansible.cfg`, before using it."""
    return any("$" in path for path in paths) or any(mark in text for text in configured for mark in "~{\"'")


def _inventory(files: Files, path: str, name: str) -> str:
    try:
        files.look_beside(normpath(path))
    except FileError as error:
        if error.kind == MISSING:
            raise PlaybookError(f"the inventory {name} does not exist") from error
        raise PlaybookError(f"the inventory {name}: {error}") from error
    return normpath(path)


def _kinds_in(files: Files, path: str, kind: str, depth: int = 0) -> Iterator[str]:
    """Yield the kind of each entry in an inventory folder, and _TOO_MUCH for entries that are not inspected."""
    if kind != FOLDER:
        return
    entries = files.entries(path) if depth < MAX_INVENTORY_DEPTH else []
    if (depth >= MAX_INVENTORY_DEPTH or len(entries) >= MAX_ENTRIES) and basename(path) not in _VARIABLES:
        yield _TOO_MUCH
    for name, inner in entries:
        yield inner
        yield from _kinds_in(files, join(path, name), inner, depth + 1)


def read_settings(files: Files, folder: str) -> AnsibleSettings:
    """Return the settings in the folder's `ansible.cfg`, or the defaults if it is missing.

    Raises:
        PlaybookError: The file is outside the services folder, and Ansible's error messages would show its content. Or
            it is too large and could contain settings that are not checked.
    """
    try:
        # Read the file the way Ansible does.
        text = files.read(join(folder, "ansible.cfg")).decode("utf-8", "surrogateescape")
        return replace(ansible_settings(text), is_own=True)
    except FileError as error:
        if error.kind in {FILE, OUTSIDE, PRIVATE}:
            raise PlaybookError(f"ansible.cfg: {error}") from error
        return AnsibleSettings()
