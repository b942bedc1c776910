"""Find the settings in an `ansible.cfg` outside the service's folder, with Ansible's own tool, as the deploy user.

Without an `ansible.cfg` in the working directory, Ansible reads `~/.ansible.cfg`, or else `/etc/ansible/ansible.cfg`.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from deploy.adapters.ansible.command import AnsibleSettings, ansible_settings
from deploy.adapters.ansible.locate import find_executable
from deploy.adapters.inputs.asking import ChoiceUnavailable, Program, ask
from deploy.adapters.runs.start import DeployUser

SYSTEM_CONFIG = "/etc/ansible/ansible.cfg"
# Seconds for which the settings are reused if this process cannot see whether the deploy user's file has changed.
REUSE_SECONDS = 30.0


class OutsideConfigs:
    """Reads the settings that Ansible finds outside service folders, and caches them until a file changes."""

    def __init__(self, *, path: str, home: str, user: Callable[[], DeployUser | None]) -> None:
        self._path = path
        self._home = home
        self._user = user
        self._cached: tuple[object, AnsibleSettings] = (None, AnsibleSettings())

    async def settings(self, folder: Path) -> AnsibleSettings:
        """Return the settings for a service folder without an `ansible.cfg`. If Ansible reports an error, so will the run.

        Raises:
            PlaybookError: Ansible is not installed.
            RunError: The deploy user does not exist.
        """
        versions = [_version(f"{self._home}/.ansible.cfg"), _version(SYSTEM_CONFIG)]
        if versions == [None, None]:
            return AnsibleSettings()
        if self._cached[0] != versions:
            found = await asyncio.to_thread(self._read, find_executable(self._path), folder, self._user())
            self._cached = (versions, found)
        return self._cached[1]

    def _read(self, executable: str, folder: Path, user: DeployUser | None) -> AnsibleSettings:
        command = str(Path(executable).with_name("ansible-config"))
        env = {"PATH": self._path, "HOME": self._home, "LANG": "C.UTF-8"}
        try:
            text = ask(Program(argv=(command, "view"), cwd=str(folder), env=env), user)
            settings = ansible_settings(text)
            if not settings.callback_plugins:
                return settings
            # Paths can be relative to the file. Ansible prints them complete.
            argv = (command, "dump", "--only-changed", "--format", "json")
            values = json.loads(ask(Program(argv=argv, cwd=str(folder), env=env), user))
        except (ChoiceUnavailable, ValueError):
            return AnsibleSettings()
        folders: list[str] = next(
            (item["value"] for item in values if item.get("name") == "DEFAULT_CALLBACK_PLUGIN_PATH"), []
        )
        return replace(settings, callback_plugins=":".join(folders))


def _version(path: str) -> object:
    """Return a value that changes with the file, None without a file, or the time if it cannot be seen."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError:
        return int(time.monotonic() / REUSE_SECONDS)
    return found.st_mtime_ns, found.st_size, found.st_ino
