"""Contract, service folders: broken folders are reported and do not affect other services."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.api import Api, answer
from tests.e2e.folders import shell, write_service
from tests.e2e.server import Server


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def config_is_a_folder(folder: Path) -> None:
    no_config(folder)
    (folder / "config.json").mkdir()


def config_is_a_link_to_itself(folder: Path) -> None:
    no_config(folder)
    (folder / "config.json").symlink_to("config.json")


def config_never_ends(folder: Path) -> None:
    no_config(folder)
    (folder / "config.json").symlink_to("/dev/zero")


def config_is_a_pipe(folder: Path) -> None:
    no_config(folder)
    os.mkfifo(folder / "config.json")


def config_is_huge(folder: Path) -> None:
    (folder / "config.json").write_text("[" + "1," * (1 << 20) + "1]")


def config_is_binary(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"\xff\xfe{\x00}")


def no_script(folder: Path) -> None:
    (folder / "deploy.sh").unlink()


def script_is_a_folder(folder: Path) -> None:
    no_script(folder)
    (folder / "deploy.sh").mkdir()


def script_is_elsewhere(folder: Path) -> None:
    no_script(folder)
    (folder / "deploy.sh").symlink_to("/nowhere/at/all")


CONFIGS: list[str | dict[str, Any]] = [
    "",
    "{",
    "nonsense",
    "[]",
    "5",
    '"text"',
    "null",
    "[" * 100_000,
    '{"a": ' * 100_000,
    '{"description": "\\ud800"}',
    {"description": 5},
    {"description": ["a"]},
    {"deploy_script": 5},
    {"deploy_script": ""},
    {"deploy_script": ["deploy.sh"]},
    {"deploy_script": "../deploy.sh"},
    {"deploy_script": "bin/../../other/deploy.sh"},
    {"deploy_script": "a\x00b"},
    {"steps": "A"},
    {"steps": {"name": "A"}},
    {"steps": ["A"]},
    {"steps": [{}]},
    {"steps": [{"name": 5}]},
    {"steps": [{"name": ""}]},
    {"steps": [{"name": "A", "description": 5}]},
    {"ansible_playbook": 5},
]
DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (no_config, "config.json"),
    (config_is_a_folder, "config.json"),
    (config_is_a_link_to_itself, "config.json"),
    (config_never_ends, "config.json"),
    (config_is_a_pipe, "config.json"),
    (config_is_huge, "config.json"),
    (config_is_binary, "config.json"),
    (no_script, "deploy.sh"),
    (script_is_a_folder, "deploy.sh"),
    (script_is_elsewhere, "config.json"),
]
SCRIPTS = ["missing.sh", "/nowhere/at/all.sh"]
PLAYBOOKS: list[tuple[str, str | None]] = [
    ("missing.yml", None),
    ("../../../../etc/passwd", None),
    ("/etc/passwd", None),
    ("site.yml", "- hosts: [\n"),
    ("site.yml", "just text"),
    ("site.yml", "- hosts: all\n  tasks: 5\n"),
    ("site.yml", "\x00\xff"),
]


def with_config(config: str | dict[str, Any], root: Path, name: str) -> None:
    write_service(root, name, script=shell("true"), config=config)


def with_damage(damage: Callable[[Path], None], root: Path, name: str) -> None:
    damage(write_service(root, name, script=shell("true")))


def with_playbook(playbook: str, content: str | None, root: Path, name: str) -> None:
    files = {} if content is None else {playbook: content}
    write_service(root, name, files=files, config={"ansible_playbook": playbook})


# Writes the folder of a case into the services folder.
CASES: dict[str, Callable[[Path, str], None]] = {
    **{f"config {config}": partial(with_config, config) for config in CONFIGS},
    **{f"script {script}": partial(with_config, {"deploy_script": script}) for script in SCRIPTS},
    **{f"damage {damage.__name__}": partial(with_damage, damage) for damage, _ in DAMAGES},
    **{f"playbook {playbook} {content}": partial(with_playbook, playbook, content) for playbook, content in PLAYBOOKS},
}


@dataclass
class Reported:
    """The responses after one sync of many broken folders. `names` maps cases to folders."""

    names: dict[str, str]
    synced: dict[str, Any]
    services: list[str]
    problems: list[dict[str, Any]]

    def check(self, case: str, file: str) -> None:
        """Check that the folder is reported and is not a service."""
        (problem,) = [problem for problem in self.synced["problems"] if problem["folder"] == self.names[case]]
        assert set(problem) == {"folder", "file", "reason"}
        assert problem["file"] == file
        assert len(problem["reason"]) > 10
        assert self.names[case] not in self.services
        assert problem in self.problems


@pytest.fixture(scope="module")
def reported(server: Server) -> Iterator[Reported]:
    """Sync the folders of all cases together, because a separate sync for each would take most of the time."""
    names = {case: server.new_name("broken") for case in CASES}
    try:
        for case, write in CASES.items():
            write(server.services_dir, names[case])
        synced = server.api.sync()
        services = [service["name"] for service in answer(server.api.admin.get("/services/"))]
        yield Reported(names, synced, services, answer(server.api.admin.get("/services/problems")))
    finally:
        for name in names.values():
            shutil.rmtree(server.services_dir / name)
        server.api.sync()


def check_problem(api: Api, name: str, file: str) -> None:
    """Check that the folder is reported and is not a service, and that everything else works."""
    synced = api.sync()
    (problem,) = [problem for problem in synced["problems"] if problem["folder"] == name]
    assert set(problem) == {"folder", "file", "reason"}
    assert problem["file"] == file
    assert len(problem["reason"]) > 10
    assert name not in [service["name"] for service in answer(api.admin.get("/services/"))]
    assert problem in answer(api.admin.get("/services/problems"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: str(config)[:40])
def test_an_invalid_config_is_reported(reported: Reported, config: dict[str, Any] | str) -> None:
    reported.check(f"config {config}", "config.json")


@pytest.mark.parametrize(("damage", "file"), DAMAGES)
def test_a_damaged_folder_is_reported(reported: Reported, damage: Callable[[Path], None], file: str) -> None:
    reported.check(f"damage {damage.__name__}", file)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_missing_script_is_reported(reported: Reported, script: str) -> None:
    reported.check(f"script {script}", script)


@pytest.mark.parametrize(("playbook", "content"), PLAYBOOKS)
def test_an_unreadable_playbook_is_reported(reported: Reported, playbook: str, content: str | None) -> None:
    reported.check(f"playbook {playbook} {content}", playbook)


@pytest.mark.parametrize("name", ["with space", "ümlaut", "x" * 150, "new\nline", "-dash", "a;b", "*", "{{ x }}"])
def test_an_invalid_name_is_reported(server: Server, api: Api, name: str) -> None:
    folder = write_service(server.services_dir, name, script=shell("true"))
    try:
        check_problem(api, name, "")
    finally:
        shutil.rmtree(folder)


def test_names_that_differ_only_by_case_are_reported(server: Server, api: Api) -> None:
    folders = [write_service(server.services_dir, name, script=shell("true")) for name in ("Twin", "twin")]
    try:
        check_problem(api, "twin", "")
        assert api.service("Twin")
    finally:
        for folder in folders:
            shutil.rmtree(folder)
        api.sync()


def test_hidden_folders_and_files_are_not_services(server: Server, api: Api) -> None:
    hidden = write_service(server.services_dir, ".git", script=shell("true"))
    file = server.services_dir / "README.md"
    file.write_text("no service")
    try:
        synced = api.sync()
        assert not {".git", "README.md"} & {problem["folder"] for problem in synced["problems"]}
        assert not {".git", "README.md"} & set(answer(api.admin.get("/services/names/")))
    finally:
        shutil.rmtree(hidden)
        file.unlink()


def test_a_service_whose_folder_breaks_stays_unchanged(server: Server, api: Api) -> None:
    name = server.add_service(shell("true"), config={"description": "good"})
    (server.services_dir / name / "config.json").write_text("{")
    synced = api.sync()
    assert name in [problem["folder"] for problem in synced["problems"]]
    assert name not in synced["removed"] + synced["changed"]
    assert api.service(name)["data"] == {"description": "good"}
    assert api.run(name)["state"] == "success"
