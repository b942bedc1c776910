"""Run the programs that list the choices of inputs, in a worker, as the deploy user."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.adapters.ansible.command import Playbook, playbook_env
from deploy.adapters.ansible.locate import find_executable
from deploy.adapters.ansible.playbook_yaml import PlaybookError
from deploy.adapters.filesystem import ServiceFolders
from deploy.adapters.inputs.asking import ChoiceUnavailable, Program, ask
from deploy.adapters.runs.spec import worker_home
from deploy.adapters.runs.start import DeployUser, RunError
from deploy.adapters.service_folders.processes import FoldersUnavailable
from deploy.config import ConfigurationError
from deploy.domain.service_config import ServiceConfig

# The kinds of programs, which are also the kinds of worker tasks.
COMMAND, INVENTORY = "choices", "inventory"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceContext:
    """The service folders, the PATH of scripts, and a function that returns the deploy user."""

    folders: ServiceFolders
    path: str
    user: Callable[[], DeployUser | None]


class ChoicePrograms:
    """Runs a command of a service, or `ansible-inventory`, and returns what it prints."""

    def __init__(self, context: ChoiceContext) -> None:
        self._context = context

    async def output(self, kind: str, arguments: Mapping[str, Any]) -> str:
        """Return the output of a program: `COMMAND` with `service` and `argv`, or `INVENTORY` with `service` and `config`.

        Raises:
            ChoiceUnavailable: The program cannot be run, or failed.
        """
        user = self._user()
        if kind == COMMAND:
            program = self._command(arguments["service"], arguments["argv"], user)
        else:
            program = await self._inventory(arguments["service"], ServiceConfig.from_json(arguments["config"]), user)
        return await asyncio.to_thread(ask, program, user)

    def _command(self, service: str, argv: list[str], user: DeployUser | None) -> Program:
        folder = self._folder(service)
        env = {"PATH": self._context.path, "HOME": worker_home(user.home if user else None), "LANG": "C.UTF-8"}
        return Program(argv=(str(folder / argv[0]), *argv[1:]), cwd=str(folder), env=env)

    async def _inventory(self, service: str, config: ServiceConfig, user: DeployUser | None) -> Program:
        folder = self._folder(service)
        try:
            inventory, settings = await self._context.folders.inventory(service, config)
            executable = find_executable(self._context.path)
        except (PlaybookError, FoldersUnavailable, OSError) as error:
            raise ChoiceUnavailable(str(error).rstrip(".")) from error
        ansible_inventory = Path(executable).with_name("ansible-inventory")
        ansible = Playbook(executable=str(ansible_inventory), path=folder, folder=folder, settings=settings)
        # `--graph` only prints names; `--list` would also read variables and decrypt vaults, which requires their
        # passwords.
        argv = [str(ansible_inventory), "--graph", *(["--inventory", inventory] if inventory else [])]
        env = playbook_env(ansible, path=self._context.path, home=worker_home(user.home if user else None))
        # Otherwise Ansible would silently return only some of the choices if part of the inventory is unreadable.
        env |= {"ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1"}
        return Program(argv=tuple(argv), cwd=str(folder), env=env)

    def _folder(self, service: str) -> Path:
        return self._context.folders.root.resolve() / service

    def _user(self) -> DeployUser | None:
        try:
            return self._context.user()
        except (ConfigurationError, RunError, OSError) as error:
            raise ChoiceUnavailable(str(error)) from error
