"""Service folders: which are good, and what is said of the others."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from deploy.adapters.filesystem import RootError, ServiceFolders
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


class Folders:
    """Writes service folders and reads them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.services = ServiceFolders(root)

    def add(self, name: str = "shop", config: Config | None = None, *, script: str | None = "deploy.sh") -> Path:
        """Make a folder with this config and a deploy script (None: without)."""
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

    def good(self) -> ServiceFolder:
        """Return the only folder, which has to be good."""
        folders, problems = self.services.read()
        assert problems == []
        (folder,) = folders
        return folder

    def problem(self) -> str:
        """Return what is wrong with the only folder: the file and the reason."""
        folders, problems = self.services.read()
        assert folders == []
        (problem,) = problems
        return f"{problem.folder}: {problem.file}: {problem.reason}"


@pytest.fixture
def folders(services_root: Path) -> Folders:
    return Folders(services_root)


class TestNames:
    def test_folders_only_sorted_and_without_hidden_ones(self, folders: Folders) -> None:
        for name in ("shop", "blog", ".git"):
            (folders.root / name).mkdir()
        (folders.root / "README.md").write_text("")
        (folders.root / "link").symlink_to(folders.root / "shop")
        (folders.root / "broken").symlink_to(folders.root / "gone")
        assert folders.services.names() == ["blog", "link", "shop"]

    def test_without_a_root_there_are_none(self, tmp_path: Path) -> None:
        assert ServiceFolders(tmp_path / "gone").names() == []

    def test_a_link_to_itself_is_no_folder(self, folders: Folders) -> None:
        (folders.root / "loop").symlink_to("loop")
        (folders.root / "shop").mkdir()
        assert folders.services.names() == ["shop"]

    def test_a_root_that_cannot_be_read_is_told(self, folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(path: Path) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr("os.scandir", refuse)
        with pytest.raises(RootError, match=r"cannot be read \(Permission denied\); let the user"):
            folders.services.names()
        found, (problem,) = folders.services.read()
        assert found == []
        assert (problem.folder, problem.file) == ("", "")
        assert "cannot be read" in problem.reason


class TestGoodFolders:
    def test_the_config_is_kept_as_it_is(self, folders: Folders) -> None:
        config = {"description": "A shop", "steps": [{"name": "Build"}], "own": {"key": [1, None]}, "timeout": 5}
        folders.add(config=config)
        assert folders.good() == ServiceFolder(name="shop", data=config, readme=None)

    @pytest.mark.parametrize(
        ("config", "script"),
        [
            ({}, "deploy.sh"),
            ({"deploy_script": "bin/go.py"}, "bin/go.py"),
            ({"deploy_script": None}, "deploy.sh"),
            ({"concurrency": 100, "timeout": 0.5, "pipelining": False, "retention_days": 0}, "deploy.sh"),
            ({"timeout": None, "retention_count": None, "ansible_playbook": None}, "deploy.sh"),
        ],
    )
    def test_scripts(self, folders: Folders, config: dict[str, Any], script: str) -> None:
        folders.add(config=config, script=script)
        assert folders.good().data == config

    def test_a_script_elsewhere_is_named_by_its_whole_path(self, folders: Folders, tmp_path: Path) -> None:
        (tmp_path / "all.sh").write_text("")
        folders.add(config={"deploy_script": str(tmp_path / "all.sh")}, script=None)
        assert folders.good().name == "shop"

    def test_a_playbook_needs_no_script(self, folders: Folders) -> None:
        folder = folders.add(config={"ansible_playbook": "site.yml"}, script=None)
        (folder / "site.yml").write_text(PLAYBOOK)
        assert folders.good().name == "shop"

    def test_older_configs_name_the_playbook_from_above_the_root(self, folders: Folders) -> None:
        folders.add(config={"ansible_playbook": "playbooks/site.yml"}, script=None)
        (folders.root.parent / "playbooks").mkdir()
        (folders.root.parent / "playbooks" / "site.yml").write_text(PLAYBOOK)
        assert folders.good().name == "shop"

    def test_a_folder_may_be_a_link(self, folders: Folders, tmp_path: Path) -> None:
        outside = Folders(tmp_path / "elsewhere")
        outside.root.mkdir()
        outside.add("real")
        (folders.root / "shop").symlink_to(outside.root / "real")
        assert folders.good().name == "shop"

    def test_the_readme_comes_along(self, folders: Folders) -> None:
        (folders.add() / "README.md").write_bytes(b"# Shop\n\x00\xff")
        assert folders.good().readme == "# Shop\n\N{REPLACEMENT CHARACTER}"

    def test_broken_folders_do_not_hide_good_ones(self, folders: Folders) -> None:
        folders.add("broken", "no json")
        folders.add("shop")
        found, problems = folders.services.read()
        assert [folder.name for folder in found] == ["shop"]
        assert [problem.folder for problem in problems] == ["broken"]


class TestBrokenFolders:
    @pytest.mark.parametrize(
        ("config", "reason"),
        [
            ("", "config.json: it is not valid JSON"),
            ("{", "config.json: it is not valid JSON"),
            (b"\xff\xfe", "config.json: it is not valid JSON"),
            ("[]", "config.json: it has to be a JSON object"),
            ('"text"', "config.json: it has to be a JSON object"),
            ('{"own": NaN}', "config.json: it is not valid JSON"),
            ('{"own": 1e999}', "config.json: it is not valid JSON"),
            ('{"own": ' + "[" * 100 + "]" * 100 + "}", "config.json: its lists and objects lie in each other"),
            ('{"own": ' + "[" * 100_000 + "]" * 100_000 + "}", "config.json: it is not valid JSON"),
            ('{"own": "' + "x" * (1 << 20) + '"}', "config.json: it is larger than 1 MiB"),
            ({"description": 3}, "config.json: description: "),
            ({"description": "x" * 10_001}, "config.json: description: "),
            ({"deploy_script": ""}, "config.json: deploy_script: "),
            ({"deploy_script": ["deploy.sh"]}, "config.json: deploy_script: "),
            ({"deploy_script": "a\x00b"}, "config.json: deploy_script: a path has no NUL"),
            ({"deploy_script": "../deploy.sh"}, "config.json: deploy_script: '../deploy.sh' leaves the folder"),
            ({"deploy_script": "gone.sh"}, "gone.sh: the deploy script does not exist."),
            ({"deploy_script": "."}, ".: the deploy script does not exist."),
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
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_what_is_wrong_is_said(self, folders: Folders, config: Config, reason: str) -> None:
        folders.add(config=config)
        assert folders.problem().startswith(f"shop: {reason}")

    def test_several_faults_are_said_at_once(self, folders: Folders) -> None:
        folders.add(config={"timeout": -1, "concurrency": 0})
        assert "timeout" in folders.problem()
        assert "concurrency" in folders.problem()

    def test_without_script_and_playbook_it_says_both(self, folders: Folders) -> None:
        folders.add(script=None)
        assert folders.problem() == (
            "shop: deploy.sh: the deploy script does not exist"
            " and config.json names neither a deploy_script nor an ansible_playbook."
        )

    def test_without_a_config(self, folders: Folders) -> None:
        (folders.root / "shop").mkdir()
        assert folders.problem() == "shop: config.json: the file does not exist."

    def test_a_config_that_is_a_folder(self, folders: Folders) -> None:
        (folders.root / "shop" / "config.json").mkdir(parents=True)
        assert folders.problem().startswith("shop: config.json: it cannot be read")

    def test_a_script_that_links_out_of_the_folder(self, folders: Folders, tmp_path: Path) -> None:
        (tmp_path / "outside.sh").write_text("")
        (folders.add(script=None) / "deploy.sh").symlink_to(tmp_path / "outside.sh")
        assert "leaves the folder" in folders.problem()

    def test_a_script_that_links_to_itself(self, folders: Folders) -> None:
        (folders.add(script=None) / "deploy.sh").symlink_to("deploy.sh")
        assert folders.problem().startswith("shop: deploy.sh: ")

    @pytest.mark.parametrize("name", ["-rf", "a b", "ä", "a;b", "x" * 101, "a\nb", "shop\n"])
    def test_names_that_are_none(self, folders: Folders, name: str) -> None:
        folders.add(name)
        assert "a service name has up to 100 letters" in folders.problem()

    def test_names_that_differ_by_case_only(self, folders: Folders) -> None:
        folders.add("Shop")
        folders.add("shop")
        found, problems = folders.services.read()
        assert [folder.name for folder in found] == ["Shop"]
        assert "differs from Shop by upper and lower case only" in problems[0].reason

    def test_a_root_that_is_not_there(self, tmp_path: Path) -> None:
        found, (problem,) = ServiceFolders(tmp_path / "gone").read()
        assert found == []
        assert "does not exist; create it or set SERVICES_ROOT" in problem.reason

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_a_folder_that_may_not_be_read(self, folders: Folders) -> None:
        folder = folders.add()
        folder.chmod(0)
        try:
            assert "cannot be read" in folders.problem()
        finally:
            folder.chmod(0o700)


class TestPlaybookSteps:
    @pytest.fixture
    def steps(self, folders: Folders) -> Callable[[dict[str, Any]], list[str]]:
        (folders.add() / "site.yml").write_text(PLAYBOOK)

        def names(config: dict[str, Any]) -> list[str]:
            return [step.name for step in folders.services.playbook_steps(Service(name="shop", data=config))]

        return names

    def test_they_are_its_tasks(self, steps: Callable[[dict[str, Any]], list[str]]) -> None:
        assert steps({"ansible_playbook": "site.yml"}) == ["Gathering Facts", "Install", "Restart"]

    @pytest.mark.parametrize("config", [{}, {"ansible_playbook": None}, {"ansible_playbook": "gone.yml"}])
    def test_there_are_none_without_a_readable_playbook(
        self, steps: Callable[[dict[str, Any]], list[str]], config: dict[str, Any]
    ) -> None:
        assert steps(config) == []


class TestAcceptedInputs:
    BROKEN: ClassVar[dict[str, Any]] = {"inputs": {"type": "object", "properties": {"x": {"type": "text"}}}}

    def test_a_schema_that_was_found_good_before_is_not_looked_at_again(self, folders: Folders) -> None:
        folders.add("shop", self.BROKEN)
        (folder,), problems = folders.services.read({"shop": self.BROKEN["inputs"]})
        assert (folder.data, problems) == (self.BROKEN, [])

    def test_another_one_is(self, folders: Folders) -> None:
        folders.add("shop", self.BROKEN)
        for accepted in ({}, {"shop": None}, {"shop": {"type": "object"}}, {"blog": self.BROKEN["inputs"]}):
            good, (problem,) = folders.services.read(accepted)
            assert good == []
            assert problem.reason.startswith("inputs.properties.x.type: ")

    def test_the_programs_it_names_are_looked_for_all_the_same(self, folders: Folders) -> None:
        inputs = {"type": "object", "properties": {"x": {"x-choices": {"command": ["./list.sh"]}}}}
        folder = folders.add("shop", {"inputs": inputs})
        _, (problem,) = folders.services.read({"shop": inputs})
        assert problem.reason.endswith("there is no './list.sh' in the folder.")
        (folder / "list.sh").touch()
        assert folders.services.read({"shop": inputs})[1] == []
