"""Load dynamic choices from real commands, both well-behaved and hostile, and from a real inventory."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.adapters.filesystem import ServiceFolders
from deploy.adapters.inputs.asking import OUTPUT_LIMIT, ChoiceUnavailable, Program, TtlCache, ask
from deploy.adapters.inputs.choices import Choices, parse, parse_graph
from deploy.adapters.inputs.programs import ChoiceContext, ChoicePrograms
from deploy.adapters.runs.start import DeployUser
from deploy.adapters.service_folders.processes import Checkers
from deploy.domain.inputs import Choice, Form
from deploy.domain.service_config import ServiceConfig
from tests.conftest import choice_programs

PATH = "/usr/local/bin:/usr/bin:/bin"


class Clock:
    """A clock, in seconds, that the test controls."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Folder:
    """A service folder with commands and the choices that they provide."""

    def __init__(self, root: Path, checkers: Checkers) -> None:
        self.path = root / "shop"
        self.path.mkdir()
        self.clock = Clock()
        folders = ServiceFolders(root, checkers=checkers)
        self.choices = Choices(folders, choice_programs(folders, PATH).output, TtlCache(self.clock))

    def command(self, script: str, name: str = "choices") -> Path:
        """Write a program into the folder. Without `#!`, it is a shell script."""
        file = self.path / name
        file.write_text(script if script.startswith("#!") else f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        return file

    def run(self, script: str, *arguments: str, seconds: float = 10.0) -> str:
        """Run a program the way the platform does."""
        argv = (str(self.command(script)), *arguments)
        return ask(Program(argv=argv, cwd=str(self.path), env={"PATH": PATH, "HOME": "/"}), None, seconds)

    async def form(self, source: dict[str, Any], **described: Any) -> Form:
        """Return the form of a service with one input."""
        schema = {"type": "object", "properties": {"x": {**described, "x-choices": source}}}
        return await self.choices.form("shop", ServiceConfig(inputs=schema))

    async def described_input(self, source: dict[str, Any], **described: Any) -> Any:
        """Return the description of that input with its choices."""
        form = await self.form(source, **described)
        assert form.problems == ()
        assert form.schema is not None
        return form.schema["properties"]["x"]

    async def problem(self, source: dict[str, Any], **described: Any) -> str:
        """Return the reason the choices of that input are unavailable."""
        form = await self.form(source, **described)
        (problem,) = form.problems
        assert (problem.name, form.schema) == ("x", {"type": "object", "properties": {"x": described}})
        return problem.sentence


@pytest.fixture
def folder(tmp_path: Path, checkers: Checkers) -> Folder:
    return Folder(tmp_path, checkers)


COMMAND = {"command": ["./choices"]}


class TestCommands:
    async def test_each_line_of_output_is_a_choice(self, folder: Folder) -> None:
        folder.command("printf 'main\\n\\n  develop \\r\\nmain\\n'")
        assert await folder.described_input(COMMAND, type="string") == {"type": "string", "enum": ["main", "develop"]}

    async def test_a_json_list_can_have_titles(self, folder: Folder) -> None:
        folder.command("""echo '["a", {"const": "b", "title": "Bee"}, {"const": "c"}]'""")
        assert await folder.described_input(COMMAND) == {
            "oneOf": [{"const": "a", "title": "a"}, {"const": "b", "title": "Bee"}, {"const": "c", "title": "c"}]
        }

    async def test_an_array_has_choices_for_its_entries(self, folder: Folder) -> None:
        folder.command("echo a; echo b")
        items = {"type": "string", "enum": ["a", "b"]}
        schema = {"type": "array", "items": {"type": "string", "x-choices": COMMAND}}
        form = await folder.choices.form("shop", ServiceConfig(inputs={"type": "object", "properties": {"x": schema}}))
        assert form.schema == {"type": "object", "properties": {"x": {"type": "array", "items": items}}}
        assert await folder.described_input(COMMAND, type="array", items={"type": "string"}) == {
            "type": "array",
            "items": items,
        }

    async def test_number_inputs_have_number_choices(self, folder: Folder) -> None:
        folder.command("echo 1; echo 20")
        assert (await folder.described_input(COMMAND, type="integer"))["enum"] == [1, 20]

    async def test_a_command_runs_in_the_folder_with_a_minimal_environment(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SECRET_KEY", "the key of the server")
        folder.command(f"#!{sys.executable} -I\nimport os\nprint(os.getcwd())\nprint(*sorted(os.environ))\n")
        assert (await folder.described_input(COMMAND))["enum"] == [str(folder.path), "HOME LANG PATH"]

    async def test_arguments_are_not_passed_to_a_shell(self, folder: Folder) -> None:
        folder.command('printf "%s\\n" "$@"')
        arguments = ["$(id)", "a;b", "* '"]
        assert (await folder.described_input({"command": ["./choices", *arguments]}))["enum"] == arguments

    async def test_a_conditional_input_also_has_choices(self, folder: Folder) -> None:
        folder.command("echo a")
        inner = {"properties": {"y": {"x-choices": COMMAND}}}
        form = await folder.choices.form("shop", ServiceConfig(inputs={"type": "object", "if": {}, "then": inner}))
        assert form.schema == {"type": "object", "if": {}, "then": {"properties": {"y": {"enum": ["a"]}}}}

    async def test_only_the_needed_commands_run(self, folder: Folder) -> None:
        schema = {"type": "object", "properties": {"x": {"x-choices": {"command": ["./gone"]}}, "y": {}}}
        form = await folder.choices.form("shop", ServiceConfig(inputs=schema), frozenset({"y"}))
        assert form == Form(schema={"type": "object", "properties": {"x": {}, "y": {}}})


class TestFailures:
    @pytest.mark.parametrize(
        ("script", "sentence"),
        [
            ("exit 3", "The program ended with exit code 3"),
            (
                "echo first >&2; echo 'no such remote' >&2; exit 1",
                "The program ended with exit code 1: no such remote",
            ),
            ("kill -9 $$", "The program was ended by SIGKILL"),
            ("true", "The program printed no choices"),
            ("echo no registry >&2", "The program printed no choices: no registry"),
            ("echo '[1,'", "The program printed an invalid JSON list of choices"),
            ("echo '[null]'", "The program printed an invalid JSON list of choices"),
            ('echo \'[{"title": "x"}]\'', "The program printed an invalid JSON list of choices"),
            ("seq 1001", "The program printed more than 1000 choices"),
            ("printf '%0600d' 1", "A choice is longer than 500 characters or contains a NUL character"),
            ("yes", f"The program printed more than {OUTPUT_LIMIT // 1024} KiB"),
            ("head -c 100000 /dev/zero", f"The program printed more than {OUTPUT_LIMIT // 1024} KiB"),
        ],
    )
    async def test_failures_are_explained(self, folder: Folder, script: str, sentence: str) -> None:
        folder.command(script)
        assert await folder.problem(COMMAND) == sentence

    async def test_error_output_is_bounded(self, folder: Folder) -> None:
        folder.command("head -c 5000000 /dev/zero | tr '\\0' 'x' >&2; echo a")
        assert (await folder.described_input(COMMAND))["enum"] == ["a"]

    async def test_a_program_that_is_not_executable_is_reported(self, folder: Folder) -> None:
        folder.command("true").chmod(0o644)
        assert "is not executable" in await folder.problem(COMMAND)

    async def test_a_missing_program_is_reported(self, folder: Folder) -> None:
        assert "does not exist. Create it" in await folder.problem(COMMAND)

    def test_a_hanging_program_is_killed_with_its_children(self, folder: Folder) -> None:
        script = "trap '' TERM; setsid sleep 4711 & echo $! > child; echo $$ > self; sleep 4711"
        with pytest.raises(ChoiceUnavailable, match=r"timeout of 0\.5 seconds"):
            folder.run(script, seconds=0.5)
        for name in ("child", "self"):
            assert not is_running(int((folder.path / name).read_text()))

    def test_processes_left_behind_are_killed(self, folder: Folder) -> None:
        assert folder.run("setsid sleep 4711 >/dev/null 2>&1 & echo $! > child; echo a") == "a\n"
        assert not is_running(int((folder.path / "child").read_text()))

    def test_a_hanging_program_that_closed_its_output_is_killed(self, folder: Folder) -> None:
        with pytest.raises(ChoiceUnavailable, match="stopped after its timeout"):
            folder.run("exec >&- 2>&-; sleep 4711", seconds=0.5)

    async def test_an_unknown_deploy_user_is_reported(self, folder: Folder, tmp_path: Path) -> None:
        folders = ServiceFolders(tmp_path)
        context = ChoiceContext(folders=folders, path=PATH, user=lambda: DeployUser.named("nobody-of-that-name"))
        folder.choices = Choices(folders, ChoicePrograms(context).output)
        folder.command("echo a")
        assert "The user nobody-of-that-name does not exist" in await folder.problem(COMMAND)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
    def test_a_command_runs_as_the_deploy_user(self, folder: Folder, tmp_path: Path) -> None:
        for place in (tmp_path, *tmp_path.parents):
            if place.stat().st_mode & 0o001 == 0:
                place.chmod(0o711)  # pytest's folders are private
        file = folder.command("id -un; exec sleep 4711 >/dev/null 2>&1 &")
        question = Program(argv=(str(file),), cwd="/", env={"PATH": PATH, "HOME": "/"})
        assert ask(question, DeployUser.named("nobody")).split() == ["nobody"]


class TestCache:
    async def test_a_form_and_its_start_run_the_command_once(self, folder: Folder) -> None:
        folder.command("echo x >> calls; wc -l < calls")
        forms = await asyncio.gather(*(folder.described_input(COMMAND) for _ in range(5)))
        assert forms == [{"enum": ["1"]}] * 5
        folder.clock.now = 29.9
        assert await folder.described_input(COMMAND) == {"enum": ["1"]}
        folder.clock.now = 30.0
        assert await folder.described_input(COMMAND) == {"enum": ["2"]}

    async def test_failures_are_also_cached(self, folder: Folder) -> None:
        folder.command("echo x >> calls; exit 1")
        for _ in range(3):
            await folder.problem(COMMAND)
        assert (folder.path / "calls").read_text() == "x\n"

    async def test_a_cancelled_request_does_not_affect_the_others(self, folder: Folder) -> None:
        folder.command("while ! test -e go; do sleep 0.01; done; echo a")
        first, second = (asyncio.ensure_future(folder.described_input(COMMAND)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        (folder.path / "go").touch()
        assert await second == {"enum": ["a"]}


INVENTORY = """
lone
[web]
web[1:2].example.org token="{{ undefined_variable }}"
[db]
db1
[site:children]
web
db
"""


class TestInventory:
    @pytest.fixture
    def folder(self, tmp_path: Path, checkers: Checkers) -> Folder:
        made = Folder(tmp_path, checkers)
        (made.path / "inventory.ini").write_text(INVENTORY)
        (made.path / "group_vars").mkdir()
        # Reading it would require a password.
        (made.path / "group_vars" / "all.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n")
        return made

    async def test_hosts_groups_and_the_hosts_of_a_group(self, folder: Folder) -> None:
        web = ["web1.example.org", "web2.example.org"]
        assert sorted((await folder.described_input({"inventory": "hosts"}))["enum"]) == sorted(["lone", *web, "db1"])
        assert sorted((await folder.described_input({"inventory": "groups"}))["enum"]) == ["db", "site", "web"]
        assert (await folder.described_input({"inventory": "web"}))["enum"] == web
        assert sorted((await folder.described_input({"inventory": "site"}))["enum"]) == ["db1", *web]

    async def test_an_unknown_group_is_reported(self, folder: Folder) -> None:
        assert await folder.problem({"inventory": "gone"}) == "There is no group gone in the inventory"

    async def test_a_broken_inventory_has_no_choices(self, folder: Folder) -> None:
        (folder.path / "inventory.ini").write_text("good\n[web]\nweb1 token={{ broken }}\n")
        assert (await folder.problem({"inventory": "hosts"})).startswith("The program ended with exit code")

    async def test_a_missing_inventory_is_reported(self, folder: Folder) -> None:
        (folder.path / "inventory.ini").unlink()
        assert await folder.problem({"inventory": "hosts"}) == "The inventory has no hosts"


def test_the_indentation_of_a_graph_shows_the_hosts_of_a_group() -> None:
    graph = "@all:\n  |--@ungrouped:\n  |--@a:\n  |  |--@b:\n  |  |  |--h1\n  |  |--h2\n  |--@c:\n  |  |--h1\n"
    assert parse_graph(f"[WARNING]: something\n{graph}") == {
        "all": ["h1", "h2"],
        "ungrouped": [],
        "a": ["h1", "h2"],
        "b": ["h1"],
        "c": ["h1"],
    }


def test_choices_keep_their_order() -> None:
    assert parse(json.dumps([2, 1, 2, {"const": "x", "title": "X"}])) == [Choice(2), Choice(1), Choice("x", "X")]


def is_running(pid: int) -> bool:
    """Return True if a process exists and is not dead."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"
