"""With hostile service folders, nothing outside the services folder is shown, and nothing exceeds its time limit."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.adapters.filesystem import FolderProblem, ServiceFolders
from deploy.adapters.runs.start import DeployUser
from deploy.adapters.runs.supervisor.file_access import MAX_ENTRIES
from deploy.adapters.service_folders.checker import CPU_SECONDS, MEMORY_BYTES, NICENESS
from deploy.adapters.service_folders.files import MAX_REQUESTS, FileError, Files, TooComplex
from deploy.adapters.service_folders.processes import Checkers, FolderScope
from deploy.domain.commands import ServiceFolder
from deploy.domain.service_config import ServiceConfig
from tests.e2e.server import temporary_folder
from tests.e2e.waiting import wait_until
from tests.reading import files_of

SECRET = "c0ffee-secret-of-the-server"
TIMEOUT = 60.0


class Site:
    """A services folder, a data folder next to it that contains a secret, and a folder outside."""

    def __init__(self, folder: Path, checkers: Checkers) -> None:
        self.root = folder / "services"
        self.data = folder / "data"
        self.outside = folder / "outside"
        for made in (self.root, self.data, self.outside):
            made.mkdir(parents=True)
        (self.data / "secret-key").write_text(SECRET)
        (folder / ".env").write_text(f"SECRET_KEY={SECRET}")
        for name in ("README.md", "config.json", "tasks.yml"):
            (self.outside / name).write_text(SECRET)
        self.folders = ServiceFolders(self.root, private=(self.data, folder / ".env"), checkers=checkers)

    def add(self, name: str = "shop", config: dict[str, Any] | None = None, **files: str) -> Path:
        """Create a service folder with a script. In file names, `__` stands for a slash and `_` for a dot."""
        folder = self.root / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config or {}))
        (folder / "deploy.sh").write_text("#!/bin/sh\n")
        for file, text in files.items():
            path = folder / file.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return folder

    async def read(self) -> tuple[list[ServiceFolder], list[FolderProblem]]:
        """Read all folders, and check that no result contains the secret."""
        found = await self.folders.read()
        assert SECRET not in repr(found)
        return found


@pytest.fixture
def site(tmp_path: Path, checkers: Checkers) -> Site:
    return Site(tmp_path / "site", checkers)


@pytest.fixture
def open_site(checkers: Checkers) -> Iterator[Site]:
    """Yield a site that other users can enter. They cannot enter pytest's own folders."""
    with temporary_folder() as folder:
        yield Site(folder / "site", checkers)


@pytest.fixture
def site_files(site: Site, reader: socket.socket) -> Files:
    """Return the files of the site as the checker reads them."""
    return files_of(reader, site.root, site.data, site.root.parent / ".env")


@contextlib.contextmanager
def exchanging(one: Path, other: Path) -> Iterator[None]:
    """Repeatedly exchange two paths in another process. Each exchange is atomic."""
    code = (
        "import ctypes, sys; exchange = ctypes.CDLL(None).renameat2; one, other = (path.encode() for path in sys.argv[1:])\n"
        "while True: assert exchange(-100, one, -100, other, 2) == 0"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(one), str(other)]) as process:
        try:
            yield
            assert process.poll() is None
        finally:
            process.kill()


def link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def hard_link_to_a_device(path: Path) -> None:
    os.mknod(path, 0o666 | 0o020000, os.makedev(1, 5))  # /dev/zero


def unix_socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{folder}/{path.name}")  # the path itself can be too long
    os.close(folder)


ELSEWHERE: dict[str, Callable[[Path], None]] = {
    "data-folder": link("../../data/secret-key"),
    "data-folder-absolute": lambda path: path.symlink_to(path.parents[2] / "data" / "secret-key"),
    "env-file": link("../../.env"),
    "outside": link("../../outside/README.md"),
    "etc": link("/etc/passwd"),
    "through-proc": link("/proc/self/cwd/etc/passwd"),
    "proc-root": link("/proc/self/root/etc/passwd"),
    "proc-environment": link("/proc/self/environ"),
    "device": link("/dev/zero"),
    "standard-input": link("/dev/stdin"),
    "nowhere": link("/nowhere/at/all"),
}
NOT_FILES: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "socket": unix_socket,
    "loop": lambda path: path.symlink_to(path.name),
}
if os.geteuid() == 0:
    NOT_FILES["device"] = hard_link_to_a_device


class TestFiles:
    """Targets that a folder can link to, file by file."""

    @pytest.mark.parametrize("how", ELSEWHERE)
    def test_links_to_outside_are_rejected(self, site: Site, site_files: Files, how: str) -> None:
        path = site.add() / "link"
        ELSEWHERE[how](path)
        with pytest.raises(FileError, match=r"outside|own files"):
            site_files.read(str(path))
        with pytest.raises(FileError, match=r"outside|own files"):
            site_files.read_beginning(str(path), 100)

    @pytest.mark.parametrize("how", NOT_FILES)
    def test_only_regular_files_are_read(self, site: Site, site_files: Files, how: str, tmp_path: Path) -> None:
        path = site.add() / "thing"
        NOT_FILES[how](path)
        with pytest.raises(FileError):
            site_files.read(str(path))

    @pytest.mark.parametrize("target", ["../../data", "../../outside", "/etc", "../.."])
    def test_linked_folders_do_not_lead_outside(self, site: Site, site_files: Files, target: str) -> None:
        folder = site.add()
        (folder / "roles").symlink_to(target)
        for name in ("secret-key", "README.md", "passwd", "data/secret-key", ".env"):
            with pytest.raises(FileError):
                site_files.read(str(folder / "roles" / name))

    def test_the_existence_of_outside_files_is_not_revealed(self, site: Site, site_files: Files) -> None:
        folder = site.add()
        (folder / "there").symlink_to("/etc/passwd")
        (folder / "missing").symlink_to("/etc/no-such-file")
        assert site_files.kind(str(folder / "there")) == site_files.kind(str(folder / "missing")) == "outside"

    def test_a_playbook_next_to_the_services_allows_only_its_own_folder(self, site: Site, site_files: Files) -> None:
        beside = site.root.parent / "playbooks"
        (beside / "roles").mkdir(parents=True)
        (beside / "site.yml").write_text("[]")
        (beside / "roles" / "main.yml").write_text("[]")
        with pytest.raises(FileError, match="outside the services folder"):
            site_files.read(str(beside / "site.yml"))
        site_files.look_beside(str(beside / "site.yml"), admit=True)
        assert site_files.read(str(beside / "roles" / "main.yml")) == b"[]"
        for path in (site.outside / "README.md", site.data / "secret-key"):
            with pytest.raises(FileError, match=r"outside|own files"):
                site_files.read(str(path))
        site_files.begin()
        with pytest.raises(FileError, match="outside the services folder"):
            site_files.read(str(beside / "site.yml"))

    def test_a_playbook_in_the_parent_folder_allows_neither_data_nor_settings(
        self, site: Site, site_files: Files
    ) -> None:
        (site.root.parent / "site.yml").write_text("[]")
        site_files.look_beside(str(site.root.parent / "site.yml"), admit=True)
        (site.data / "postgres").mkdir()
        (site.data / "postgres" / "words").write_text(SECRET)
        for path in (site.data / "secret-key", site.data / "postgres" / "words", site.root.parent / ".env"):
            with pytest.raises(FileError, match="fastDeploy's own files"):
                site_files.read(str(path))
            with pytest.raises(FileError, match="fastDeploy's own files"):
                site_files.look_beside(str(path), admit=True)
        assert site_files.kind(str(site.data)) == site_files.kind(str(site.data / "postgres")) == "private"
        with pytest.raises(FileError, match="outside the services folder"):
            site_files.look_beside(str(site.root.parent.parent / "other.yml"))

    def test_links_in_the_services_folder_do_not_lead_to_an_allowed_folder(
        self, site: Site, site_files: Files
    ) -> None:
        (site.outside / "site.yml").write_text("[]")
        (site.outside / ".hidden").write_text(SECRET)
        link = site.add() / "README.md"
        link.symlink_to(site.outside / "README.md")
        site_files.look_beside(str(site.outside / "site.yml"), admit=True)
        for path in (link, site.outside / ".hidden"):
            with pytest.raises(FileError, match="outside the services folder"):
                site_files.read(str(path))

    def test_a_link_that_is_exchanged_during_a_read_shows_nothing(self, site: Site, site_files: Files) -> None:
        folder = site.add("shop", good="good")
        (site.outside / "good").write_text(SECRET)
        (site.root / "to-shop").symlink_to("shop")
        (site.root / "to-outside").symlink_to("../outside")
        with exchanging(site.root / "to-shop", site.root / "to-outside"):
            found = [self.content(site_files, site.root / "to-shop" / "good") for _ in range(2_000)]
        assert set(found) <= {"good", "it is outside the services folder"}
        assert {"good", "it is outside the services folder"} <= set(found), "the links were not exchanged"
        assert self.content(site_files, folder / "good") == "good"

    @staticmethod
    def content(files: Files, path: Path) -> str:
        """Return the content of a file, or the reason access to it is denied."""
        try:
            return files.read(str(path)).decode()
        except FileError as error:
            return str(error)

    def test_hard_links_to_server_files_are_rejected(self, site: Site, site_files: Files) -> None:
        folder = site.add()
        os.link(site.data / "secret-key", folder / "README.md")
        os.link(site.root.parent / ".env", folder / "env")
        for name in ("README.md", "env"):
            with pytest.raises(FileError, match="fastDeploy"):
                site_files.read(str(folder / name))

    def test_a_hidden_folder_next_to_the_services_is_not_allowed(self, site: Site, site_files: Files) -> None:
        hidden = site.root.parent / ".ssh"
        hidden.mkdir()
        (hidden / "site.yml").write_text("[]")
        with pytest.raises(FileError, match="outside the services folder"):
            site_files.look_beside(str(hidden / "site.yml"), admit=True)

    def test_a_file_that_is_too_large_is_not_read(self, site: Site, site_files: Files) -> None:
        path = site.add() / "large"
        with path.open("wb") as file:
            file.truncate(1 << 40)
        with pytest.raises(FileError, match="larger than 1 MiB"):
            site_files.read(str(path))
        assert site_files.read_beginning(str(path), 10) == bytes(10)

    def test_operations_and_bytes_are_limited_per_folder(self, site: Site, site_files: Files) -> None:
        path = site.add() / "file"
        path.write_bytes(bytes(1 << 20))
        site_files.begin()
        for _ in range(32):
            site_files.read(str(path))
        with pytest.raises(TooComplex, match="larger than 32 MiB"):
            site_files.read(str(path))
        site_files.begin()
        for _ in range(MAX_REQUESTS - 1):
            site_files.kind(str(path))
        with pytest.raises(TooComplex, match="file operations"):
            site_files.kind(str(path))

    def test_a_folder_has_a_limited_number_of_entries(self, site: Site, site_files: Files) -> None:
        folder = site.add()
        for number in range(MAX_ENTRIES):
            (folder / f"{number}").touch()
        assert len(site_files.entries(str(folder))) == MAX_ENTRIES

    def test_a_path_that_is_too_long_is_not_requested(self, site: Site, reader: socket.socket) -> None:
        """The server keeps each request until the folder has been checked."""
        asked: list[list[Any]] = []
        files = Files(reader, lambda request, _: asked.append(request))
        files.limit(FolderScope(site.root).limits())
        for path in ("x" * 4096, str(site.root / ("x/" * 500_000))):
            assert (files.kind(path), files.entries(path), files.exists(path)) == ("missing", [], False)
            for read in (files.read, files.real_path, files.look_beside):
                with pytest.raises(FileError, match="does not exist"):
                    read(path)
        assert asked == []
        files.begin()
        for _ in range(MAX_REQUESTS - 1):
            files.kind("x" * 4096)
        with pytest.raises(TooComplex, match="file operations"):
            files.kind("x" * 4096)

    @pytest.mark.parametrize("path", ["", "\x00", "a\x00b", "x" * 5000, "\ud800"])
    def test_invalid_paths_are_rejected(self, site_files: Files, path: str) -> None:
        assert site_files.kind(path) in {"missing", "outside"}


class TestFolders:
    """The same rules, as seen in the problems reported for a folder."""

    @pytest.mark.parametrize("how", ELSEWHERE)
    async def test_a_readme_that_links_outside_is_not_shown(self, site: Site, how: str) -> None:
        ELSEWHERE[how](site.add() / "README.md")
        (folder,), (problem,) = await site.read()
        assert folder.readme is None
        assert (problem.file, "README is not shown" in problem.reason) == ("README.md", True)

    @pytest.mark.parametrize("how", [*ELSEWHERE, *NOT_FILES])
    async def test_a_config_that_is_not_a_regular_file_is_reported(self, site: Site, how: str) -> None:
        config = site.add() / "config.json"
        config.unlink()
        (ELSEWHERE | NOT_FILES)[how](config)
        found, (problem,) = await site.read()
        assert (found, problem.file) == ([], "config.json")

    @pytest.mark.parametrize("how", ["data-folder", "outside", "etc"])
    async def test_a_script_that_links_outside_is_reported(self, site: Site, how: str) -> None:
        script = site.add() / "deploy.sh"
        script.unlink()
        ELSEWHERE[how](script)
        found, (problem,) = await site.read()
        assert found == []
        assert "own files" in problem.reason or "outside" in problem.reason

    async def test_a_playbook_next_to_the_services_can_be_named_but_not_linked(self, site: Site) -> None:
        (site.outside / "site.yml").write_text("- hosts: all\n  tasks: [{name: Only, ping: }]\n")
        for name, playbook in {"named": "../../outside/site.yml", "linked": "site.yml"}.items():
            (site.add(name, {"ansible_playbook": playbook}) / "deploy.sh").unlink()
        (site.root / "linked" / "site.yml").symlink_to("../../outside/site.yml")
        found, (problem,) = await site.read()
        assert [folder.name for folder in found] == ["named"]
        assert problem.reason == "the playbook site.yml: it is outside the services folder"

    async def test_a_service_folder_that_links_outside_is_reported(self, site: Site) -> None:
        (site.root / "data").symlink_to("../data")
        (site.root / "env").symlink_to("../outside")
        found, problems = await site.read()
        assert found == []
        assert [problem.reason for problem in problems] == [
            "it is a symbolic link to fastDeploy's own files.",
            "it is a symbolic link to a location outside the services folder.",
        ]

    async def test_tasks_and_roles_that_link_to_server_files_are_rejected(self, site: Site) -> None:
        playbook = "- hosts: all\n  tasks: [{import_tasks: more.yml}]\n"
        folder = site.add(config={"ansible_playbook": "site.yml"}, site_yml=playbook)
        (folder / "more.yml").symlink_to("../../data/secret-key")
        (folder / "deploy.sh").unlink()
        found, (problem,) = await site.read()
        assert (found, problem.reason) == ([], "it is one of fastDeploy's own files")

    async def test_tasks_elsewhere_are_left_to_the_run(self, site: Site) -> None:
        playbook = "- hosts: all\n  roles: [web]\n  tasks: [{import_tasks: more.yml}, {name: Last, ping: }]\n"
        folder = site.add(config={"ansible_playbook": "site.yml"}, site_yml=playbook)
        (folder / "more.yml").symlink_to("../../outside/tasks.yml")
        (folder / "roles").symlink_to("../../outside")
        (folder / "deploy.sh").unlink()
        (service,), problems = await site.read()
        assert problems == []
        assert (await site.folders.survey("shop", ServiceConfig.from_json(service.data))).steps == (
            "Gathering Facts",
            "Last",
        )

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
    async def test_files_are_read_as_the_deploy_user(self, open_site: Site) -> None:
        site = open_site
        folders = ServiceFolders(site.root, user=lambda: DeployUser.named("nobody"))
        readable, unreadable = site.add("readable", README_md="# Hi"), site.add("unreadable")
        (unreadable / "config.json").chmod(0o600)
        (site.add("closed")).chmod(0o700)
        (readable / "secret").write_text(SECRET)
        (readable / "secret").chmod(0o600)
        found, problems = await folders.read()
        assert [(folder.name, folder.readme) for folder in found] == [("readable", "# Hi")]
        reason = "the deploy user cannot read it."
        assert problems == [
            FolderProblem("closed", "config.json", reason),
            FolderProblem("unreadable", "config.json", reason),
        ]
        site.root.chmod(0o700)
        _, (problem,) = await folders.read()
        assert "cannot be read. Give the deploy user nobody read access" in problem.reason


def nested(keyword: str, depth: int = 12, width: int = 8) -> dict[str, Any]:
    """Return a small schema whose parts refer to each other. It expands to `width` to the power of `depth` parts."""
    parts: dict[str, Any] = {f"a{depth}": {"properties": {"x": {"type": "string"}}}}
    for level in range(depth):
        references = [{"$ref": f"#/$defs/a{level + 1}"}] * width
        wrapped = {f"p{number}": part for number, part in enumerate(references)}
        parts[f"a{level}"] = {keyword: wrapped if keyword in {"properties", "dependentSchemas"} else references}
    return {"type": "object", "allOf": [{"$ref": "#/$defs/a0"}], "$defs": parts}


def conditions(depth: int = 25) -> dict[str, Any]:
    """Return nested conditions with two references in each."""
    parts: dict[str, Any] = {f"a{depth}": {}}
    for level in range(depth):
        next_part = {"$ref": f"#/$defs/a{level + 1}"}
        parts[f"a{level}"] = {"if": next_part, "then": next_part, "else": next_part}
    return {"type": "object", "if": {"$ref": "#/$defs/a0"}, "$defs": parts}


def aliases(inner: str, outer: str, depth: int = 8) -> str:
    """Return a playbook of aliases of aliases, nine in each."""
    lines = [f"    a0: &a0 [{inner}]"]
    lines += [f"    a{n}: &a{n} [{', '.join([outer.format(f'*a{n - 1}')] * 9)}]" for n in range(1, depth + 1)]
    return "- hosts: all\n  vars:\n" + "\n".join(lines) + f"\n  tasks: *a{depth}\n"


def merges(depth: int = 30) -> str:
    """Return merge keys of merge keys. Each one doubles the previous one."""
    lines = ["    a0: &a0 {x: 1}"]
    lines += [f"    a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, depth + 1)]
    return "- hosts: all\n  vars:\n" + "\n".join(lines) + "\n"


SCHEMA_BOMBS = {
    **{f"schema-{word}": nested(word) for word in ("allOf", "anyOf", "oneOf", "prefixItems", "properties")},
    "schema-dependent": nested("dependentSchemas"),
    "schema-conditions": conditions(),
    "schema-chain": {
        "type": "object",
        "$ref": "#/$defs/a0",
        "$defs": {"a5000": {}, **{f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(5000)}},
    },
}
PLAYBOOK_BOMBS = {
    "yaml-blocks": aliases("{name: x, debug: {}}", "{{block: {}}}"),
    "yaml-rescue": aliases("{name: x, debug: {}}", "{{block: [], always: {}}}"),
    "yaml-merges": merges(),
    "yaml-many-tasks": "- hosts: all\n  tasks: &t\n" + "  - {ping: }\n" * 60_000,
    "yaml-deep": "[" * 400_000,
    "yaml-plays": "- &p {hosts: all}\n" + "- *p\n" * 20_000,
    "yaml-imports": "- hosts: all\n  tasks:\n" + "  - import_tasks: more.yml\n" * 200,
}
TOO_MANY = "it is too complicated: its playbook has more than 20000 tasks."
# The reports for bombs that are detected by counting. The other bombs exceed a kernel limit.
COUNTED = dict.fromkeys(("yaml-blocks", "yaml-rescue", "yaml-plays"), TOO_MANY)
MORE = "- import_tasks: more2.yml\n" * 200
MORE2 = "- {name: x, ping: }\n" * 200


class TestBombs:
    @pytest.mark.parametrize("name", SCHEMA_BOMBS)
    async def test_schema_bombs_are_reported(self, site: Site, name: str) -> None:
        """Their parts are counted before a limit of the kernel applies."""
        site.add("bomb", {"inputs": SCHEMA_BOMBS[name]})
        site.add("shop")
        assert await self.check(site) == "inputs: the schema is too complicated; use fewer references."

    # In the first tier, e2e/test_hostile_folders.py::test_bombs_are_reported_and_block_nothing reads merge keys, and
    # test_long_names_of_many_tasks_are_reported_when_read reads many tasks.
    @pytest.mark.parametrize(
        "name",
        [
            pytest.param(name, marks=pytest.mark.slow if name in {"yaml-merges", "yaml-many-tasks"} else ())
            for name in PLAYBOOK_BOMBS
        ],
    )
    async def test_playbook_bombs_are_reported(self, site: Site, name: str) -> None:
        folder = site.add("bomb", {"ansible_playbook": "site.yml"}, more_yml=MORE, more2_yml=MORE2)
        (folder / "deploy.sh").unlink()
        (folder / "site.yml").write_text(PLAYBOOK_BOMBS[name])
        site.add("shop")
        assert COUNTED.get(name, "") in await self.check(site)

    async def test_playbooks_that_need_too_much_memory_are_reported(self, site: Site) -> None:
        """The names of these tasks take half a gigabyte, in less time than a check is allowed to take."""
        playbook = "- hosts: all\n  roles: [web]\n"
        tasks = f"- &t {{name: {'x' * 1_000_000}, ping: }}\n" + "- *t\n" * 700
        folder = site.add(
            "bomb", {"ansible_playbook": "site.yml"}, site_yml=playbook, roles__web__tasks__main_yml=tasks
        )
        (folder / "deploy.sh").unlink()
        site.add("shop")
        assert await self.check(site) == "it is too complicated: checking it takes more than 512 MiB of memory."

    async def test_long_names_of_many_tasks_are_reported_when_read(self, site: Site) -> None:
        """Such a folder can be used as long as its playbook is not read."""
        name = "x" * 1_000
        playbook = f"- hosts: all\n  tasks:\n  - &t {{name: {name}, ping: }}\n" + "  - *t\n" * 5_000
        folder = site.add("bomb", {"ansible_playbook": "site.yml"}, site_yml=playbook)
        (folder / "deploy.sh").unlink()
        found = await site.folders.survey("bomb", ServiceConfig(ansible_playbook="site.yml"))
        assert found.fault == "it is too complicated: the names of its tasks and hosts are larger than 4 MiB in total"

    async def test_fault_messages_have_a_readable_length(self, site: Site) -> None:
        playbook = f"- hosts: *{'x' * 500_000}\n"
        (site.add("bomb", {"ansible_playbook": "site.yml"}, site_yml=playbook) / "deploy.sh").unlink()
        found = await site.folders.survey(
            "bomb", ServiceConfig(ansible_playbook="site.yml", ansible_inventory="y" * 500_000)
        )
        assert 2_000 <= len(found.fault) <= 2_001

    async def test_circular_aliases_are_reported(self, site: Site) -> None:
        folder = site.add("bomb", {"ansible_playbook": "site.yml"})
        (folder / "site.yml").write_text("- &p {hosts: all, tasks: &t [{block: *t}]}\n")
        site.add("shop")
        await self.check(site)

    async def check(self, site: Site) -> str:
        """Check that the bomb is reported, that the other folder is usable, and that the result is cached.

        Return the report.
        """
        found, (problem,) = await site.read()
        assert [folder.name for folder in found] == ["shop"]
        assert problem.folder == "bomb"
        assert any(word in problem.reason for word in ("complicated", "nested too deeply", "larger than", "too long"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.executable", "/nowhere/python")  # no checker can be started
            assert await site.read() == (found, [problem])
        return problem.reason


class TestCache:
    async def test_every_change_invalidates_the_cache(self, site: Site) -> None:
        playbook = "- hosts: all\n  tasks: [{name: One, ping: }, {import_tasks: more.yml}]\n"
        folder = site.add(config={"ansible_playbook": "site.yml"}, site_yml=playbook)
        (folder / "deploy.sh").unlink()

        async def steps() -> tuple[str, ...]:
            return (await site.folders.survey("shop", ServiceConfig(ansible_playbook="site.yml"))).steps[1:]

        assert await steps() == ("One",)
        (folder / "more.yml").write_text("- {name: Two, ping: }\n")
        assert await steps() == ("One", "Two")
        (folder / "more.yml").write_text("- {name: Six, ping: }\n")
        assert await steps() == ("One", "Six")
        (folder / "other.yml").write_text("- hosts: all\n  tasks: [{name: Other, ping: }]\n")
        assert (await site.folders.survey("shop", ServiceConfig(ansible_playbook="other.yml"))).steps[1:] == ("Other",)
        (folder / "more.yml").unlink()
        (folder / "more.yml").symlink_to("/etc/passwd")
        assert await steps() == ("One",)
        (folder / "deploy.sh").write_text("#!/bin/sh\n")
        assert (await site.folders.survey("shop", ServiceConfig(ansible_playbook="site.yml"))).is_script

    async def test_concurrent_readers_share_a_read(self, site: Site) -> None:
        for number in range(3):
            site.add(f"shop{number}")
        results = await asyncio.gather(*(site.folders.read() for _ in range(20)))
        assert [folder.name for folder in results[0][0]] == ["shop0", "shop1", "shop2"]
        assert all(result is results[0] for result in results)

    async def test_readers_during_a_read_wait_for_it_and_share_the_next(self, site: Site) -> None:
        site.add("shop")
        reads = []
        for _ in range(5):
            reads.append(asyncio.ensure_future(site.folders.read()))
            for _ in range(5):
                await asyncio.sleep(0)
        first, *others = await asyncio.gather(*reads)
        assert first is not others[0]
        assert all(result is others[0] for result in others)

    async def test_a_read_sees_the_state_at_its_request(self, site: Site) -> None:
        first = asyncio.ensure_future(site.folders.read())
        await asyncio.sleep(0)
        site.add("shop")
        found, _ = await site.folders.read()
        assert [folder.name for folder in found] == ["shop"]
        await first


class TestProcesses:
    @pytest.fixture
    def checkers(self) -> Checkers:
        """Start new processes for each test."""
        return Checkers()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
    async def test_both_are_the_deploy_user_without_further_rights(self, open_site: Site) -> None:
        user = DeployUser.named("nobody")
        open_site.add()
        before = children()
        async with Checkers().use(FolderScope(open_site.root), user) as process:
            assert "data" in (await process.check({"name": "shop", "accepted": None})).answer
            pids = children() - before
            assert len(pids) == 2
            for pid in pids:
                status = dict(line.split(":\t", 1) for line in process_file(pid, "status").splitlines())
                assert status["Uid"].split() == [str(user.uid)] * 4
                assert status["Gid"].split() == [str(user.gid)] * 4
                assert status["Groups"].split() == [str(group) for group in sorted(user.groups)]
                assert os.stat(f"/proc/{pid}/environ").st_uid == 0, "other processes of the deploy user can trace it"
                if "checker" in process_file(pid, "cmdline"):
                    assert status["NoNewPrivs"] == "1"

    async def test_a_checker_has_limits_for_each_folder(self, site: Site) -> None:
        site.add("shop")
        heavy = "- hosts: all\n  tasks:\n" + "  - {name: One, ping: }\n" * 10_000
        (site.add("heavy", {"ansible_playbook": "site.yml"}, site_yml=heavy) / "deploy.sh").unlink()
        before = children()
        async with Checkers().use(FolderScope(site.root), None) as process:
            await process.check({"name": "shop", "accepted": None})
            (pid,) = [pid for pid in children() - before if "import checker" in process_file(pid, "cmdline")]
            while cpu_seconds(pid) < 2:
                assert "data" in (await process.check({"name": "heavy", "accepted": None})).answer
            assert "data" in (await process.check({"name": "shop", "accepted": None})).answer
            left = resource.prlimit(pid, resource.RLIMIT_CPU)[0] - cpu_seconds(pid)
            assert CPU_SECONDS - 0.5 < left <= CPU_SECONDS + 1
            assert resource.prlimit(pid, resource.RLIMIT_AS) == (MEMORY_BYTES, MEMORY_BYTES)
            assert resource.prlimit(pid, resource.RLIMIT_CORE) == (0, 0)
            assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0) + NICENESS

    async def test_an_idle_checker_is_used_again_until_its_time_is_over(self, site: Site) -> None:
        folders, before = ServiceFolders(site.root, private=(site.data,), checkers=Checkers(TIMEOUT)), children()
        kept = set()
        for name in ("shop", "blog", "wiki"):
            site.add(name)
            found, problems = await folders.read()
            assert (name in [folder.name for folder in found], problems) == (True, [])
            kept |= children() - before
        assert len(kept) == 2
        folders.keep_processes(0.1)
        for name in ("news", "mail"):
            site.add(name)
            assert name in [folder.name for folder in (await folders.read())[0]]
            await asyncio.to_thread(wait_until, lambda: not children() - before, "the end of the idle checker")
        await folders.close()
        assert children() <= before

    async def test_a_checker_that_started_early_is_used_or_ended(self, site: Site) -> None:
        checkers, before = Checkers(TIMEOUT), children()
        folders = ServiceFolders(site.root, private=(site.data,), checkers=checkers)
        checkers.start_early(None)
        early = children() - before
        site.add("shop")
        assert [folder.name for folder in (await folders.read())[0]] == ["shop"]
        assert children() - before == early
        await folders.close()
        checkers.start_early(None)
        checkers.end_unused()
        assert children() <= before

    async def test_a_checker_that_died_before_its_first_use_is_replaced(self, site: Site) -> None:
        checkers, before = Checkers(), children()
        checkers.start_early(None)
        for pid in children() - before:
            os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: not children() - before, "the end of the early checker")
        site.add("shop")
        folders = ServiceFolders(site.root, private=(site.data,), checkers=checkers)
        assert [folder.name for folder in (await folders.read())[0]] == ["shop"]
        assert children() <= before

    async def test_a_checker_is_not_used_again_if_it_exceeded_a_limit_or_died(self, site: Site) -> None:
        folders, before = ServiceFolders(site.root, private=(site.data,), checkers=Checkers(TIMEOUT)), children()
        site.add("bomb", {"ansible_playbook": "site.yml"}, site_yml=merges())
        await folders.read()
        assert children() <= before
        site.add("shop")
        await folders.read()
        for pid in children() - before:
            os.kill(pid, signal.SIGKILL)
        site.add("blog")
        assert {folder.name for folder in (await folders.read())[0]} == {"shop", "blog"}
        await folders.close()

    async def test_a_checker_that_is_used_again_does_not_know_earlier_limits(self, site: Site) -> None:
        """The files that belong to the server can change between two uses."""
        folders = ServiceFolders(site.root, private=(site.data,), checkers=Checkers(TIMEOUT))
        site.add("shop")
        await folders.read()
        secret = site.data / "new-key"
        secret.write_text("secret")
        (site.add("blog") / "README.md").hardlink_to(secret)
        found, problems = await folders.read()
        assert [problem.folder for problem in problems] == ["blog"]
        assert all(folder.readme is None for folder in found)
        await folders.close()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
    async def test_the_deploy_user_does_not_need_to_read_the_packages(
        self, open_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        found_in = [path for path in sys.path if path]
        for number, path in enumerate(found_in):
            (closed / f"{number}").symlink_to(path)
        monkeypatch.setattr(sys, "path", [str(closed / f"{number}") for number in range(len(found_in))])
        inputs = {
            "type": "object",
            "properties": {"x": {"type": "string", "format": "email", "pattern": "é", "default": "é@b"}},
        }
        open_site.add(
            config={"ansible_playbook": "site.yml", "inputs": inputs}, site_yml="- hosts: all\n  tasks: [{ping: }]\n"
        )
        found, problems = await ServiceFolders(open_site.root, user=lambda: DeployUser.named("nobody")).read()
        assert ([folder.name for folder in found], problems) == (["shop"], [])

    async def test_a_reader_stopped_by_a_script_is_abandoned(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Scripts run as the same user as the reader and can send it signals."""
        monkeypatch.setattr("deploy.adapters.service_folders.processes.ANSWER_TIMEOUT", 0.2)
        for number in range(5):
            site.add(f"shop{number}")
        stopping = asyncio.create_task(asyncio.to_thread(stop_readers, children()))
        found, (problem,) = await asyncio.wait_for(site.folders.read(), TIMEOUT)
        stopped = await stopping
        assert (found, problem.folder) == ([], "")
        assert "cannot be read" in problem.reason or "does not respond" in problem.reason
        await asyncio.to_thread(wait_until, lambda: not children() & stopped, "the end of the stopped reader")

    async def test_a_check_that_takes_too_long_is_abandoned_and_repeated(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        site.add("shop")
        with monkeypatch.context() as patch, stopped_checkers():
            patch.setattr("deploy.adapters.service_folders.processes.ANSWER_TIMEOUT", 2)
            late = "it is too complicated: checking it takes longer than 2 seconds."
            assert await asyncio.wait_for(site.read(), TIMEOUT) == ([], [FolderProblem("shop", "", late)])
            for name in ("blog", "wiki", "news"):
                site.add(name)
            # After two failures in a row, do not try the others.
            found, (problem,) = await asyncio.wait_for(site.read(), TIMEOUT)
            assert (found, problem.folder, "does not respond" in problem.reason) == ([], "", True)
        found, problems = await site.read()
        assert ([folder.name for folder in found], problems) == (["blog", "news", "shop", "wiki"], [])

    async def test_a_cancelled_read_leaves_no_process_behind(self, site: Site) -> None:
        folder = site.add("bomb", {"ansible_playbook": "site.yml"})
        (folder / "site.yml").write_text(merges())
        before, tasks_before = children(), asyncio.all_tasks()
        task = asyncio.ensure_future(site.folders.read())
        await asyncio.to_thread(wait_until, lambda: len(children() - before) == 2, "the checker at work")
        for pid in children() - before:  # so that they only end if they are killed
            os.kill(pid, signal.SIGSTOP)
        for pending in asyncio.all_tasks() - tasks_before:
            pending.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(wait_until, lambda: children() <= before, "the end of all processes")


@contextlib.contextmanager
def stopped_checkers() -> Iterator[None]:
    """Stop each new checker while it starts."""
    ended, before = threading.Event(), children()

    def stop() -> None:
        while not ended.wait(0.01):
            for pid in children() - before:
                if "import checker" in process_file(pid, "cmdline"):
                    os.kill(pid, signal.SIGSTOP)

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    ticks = process_file(pid, "stat").rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def stop_readers(before: set[int]) -> set[int]:
    """Send SIGSTOP to the first new child that reads service folders, as soon as it appears."""

    def found() -> set[int]:
        return {pid for pid in children() - before if "supervisor.read_files" in process_file(pid, "cmdline")}

    readers = wait_until(found, "a reader")
    for pid in readers:
        os.kill(pid, signal.SIGSTOP)
    return readers


def children() -> set[int]:
    """Return the live child processes of this process."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the thread has exited
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return {pid for pid in found if process_file(pid, "stat").rpartition(")")[2].split()[:1] not in ([], ["Z"])}


def process_file(pid: int, name: str) -> str:
    """Return the content of a process's file in /proc, or an empty result if the process is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
