"""Check which service folders are usable and which problems are reported for the others."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from deploy.adapters.filesystem import ServiceFolders
from deploy.adapters.runs.start import DeployUser
from deploy.adapters.runs.supervisor.file_access import Access
from deploy.adapters.service_folders.processes import Checkers
from deploy.domain.commands import ServiceFolder
from deploy.domain.model import Service

Config = dict[str, Any] | str | bytes
PLAYBOOK = """
- hosts: all
  tasks:
    - name: Install
      ansible.builtin.debug: {}
    - name: Restart
      ansible.builtin.debug: {}
"""
NOT_USABLE: list[tuple[Config, str]] = [
    ("", "config.json: it is not valid JSON"),
    ("{", "config.json: it is not valid JSON"),
    (b"\xff\xfe", "config.json: it is not valid JSON"),
    ("[]", "config.json: it must be a JSON object"),
    ('"text"', "config.json: it must be a JSON object"),
    ('{"own": NaN}', "config.json: it is not valid JSON"),
    ('{"own": 1e999}', "config.json: it is not valid JSON"),
    ('{"own": ' + "[" * 100 + "]" * 100 + "}", "config.json: it is nested too deeply"),
    ('{"own": ' + "[" * 100_000 + "]" * 100_000 + "}", "config.json: it is not valid JSON"),
    ('{"own": "' + "x" * (1 << 20) + '"}', "config.json: it is larger than 1 MiB"),
    ({"description": 3}, "config.json: description: "),
    ({"description": "x" * 10_001}, "config.json: description: "),
    ({"deploy_script": ""}, "config.json: deploy_script: "),
    ({"deploy_script": ["deploy.sh"]}, "config.json: deploy_script: "),
    ({"deploy_script": "a\x00b"}, "config.json: deploy_script: must not contain NUL characters"),
    ({"deploy_script": "../deploy.sh"}, "config.json: deploy_script: '../deploy.sh' is outside the folder"),
    ({"deploy_script": "gone.sh"}, "gone.sh: the deploy script does not exist."),
    ({"deploy_script": "."}, ".: the deploy script is a folder"),
    ({"steps": "Build"}, "config.json: steps: "),
    ({"steps": [{"name": ""}]}, "config.json: steps.0.name: "),
    ({"steps": [{"name": "A"}, {"description": "no name"}]}, "config.json: steps.1.name: "),
    ({"steps": ["Build"]}, "config.json: steps.0: "),
    ({"concurrency": 0}, "config.json: concurrency: "),
    ({"concurrency": 101}, "config.json: concurrency: "),
    ({"concurrency": "2"}, "config.json: concurrency: "),
    ({"concurrency": None}, "config.json: concurrency: "),
    ({"timeout": 0}, "config.json: timeout: "),
    ({"timeout": "60"}, "config.json: timeout: "),
    *(
        ({"timeout": seconds}, "config.json: timeout: Input should be less than or equal to 31536000")
        for seconds in (31_536_001, 999_999_999_999, 1e14, 1e300)
    ),
    ({"pipelining": "yes"}, "config.json: pipelining: "),
    ({"retention_days": -1}, "config.json: retention_days: "),
    ({"ansible_playbook": "gone.yml"}, "gone.yml: the playbook gone.yml is neither in"),
    ({"ansible_playbook": "../../gone.yml"}, "../../gone.yml: "),
]


class Folders:
    """Writes service folders and reads them."""

    def __init__(self, root: Path, checkers: Checkers | None = None) -> None:
        self.root = root
        self.services = ServiceFolders(root, private=(root.parent / "data",), checkers=checkers)

    def add(self, name: str = "shop", config: Config | None = None, *, script: str | None = "deploy.sh") -> Path:
        """Create a folder with this config and a deploy script. If the script is None, do not write one."""
        folder = self.root / name
        folder.mkdir()
        if config is None:
            config = {}
        data = json.dumps(config) if isinstance(config, dict) else config
        (folder / "config.json").write_bytes(data if isinstance(data, bytes) else data.encode())
        if script is not None:
            (folder / script).parent.mkdir(exist_ok=True)
            (folder / script).write_text("#!/bin/sh\n")
        return folder

    async def good(self) -> ServiceFolder:
        """Return the only folder, which must be usable."""
        folders, problems = await self.services.read()
        assert problems == []
        (folder,) = folders
        return folder

    async def problem(self) -> str:
        """Return the file and the reason of the problem with the only folder."""
        folders, problems = await self.services.read()
        assert folders == []
        (problem,) = problems
        return f"{problem.folder}: {problem.file}: {problem.reason}"


@pytest.fixture
def folders(services_root: Path, checkers: Checkers) -> Folders:
    return Folders(services_root, checkers)


class TestNames:
    async def test_folders_are_sorted_and_hidden_ones_ignored(self, folders: Folders) -> None:
        for name in ("shop", "blog", ".git"):
            (folders.root / name).mkdir()
        (folders.root / "README.md").write_text("")
        (folders.root / "link").symlink_to(folders.root / "shop")
        (folders.root / "broken").symlink_to(folders.root / "gone")
        (folders.root / "loop").symlink_to("loop")
        (folders.root / "elsewhere").symlink_to("/etc")
        assert await folders.services.names() == ["blog", "link", "shop"]

    async def test_only_folders_are_services(self, folders: Folders) -> None:
        (folders.root / "README.md").write_text("")
        (folders.root / "link.md").symlink_to("README.md")
        (folders.root / "zero").symlink_to("/dev/zero")
        os.mkfifo(folders.root / "pipe")
        folders.add()
        found, problems = await folders.services.read()
        assert [folder.name for folder in found] == ["shop"]
        assert [problem.folder for problem in problems] == ["zero"]

    async def test_too_many_folders_are_reported(self, folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
        """If a sync skipped some of the folders, it would remove their services."""
        for number in range(4):
            folders.add(f"n{number}")
        monkeypatch.setattr("deploy.adapters.filesystem.MAX_NAMES", 4)
        found, (problem,) = await folders.services.read()
        assert (found, problem.folder) == ([], "")
        assert "has 4 or more folders" in problem.reason
        monkeypatch.setattr("deploy.adapters.runs.supervisor.file_access.MAX_NAMES", 3)
        assert len(Access(str(folders.root), str(folders.root.parent), []).names()[1]) == 3

    async def test_a_missing_root_has_no_folders(self, tmp_path: Path) -> None:
        assert await ServiceFolders(tmp_path / "gone").names() == []

    async def test_a_name_that_is_not_valid_text_is_reported(self, folders: Folders) -> None:
        os.mkdir(os.fsencode(folders.root) + b"/sh\xffop")
        assert await folders.services.names() == ["sh?op"]
        assert await folders.problem() == (
            "sh?op: : the name must start with a letter or digit and have at most 100 letters, digits, dots, dashes or underscores."
        )


class TestGoodFolders:
    async def test_the_config_is_kept_unchanged(self, folders: Folders) -> None:
        config = {"description": "A shop", "steps": [{"name": "Build"}], "own": {"key": [1, None]}, "timeout": 5}
        folders.add(config=config)
        assert await folders.good() == ServiceFolder(name="shop", data=config, readme=None)

    async def test_services_with_a_script_are_found(self, folders: Folders, tmp_path: Path) -> None:
        (tmp_path / "all.sh").write_text("")
        configs: dict[str, tuple[dict[str, Any], str | None]] = {
            "default": ({}, "deploy.sh"),
            "elsewhere-in-the-folder": ({"deploy_script": "bin/go.py"}, "bin/go.py"),
            "null": ({"deploy_script": None}, "deploy.sh"),
            "numbers": ({"concurrency": 100, "timeout": 0.5, "pipelining": False, "retention_days": 0}, "deploy.sh"),
            "nulls": ({"timeout": None, "retention_count": None, "ansible_playbook": None}, "deploy.sh"),
            "whole-path": ({"deploy_script": str(tmp_path / "all.sh")}, None),
        }
        for name, (config, script) in configs.items():
            folders.add(name, config, script=script)
        found, problems = await folders.services.read()
        assert problems == []
        assert {folder.name: folder.data for folder in found} == {
            name: config for name, (config, _) in configs.items()
        }

    async def test_services_with_a_playbook_are_found(self, folders: Folders) -> None:
        """Older configs specify a playbook relative to the folder above the root."""
        (folders.root.parent / "playbooks").mkdir()
        (folders.root.parent / "playbooks" / "site.yml").write_text(PLAYBOOK)
        folders.add("beside", {"ansible_playbook": "playbooks/site.yml"}, script=None)
        (folders.add("inside", {"ansible_playbook": "site.yml"}, script=None) / "site.yml").write_text(PLAYBOOK)
        found, problems = await folders.services.read()
        assert ([folder.name for folder in found], problems) == (["beside", "inside"], [])

    async def test_links_within_the_services_folder_work(self, folders: Folders) -> None:
        folder = folders.add(script=None)
        shared = folders.root / ".shared"
        shared.mkdir()
        (shared / "config.json").write_text(json.dumps({"description": "shared", "ansible_playbook": "site.yml"}))
        (shared / "site.yml").write_text(PLAYBOOK)
        (shared / "README.md").write_text("# Shared")
        (folder / "config.json").unlink()
        for name in ("config.json", "site.yml", "README.md"):
            (folder / name).symlink_to(f"../.shared/{name}")
        (folders.root / "twin").symlink_to("shop")
        found, problems = await folders.services.read()
        assert problems == []
        assert [(folder.name, folder.readme) for folder in found] == [("shop", "# Shared"), ("twin", "# Shared")]

    async def test_the_root_can_be_a_link(self, folders: Folders, tmp_path: Path) -> None:
        folders.add()
        (tmp_path / "link").symlink_to(folders.root)
        found, problems = await ServiceFolders(tmp_path / "link").read()
        assert ([folder.name for folder in found], problems) == (["shop"], [])

    async def test_a_root_in_the_data_folder_can_be_read(self, folders: Folders) -> None:
        folders.add()
        (folders.root / "shop" / "README.md").symlink_to("../../secret-key")
        (folders.root.parent / "secret-key").write_text("secret")
        (folders.add("blog") / "README.md").symlink_to("../../postgres/words")
        (folders.root.parent / "postgres").mkdir()
        (folders.root.parent / "postgres" / "words").write_text("secret")
        found, problems = await ServiceFolders(folders.root, private=(folders.root.parent,)).read()
        assert [folder.readme for folder in found] == [None, None]
        reason = "it is one of fastDeploy's own files, so the README is not shown."
        assert [(problem.file, problem.reason) for problem in problems] == [("README.md", reason)] * 2

    async def test_the_readme_is_included(self, folders: Folders) -> None:
        (folders.add() / "README.md").write_bytes(b"# Shop\n\x00\xff")
        assert (await folders.good()).readme == "# Shop\n\N{REPLACEMENT CHARACTER}"

    async def test_a_byte_order_mark_is_ignored(self, folders: Folders) -> None:
        folders.add(config=b'\xef\xbb\xbf{"description": "A shop"}')
        assert (await folders.good()).data == {"description": "A shop"}

    async def test_broken_folders_do_not_hide_good_ones(self, folders: Folders) -> None:
        folders.add("broken", "no json")
        folders.add("shop")
        found, problems = await folders.services.read()
        assert [folder.name for folder in found] == ["shop"]
        assert [problem.folder for problem in problems] == ["broken"]


@pytest_asyncio.fixture(scope="class", loop_scope="session")
async def reported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the problem reported for each entry in NOT_USABLE, by its number."""
    folders = Folders(tmp_path_factory.mktemp("site") / "services")
    folders.root.mkdir()
    for number, (config, _) in enumerate(NOT_USABLE):
        folders.add(f"n{number}", config)
    found, problems = await folders.services.read()
    assert found == []
    return {problem.folder: f"{problem.file}: {problem.reason}" for problem in problems}


class TestBrokenFolders:
    @pytest.mark.parametrize("number", range(len(NOT_USABLE)))
    def test_each_problem_is_reported(self, reported: dict[str, str], number: int) -> None:
        assert reported[f"n{number}"].startswith(NOT_USABLE[number][1])

    async def test_several_problems_are_reported_together(self, folders: Folders) -> None:
        folders.add(config={"timeout": -1, "concurrency": 0})
        problem = await folders.problem()
        assert "timeout" in problem
        assert "concurrency" in problem

    async def test_a_missing_script_and_playbook_are_both_named(self, folders: Folders) -> None:
        folders.add(script=None)
        assert await folders.problem() == (
            "shop: deploy.sh: the deploy script does not exist"
            ", and config.json sets neither deploy_script nor ansible_playbook."
        )

    async def test_a_missing_config_is_reported(self, folders: Folders) -> None:
        (folders.root / "shop").mkdir()
        assert await folders.problem() == "shop: config.json: the file does not exist."

    async def test_a_script_that_links_to_itself_is_reported(self, folders: Folders) -> None:
        (folders.add(script=None) / "deploy.sh").symlink_to("deploy.sh")
        assert "its symbolic links form a loop" in await folders.problem()

    async def test_invalid_names_are_reported(self, folders: Folders) -> None:
        names = sorted(["-rf", "a b", "ä", "a;b", "x" * 101, "a\nb", "shop\n", "_x"])
        for name in names:
            folders.add(name)
        found, problems = await folders.services.read()
        assert found == []
        assert [problem.folder for problem in problems] == names
        assert all("the name must start with a letter or digit" in problem.reason for problem in problems)

    async def test_names_that_differ_only_by_case_are_reported(self, folders: Folders) -> None:
        folders.add("Shop")
        folders.add("shop")
        found, problems = await folders.services.read()
        assert [folder.name for folder in found] == ["Shop"]
        assert "differs from Shop only in case" in problems[0].reason

    async def test_broken_links_are_reported(self, folders: Folders) -> None:
        (folders.root / "dangling").symlink_to("gone")
        (folders.root / "loop").symlink_to("loop")
        (folders.root / "outside").symlink_to("/etc")
        found, problems = await folders.services.read()
        assert found == []
        assert [(problem.folder, problem.reason) for problem in problems] == [
            ("dangling", "it is a broken symbolic link."),
            ("loop", "its symbolic links form a loop."),
            ("outside", "it is a symbolic link to a location outside the services folder."),
        ]

    async def test_a_missing_root_is_reported(self, tmp_path: Path) -> None:
        found, (problem,) = await ServiceFolders(tmp_path / "gone").read()
        assert (found, problem.folder, problem.file) == ([], "", "")
        assert "does not exist. Create it, or set SERVICES_ROOT" in problem.reason

    async def test_a_missing_deploy_user_is_reported(self, folders: Folders) -> None:
        def missing() -> DeployUser:
            return DeployUser.named("no-such-user")

        folders.add()
        found, (problem,) = await ServiceFolders(folders.root, user=missing).read()
        assert (found, problem.folder) == ([], "")
        assert problem.reason.startswith("The user no-such-user does not exist on this machine")


class TestPlaybookSteps:
    @pytest.fixture
    def steps(self, folders: Folders) -> Callable[[dict[str, Any]], Awaitable[list[str]]]:
        (folders.add(script=None) / "site.yml").write_text(PLAYBOOK)

        async def names(config: dict[str, Any]) -> list[str]:
            return [step.name for step in await folders.services.playbook_steps(Service(name="shop", data=config))]

        return names

    async def test_steps_are_the_tasks_of_the_playbook(
        self, steps: Callable[[dict[str, Any]], Awaitable[list[str]]]
    ) -> None:
        assert await steps({"ansible_playbook": "site.yml"}) == ["Gathering Facts", "Install", "Restart"]

    async def test_a_script_with_a_playbook_has_its_tasks_as_steps(self, folders: Folders) -> None:
        folder = folders.add(config={"ansible_playbook": "site.yml"})
        (folder / "site.yml").write_text(PLAYBOOK)
        for config in (
            {"ansible_playbook": "site.yml"},
            {"ansible_playbook": "site.yml", "deploy_script": "deploy.sh"},
        ):
            service = Service(name="shop", data=config)
            assert [step.name for step in await folders.services.playbook_steps(service)] == [
                "Gathering Facts",
                "Install",
                "Restart",
            ]
            assert (await folders.services.survey("shop", service.config)).is_script

    @pytest.mark.parametrize("config", [{}, {"ansible_playbook": None}, {"ansible_playbook": "gone.yml"}])
    async def test_without_a_readable_playbook_there_are_no_steps(
        self, steps: Callable[[dict[str, Any]], Awaitable[list[str]]], config: dict[str, Any]
    ) -> None:
        assert await steps(config) == []


class TestAcceptedInputs:
    BROKEN: ClassVar[dict[str, Any]] = {"inputs": {"type": "object", "properties": {"x": {"type": "text"}}}}

    async def test_an_accepted_schema_is_not_checked_again(self, folders: Folders) -> None:
        folders.add("shop", self.BROKEN)
        (folder,), problems = await folders.services.read({"shop": self.BROKEN["inputs"]})
        assert (folder.data, problems) == (self.BROKEN, [])

    @pytest.mark.parametrize(
        "accepted", [{"shop": None}, {"shop": {"type": "object"}}, {"blog": BROKEN["inputs"]}], ids=str
    )
    async def test_a_changed_schema_is_checked(self, folders: Folders, accepted: dict[str, Any]) -> None:
        folders.add("shop", self.BROKEN)
        good, (problem,) = await folders.services.read(accepted)
        assert good == []
        assert problem.reason.startswith("inputs.properties.x.type: ")

    async def test_its_size_is_still_checked(self, folders: Folders) -> None:
        """An older version could have accepted it."""
        inputs = {"type": "object", "properties": {f"x{number}": {} for number in range(201)}}
        folders.add("shop", {"inputs": inputs})
        _, (problem,) = await folders.services.read({"shop": inputs})
        assert problem.reason == "inputs: the schema describes more than 200 inputs."

    async def test_programs_in_an_accepted_schema_are_still_checked(self, folders: Folders) -> None:
        inputs = {"type": "object", "properties": {"x": {"x-choices": {"command": ["./list.sh"]}}}}
        folder = folders.add("shop", {"inputs": inputs})
        _, (problem,) = await folders.services.read({"shop": inputs})
        assert problem.reason.endswith("'./list.sh' does not exist in the folder.")
        (folder / "list.sh").touch()
        assert (await folders.services.read({"shop": inputs}))[1] == []
