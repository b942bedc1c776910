"""Service folders: their names, configs and problems."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cachetools import LRUCache

from deploy.adapters.ansible.command import AnsibleSettings
from deploy.adapters.ansible.playbook_yaml import PlaybookError
from deploy.adapters.runs.start import DeployUser, RunError
from deploy.adapters.runs.supervisor.file_access import FOLDER, LOOP, MAX_NAMES, MISSING, OUTSIDE, PRIVATE
from deploy.adapters.service_folders.processes import (
    Checked,
    Checkers,
    FolderScope,
    FoldersUnavailable,
    LineSocket,
    reader,
)
from deploy.adapters.service_folders.survey import Survey
from deploy.config import ConfigurationError
from deploy.domain.commands import ServiceFolder
from deploy.domain.model import PlannedStep, Service
from deploy.domain.service_config import ServiceConfig

NOTHING: Mapping[str, Any] = MappingProxyType({})
CACHE_BYTES = 16 << 20
PROCESSES = 2
MAX_TIMEOUTS = 2
NO_ANSWER = "The process that reads service folders does not respond."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LINKS = {
    LOOP: "its symbolic links form a loop.",
    MISSING: "it is a broken symbolic link.",
    OUTSIDE: "it is a symbolic link to a location outside the services folder.",
    PRIVATE: "it is a symbolic link to fastDeploy's own files.",
}


@dataclass(frozen=True, slots=True)
class FolderProblem:
    """A problem with a service folder, or with the services folder itself if `folder` is empty.

    `is_minor` means that the folder is used all the same.
    """

    folder: str
    file: str
    reason: str
    is_minor: bool = False


class RootMissing(FoldersUnavailable):
    """The services folder does not exist."""


class ServiceFolders:
    """The folders below the services root, read as the deploy user (see `service_folders`).

    `user` returns the deploy user, or None for the server's own user. `private` lists paths of the server that must
    not be accessible through service folders. `checkers` starts the processes that check folders. By default, an idle one
    is not kept.
    """

    def __init__(
        self,
        root: Path,
        *,
        user: Callable[[], DeployUser | None] = lambda: None,
        private: Sequence[Path] = (),
        checkers: Checkers | None = None,
    ) -> None:
        self.root = root
        self._scope = FolderScope(root, tuple(private))
        self._user = user
        self._cache: LRUCache[str, Checked] = LRUCache(CACHE_BYTES, getsizeof=_size)
        self._checkers = checkers or Checkers()
        self._turns: asyncio.Semaphore | None = None
        self._running: asyncio.Task[Any] | None = None
        self._next: asyncio.Task[tuple[list[ServiceFolder], list[FolderProblem]]] | None = None

    def keep_processes(self, seconds: float) -> None:
        """From now on, keep the idle process that checks folders for `seconds`. The caller must call `close` at the end."""
        self._checkers.keep(seconds)

    async def close(self) -> None:
        """Stop idle processes, and do not keep others."""
        await self._checkers.close()

    async def names(self) -> list[str]:
        """Return the sorted names of the folders that are not hidden. Return none if the services folder does not
        exist.

        Raises:
            FoldersUnavailable: The services folder cannot be read.
        """
        try:
            async with self._reader() as line:
                return [_printable(name) for name, kind in await self._entries(line) if kind == FOLDER]
        except RootMissing:
            return []

    async def read(self, accepted: Mapping[str, Any] = NOTHING) -> tuple[list[ServiceFolder], list[FolderProblem]]:
        """Return the usable folders, and the problems of the other folders and of the services folder itself.

        `accepted` maps service names to input schemas that already passed the check and are not checked again.
        Concurrent callers share one read, which starts after the last of them has called.
        """
        if accepted:
            return await self._read(accepted)
        if self._next is None:
            self._next = asyncio.ensure_future(self._read_after(self._running))
        return await asyncio.shield(self._next)

    async def survey(self, service: str, config: ServiceConfig) -> Survey:
        """Return what a service would run with this config. If the config runs a script, do not read the folder.

        Raises:
            FoldersUnavailable: The services folder cannot be read.
        """
        if config.names_script:
            return Survey(is_script=True)
        return await self._survey(service, config)

    async def inventory(self, service: str, config: ServiceConfig) -> tuple[str | None, AnsibleSettings]:
        """Return the inventory of a service (None if Ansible finds it) and the settings in its `ansible.cfg`.

        Raises:
            PlaybookError: The inventory cannot be used, or its hosts must not be shown.
            FoldersUnavailable: The services folder cannot be read.
        """
        found = await self._survey(service, config)
        if found.fault or found.hidden:
            raise PlaybookError(found.fault or found.hidden)
        return found.inventory, found.settings

    async def _survey(self, service: str, config: ServiceConfig) -> Survey:
        (checked,) = await self._check([{"name": service, "config": config.to_json()}])
        if "survey" not in checked.answer:
            return Survey(is_script=False, fault=_too_complex(checked.answer))
        found = dict(checked.answer["survey"])
        found["fault"] = _short(found["fault"], 2_000)
        settings = AnsibleSettings(**found.pop("settings"))
        hosts = found.pop("hosts")
        steps = tuple(found.pop("steps"))
        return Survey(**found, settings=settings, steps=steps, hosts=None if hosts is None else tuple(hosts))

    async def playbook_steps(self, service: Service) -> list[PlannedStep]:
        """Return the steps expected from the playbook that a service names, whether or not a script runs the playbook.

        Return no steps if the playbook cannot be read.
        """
        if service.config.ansible_playbook is None:
            return []
        try:
            found = await self._survey(service.name, service.config)
        except FoldersUnavailable:
            return []
        return [PlannedStep(name=name) for name in found.steps]

    async def _read_after(self, before: asyncio.Task[Any] | None) -> tuple[list[ServiceFolder], list[FolderProblem]]:
        if before is not None:
            await asyncio.wait([before])
        self._running, self._next = self._next, None
        return await self._read(NOTHING)

    async def _read(self, accepted: Mapping[str, Any]) -> tuple[list[ServiceFolder], list[FolderProblem]]:
        try:
            async with self._reader() as line:
                entries = await self._entries(line)
        except FoldersUnavailable as error:
            return [], [FolderProblem("", "", str(error))]
        problems = [problem for name, kind in entries if (problem := _problem_of_entry(name, kind, entries))]
        broken = {problem.folder for problem in problems}
        names = [name for name, _ in entries if _printable(name) not in broken]
        folders: list[ServiceFolder] = []
        try:
            checked = await self._check([{"name": name, "accepted": accepted.get(name)} for name in names])
        except FoldersUnavailable as error:
            return [], [FolderProblem("", "", str(error))]
        for name, found in zip(names, checked, strict=True):
            folder, problem = _outcome(name, found.answer)
            folders += [folder] if folder is not None else []
            problems += [problem] if problem is not None else []
        return folders, sorted(problems, key=lambda problem: problem.folder)

    async def _entries(self, line: LineSocket) -> list[tuple[str, str]]:
        answer = await line.ask("names")
        if answer is None:
            raise FoldersUnavailable(NO_ANSWER)
        if answer["kind"] == MISSING:
            raise RootMissing(f"The services folder {self.root} does not exist. Create it, or set SERVICES_ROOT.")
        if answer["kind"] != FOLDER:
            raise FoldersUnavailable(
                f"The services folder {self.root} cannot be read. Give {self._account()} read access, or set SERVICES_ROOT."
            )
        if len(answer["names"]) >= MAX_NAMES:  # without the other folders, their services would be removed
            raise FoldersUnavailable(
                f"The services folder {self.root} has {MAX_NAMES} or more folders. Remove some, or set SERVICES_ROOT."
            )
        return [(name, kind) for name, kind in answer["names"]]

    async def _check(self, requests: list[dict[str, Any]]) -> list[Checked]:
        """Return the result of each request. Use the cached result if no file has changed since."""
        found = await self._cached(requests)
        missing = [number for number, checked in enumerate(found) if checked is None]
        timeouts = 0
        while missing:
            async with self._turn(), self._checkers.use(self._scope, self._deploy_user()) as process:
                while missing and not process.is_gone:
                    number = missing.pop(0)
                    checked = await process.check(requests[number])
                    found[number], timeouts = checked, 0 if checked.is_final else timeouts + 1
            if timeouts == MAX_TIMEOUTS:  # the cause is not a single folder
                raise FoldersUnavailable(NO_ANSWER)
        results = [result for result in found if result is not None]
        for request, result in zip(requests, results, strict=True):
            if result.is_final:
                self._store(_key(request), result)
        return results

    async def _cached(self, requests: list[dict[str, Any]]) -> list[Checked | None]:
        cached = [self._cache.get(_key(request)) for request in requests]
        if any(cached):
            async with self._reader() as line:
                for number, checked in enumerate(cached):
                    if checked is not None and not await _is_unchanged(line, checked):
                        cached[number] = None
        return cached

    def _store(self, key: str, checked: Checked) -> None:
        if _size(checked) <= CACHE_BYTES:
            self._cache[key] = checked

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[LineSocket]:
        async with self._turn(), reader(self._scope, self._deploy_user()) as line:
            yield line

    def _turn(self) -> asyncio.Semaphore:
        """Return the semaphore that limits the number of concurrent processes."""
        self._turns = self._turns or asyncio.Semaphore(PROCESSES)
        return self._turns

    def _deploy_user(self) -> DeployUser | None:
        try:
            return self._user()
        except (ConfigurationError, RunError, OSError) as error:
            raise FoldersUnavailable(str(error)) from error

    def _account(self) -> str:
        user = self._deploy_user()
        return f"the deploy user {user.name}" if user is not None else "the user that runs fastDeploy"


async def _is_unchanged(line: LineSocket, checked: Checked) -> bool:
    answer = await line.ask("verify", checked.used)
    if answer is None:
        raise FoldersUnavailable(NO_ANSWER)
    return bool(answer["same"])


def _problem_of_entry(name: str, kind: str, entries: list[tuple[str, str]]) -> FolderProblem | None:
    """Return a problem that can be detected without reading the folder, or None."""
    if not _NAME.fullmatch(name):
        reason = "the name must start with a letter or digit and have at most 100 letters, digits, dots, dashes or underscores."
    elif kind != FOLDER:
        reason = _LINKS.get(kind, "the deploy user cannot read it.")
    elif (twin := next(other for other, _ in entries if other.lower() == name.lower())) != name:
        reason = f"its name differs from {twin} only in case; rename one of them."
    else:
        return None
    return FolderProblem(_printable(name), "", reason)


def _printable(name: str) -> str:
    """Return a name as valid Unicode. Replace bytes that are not UTF-8 with question marks."""
    return name.encode("utf-8", "replace").decode("utf-8")


def _outcome(name: str, answer: dict[str, Any]) -> tuple[ServiceFolder | None, FolderProblem | None]:
    if "data" in answer:
        fault = answer["readme_fault"]
        problem = FolderProblem(name, "README.md", f"{fault}, so the README is not shown.") if fault else None
        return ServiceFolder(name=name, data=answer["data"], readme=answer["readme"]), problem
    if "reason" in answer:
        return None, FolderProblem(name, _short(answer["file"], 200), _short(answer["reason"], 2_000))
    return None, FolderProblem(name, "", f"{_too_complex(answer)}.")


def _too_complex(answer: dict[str, Any]) -> str:
    return f"it is too complicated: {answer['too_complicated']}"


def _short(text: str, limit: int) -> str:
    """Shorten a text from a service folder for display and remove control characters."""
    printable = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return printable if len(printable) <= limit else f"{printable[:limit]}…"


def _key(request: dict[str, Any]) -> str:
    return json.dumps({name: value for name, value in request.items() if name != "accepted"}, sort_keys=True)


def _size(checked: Checked) -> int:
    return len(json.dumps([checked.answer, checked.used]))
