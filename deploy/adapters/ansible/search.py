"""Find roles and imported playbooks in the folders that Ansible searches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from posixpath import basename, join

from deploy.adapters.ansible.command import AnsibleSettings
from deploy.adapters.service_folders.files import Files

_QUALIFIED = re.compile(r"(?P<namespace>[a-z_]\w*)\.(?P<collection>[a-z_]\w*)\.(?P<name>\w[\w.]*)")


@dataclass(frozen=True, slots=True)
class Found:
    """A role: the name in front of its tasks' names, and its folder."""

    name: str
    folder: str


@dataclass(frozen=True, slots=True)
class Search:
    """The configured folders of roles and collections. Paths that Ansible would expand first are left out."""

    files: Files
    roles: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()

    @classmethod
    def of(cls, files: Files, folder: str, settings: AnsibleSettings) -> Search:
        """Return the folders in the settings of an `ansible.cfg` in `folder`."""
        return cls(files, tuple(_paths(folder, settings.roles_path)), tuple(_paths(folder, settings.collections_path)))

    def role(self, name: str, playbook_folder: str, beside: str | None) -> Found | None:
        """Return a role. `beside` is the folder of the role that names it."""
        if (match := _QUALIFIED.fullmatch(name)) is not None:
            folder = self._in_collections(match, "roles", match["name"].replace(".", "/"), playbook_folder)
            if folder is not None:
                return Found(name, folder)
        bases = [join(playbook_folder, "roles"), *self.roles, *([beside] if beside else []), playbook_folder]
        candidates = (join(base, name) for base in bases)
        folder = next((self.files.real_path(path) for path in candidates if self.files.is_folder(path)), None)
        return None if folder is None else Found(basename(folder), folder)

    def playbook(self, name: str, folder: str) -> str | None:
        """Return an imported playbook, which is a path relative to `folder` or in a collection."""
        if self.files.is_file(path := join(folder, name)):
            return path
        if (match := _QUALIFIED.fullmatch(name)) is None:
            return None
        stem = match["name"].replace(".", "/")
        endings = (f"{stem}{ending}" for ending in ("", ".yml", ".yaml"))
        found = (self._in_collections(match, "playbooks", file, folder, is_folder=False) for file in endings)
        return next((file for file in found if file is not None), None)

    def _in_collections(
        self, match: re.Match[str], kind: str, name: str, playbook_folder: str, *, is_folder: bool = True
    ) -> str | None:
        inner = join("ansible_collections", match["namespace"], match["collection"], kind, name)
        paths = (join(base, inner) for base in (join(playbook_folder, "collections"), *self.collections))
        exists = self.files.is_folder if is_folder else self.files.is_file
        return next((self.files.real_path(path) for path in paths if exists(path)), None)


def _paths(folder: str, configured: str) -> Iterator[str]:
    for path in configured.split(":"):
        if path.strip() and not any(mark in path for mark in "~${"):
            yield join(folder, path.strip())
