"""Find what a service's config names, or leaves to convention: playbook, inventory, `ansible-playbook`."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.adapters.ansible.command import Playbook, ansible_settings
from deploy.adapters.ansible.playbook_yaml import PlaybookError

INVENTORY_NAMES = ("inventory", "inventory.ini", "inventory.yml", "inventory.yaml", "hosts")


def find_playbook(folder: Path, config: Mapping[str, object], services_root: Path, *, search_path: str) -> Playbook:
    """The playbook of the service in `folder`, ready to run.

    `search_path` is the deploy user's PATH. Raises PlaybookError, with a sentence for the operator, when something
    that the config names is not there.
    """
    return Playbook(
        executable=find_executable(search_path),
        path=playbook_path(folder, config, services_root),
        folder=folder,
        inventory=find_inventory(folder, config, services_root),
        pipelining=_switch(config, "pipelining"),
        ansible_cfg=read_ansible_cfg(folder),
        strategies=find_strategies(config),
    )


def find_executable(search_path: str) -> str:
    """`ansible-playbook` of the environment that this server runs in, else the first on `search_path`."""
    neighbour = Path(sys.executable).with_name("ansible-playbook")
    found = str(neighbour) if neighbour.is_file() else shutil.which("ansible-playbook", path=search_path)
    if found is None:
        raise PlaybookError("ansible-playbook is not installed beside this server, nor found on PATH_FOR_DEPLOY")
    return found


def find_strategies(config: Mapping[str, object]) -> Path | None:
    """The folder of mitogen's strategy plugins, if the config asks for mitogen. It runs in Ansible's Python, never here.

    Raises PlaybookError when it is not installed beside this server.
    """
    if not _switch(config, "mitogen"):
        return None
    found = importlib.util.find_spec("ansible_mitogen")
    if found is None or not found.submodule_search_locations:
        raise PlaybookError(
            "the config asks for mitogen, which is not installed beside this server: "
            "install fastdeploy-server[mitogen], or take `mitogen` out"
        )
    return Path(found.submodule_search_locations[0]) / "plugins" / "strategy"


def playbook_path(folder: Path, config: Mapping[str, object], services_root: Path) -> Path:
    """The file that `ansible_playbook` names, in the folder or (older configs) below the services root's parent."""
    name = _text(config, "ansible_playbook")
    if not name:
        raise PlaybookError("the config names no ansible_playbook")
    candidates = [folder / name, services_root.parent / name]
    for candidate in candidates:
        if candidate.is_file():
            return _inside(candidate, folder, services_root)
    raise PlaybookError(f"the playbook {name} is neither in {folder} nor in {services_root.parent}")


def find_inventory(folder: Path, config: Mapping[str, object], services_root: Path) -> Path | None:
    """The inventory to hand to Ansible; None leaves it to `ansible.cfg`, or to Ansible's implicit localhost."""
    name = _text(config, "ansible_inventory")
    if name:
        if not (folder / name).exists():
            raise PlaybookError(f"the inventory {name} is not in {folder}")
        return _inside(folder / name, folder, services_root)
    if ansible_settings(read_ansible_cfg(folder)).names_inventory:
        return None
    return next((folder / name for name in INVENTORY_NAMES if (folder / name).exists()), None)


def read_ansible_cfg(folder: Path) -> str:
    """The text of the folder's `ansible.cfg`, empty when there is none that can be read as text."""
    path = folder / "ansible.cfg"
    try:
        # Reading a device or a pipe may never end.
        return path.read_text(encoding="utf-8") if path.is_file() else ""
    except (OSError, UnicodeDecodeError):
        return ""


def _inside(path: Path, folder: Path, services_root: Path) -> Path:
    # A service folder may be a link to somewhere else; what it names may then be there too.
    allowed = (services_root.parent.resolve(), folder.resolve())
    resolved = path.resolve()
    if not any(resolved.is_relative_to(base) for base in allowed):
        raise PlaybookError(f"{path} lies outside of {services_root.parent}")
    return resolved


def _text(config: Mapping[str, object], option: str) -> str:
    value = config.get(option)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise PlaybookError(f"{option} has to be a path, not {value!r}")
    return value


def _switch(config: Mapping[str, object], option: str) -> bool | None:
    value = config.get(option)
    if value is not None and not isinstance(value, bool):
        raise PlaybookError(f"{option} has to be true or false, not {value!r}")
    return value
