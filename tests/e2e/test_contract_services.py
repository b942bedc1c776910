"""Contract, service folders: what a config says, where the first steps come from, and what happens to broken folders."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.api import Api, answer
from tests.e2e.folders import say, shell, steps, write_service
from tests.e2e.server import Server

PLAYBOOK = """
- name: First play
  hosts: localhost
  connection: local
  {gather}
  tasks:
    - name: Say hello
      ansible.builtin.debug:
        msg: "Hello {{{{ who | default('nobody') }}}}"
    - name: Check the answer
      ansible.builtin.assert:
        that: who is not defined or who != 'evil'
        fail_msg: No evil here
- name: Second play
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Say goodbye
      ansible.builtin.debug:
        msg: Goodbye
"""
GATHERING = PLAYBOOK.format(gather="gather_subset: ['!all', '!min']")
QUICK = PLAYBOOK.format(gather="gather_facts: false")
TASKS = ["Gathering Facts", "Say hello", "Check the answer", "Say goodbye"]


def planned(api: Api, deployment_id: int) -> list[tuple[str, str]]:
    """The steps that were shown before the deployment started, with their descriptions."""
    shown = []
    for event in api.events(deployment_id):
        if event["type"] == "deployment" and event["state"] != "queued":
            break
        if event["type"] == "step":
            assert (event["state"], event["deleted"]) == ("pending", False)
            shown.append((event["name"], event["description"]))
    return shown


def planned_names(api: Api, deployment_id: int) -> list[str]:
    return [name for name, _ in planned(api, deployment_id)]


# What is run


def test_an_empty_config_means_deploy_sh(server: Server, api: Api) -> None:
    name = server.add_service(shell("echo it is me"))
    done = api.run(name)
    assert done["state"] == "success"
    assert api.lines(done["id"]) == ["it is me"]


def test_a_script_is_relative_to_the_folder(server: Server, api: Api) -> None:
    config = {"deploy_script": "bin/go"}
    name = server.add_service(shell("exit 9"), files={"bin/go": shell("pwd")}, config=config)
    assert api.lines(api.run(name)["id"]) == [str(server.services_dir / name)]


def test_a_script_may_be_absolute(server: Server, api: Api) -> None:
    script = server.folder / "absolute.sh"
    script.write_text(shell('echo "$0"'))
    script.chmod(0o755)
    name = server.add_service(config={"deploy_script": str(script)})
    assert api.lines(api.run(name)["id"]) == [str(script)]


# Which steps are shown first


def test_first_come_the_steps_of_the_config(server: Server, api: Api) -> None:
    config = {"steps": [{"name": "A", "description": "what A is"}, {"name": "B"}]}
    name = server.add_service(shell("exit 1"), config=config)
    for _ in range(2):
        assert planned(api, api.run(name)["id"]) == [("A", "what A is"), ("B", "")]


def test_then_those_of_the_last_full_success(server: Server, api: Api) -> None:
    script = shell(
        say("A")
        + 'grep -q break "$DEPLOY_CONFIG_FILE" && exit 1\n'
        + 'grep -q bad "$DEPLOY_CONFIG_FILE" && '
        + say("X", "failure")
        + say("C")
    )
    name = server.add_service(script, config={"steps": steps("A", "B")})
    success = api.run(name)
    assert [step["name"] for step in api.steps(success["id"])] == ["A", "C"]
    assert api.run(name, {"how": "break"})["state"] == "failure"
    failed = api.run(name, {"how": "bad"})
    assert failed["state"] == "failure"
    assert planned_names(api, failed["id"]) == ["A", "C"]
    assert planned_names(api, api.run(name)["id"]) == ["A", "C"]


def test_nothing_known_means_one_placeholder(server: Server, api: Api) -> None:
    done = api.run(server.add_service(shell("true")))
    assert len(planned(api, done["id"])) == 1
    assert done["steps"] == []


@pytest.mark.parametrize("place", ["folder", "parent"])
def test_a_playbook_s_tasks_become_the_steps(server: Server, api: Api, place: str) -> None:
    name = server.new_name("playbook")
    folder = server.services_dir / name if place == "folder" else server.folder
    path = folder / f"{name}-files" / "site.yml"
    path.parent.mkdir(parents=True)
    path.write_text(GATHERING)
    config = {"ansible_playbook": f"{name}-files/site.yml"}
    server.add_service(shell("echo the script; exit 1"), name=name, config=config)
    done = api.run(name)
    assert planned_names(api, done["id"]) == TASKS
    assert api.lines(done["id"]) == ["the script"]


# Playbooks that the platform runs


def test_the_platform_runs_a_playbook_by_itself(server: Server, api: Api) -> None:
    name = server.add_service(files={"site.yml": GATHERING}, config={"ansible_playbook": "site.yml"})
    done = api.run(name, {"who": "{{ world }}"})
    assert done["state"] == "success", api.lines(done["id"])
    assert planned_names(api, done["id"]) == TASKS
    assert [(step["name"], step["state"]) for step in done["steps"]] == [(task, "success") for task in TASKS]
    assert [host["outcome"] for step in done["steps"] for host in step["hosts"]] == ["ok"] * 4
    output = "\n".join(api.lines(done["id"]))
    assert "Hello {{ world }}" in output  # answers are never templates
    assert "PLAY RECAP" in output


def test_a_playbook_that_fails_is_a_failed_deployment(server: Server, api: Api) -> None:
    (server.folder / "old.yml").write_text(QUICK)
    name = server.add_service(config={"ansible_playbook": "old.yml"})
    done = api.run(name, {"who": "evil"})
    assert (done["state"], done["exit_code"]) == ("failure", 2)
    assert [(step["name"], step["state"]) for step in done["steps"]] == [
        ("Say hello", "success"),
        ("Check the answer", "failure"),
    ]
    assert "No evil here" in done["steps"][1]["message"]
    assert "Check the answer" in done["reason"]


# Broken folders


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def config_is_a_folder(folder: Path) -> None:
    no_config(folder)
    (folder / "config.json").mkdir()


def config_goes_round_in_circles(folder: Path) -> None:
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


@pytest.fixture
def broken(server: Server) -> Iterator[str]:
    """The name of a folder that is removed in the end."""
    name = server.new_name("broken")
    yield name
    shutil.rmtree(server.services_dir / name)
    server.api.sync()


def check_problem(api: Api, name: str, file: str) -> None:
    """The folder is reported, is no service, and everything else goes on."""
    synced = api.sync()
    (problem,) = [problem for problem in synced["problems"] if problem["folder"] == name]
    assert set(problem) == {"folder", "file", "reason"}
    assert problem["file"] == file
    assert len(problem["reason"]) > 10
    assert name not in [service["name"] for service in answer(api.admin.get("/services/"))]
    assert problem in answer(api.admin.get("/services/problems"))


@pytest.mark.parametrize(
    "config",
    [
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
    ],
    ids=lambda config: str(config)[:40],
)
def test_a_config_that_makes_no_sense_is_reported(
    server: Server, api: Api, broken: str, config: dict[str, Any] | str
) -> None:
    write_service(server.services_dir, broken, script=shell("true"), config=config)
    check_problem(api, broken, "config.json")


@pytest.mark.parametrize(
    ("damage", "file"),
    [
        (no_config, "config.json"),
        (config_is_a_folder, "config.json"),
        (config_goes_round_in_circles, "config.json"),
        (config_never_ends, "config.json"),
        (config_is_a_pipe, "config.json"),
        (config_is_huge, "config.json"),
        (config_is_binary, "config.json"),
        (no_script, "deploy.sh"),
        (script_is_a_folder, "deploy.sh"),
        (script_is_elsewhere, "config.json"),
    ],
)
def test_a_damaged_folder_is_reported(
    server: Server, api: Api, broken: str, damage: Callable[[Path], None], file: str
) -> None:
    damage(write_service(server.services_dir, broken, script=shell("true")))
    check_problem(api, broken, file)


@pytest.mark.parametrize("script", ["missing.sh", "/nowhere/at/all.sh"])
def test_a_script_that_is_not_there_is_reported(server: Server, api: Api, broken: str, script: str) -> None:
    write_service(server.services_dir, broken, script=shell("true"), config={"deploy_script": script})
    check_problem(api, broken, script)


@pytest.mark.parametrize(
    ("playbook", "content"),
    [
        ("missing.yml", None),
        ("../../../../etc/passwd", None),
        ("/etc/passwd", None),
        ("site.yml", "- hosts: [\n"),
        ("site.yml", "just text"),
        ("site.yml", "- hosts: all\n  tasks: 5\n"),
        ("site.yml", "\x00\xff"),
    ],
)
def test_a_playbook_that_cannot_be_read_is_reported(
    server: Server, api: Api, broken: str, playbook: str, content: str | None
) -> None:
    files = {} if content is None else {playbook: content}
    write_service(server.services_dir, broken, files=files, config={"ansible_playbook": playbook})
    check_problem(api, broken, playbook)


@pytest.mark.parametrize("name", ["with space", "ümlaut", "x" * 150, "new\nline", "-dash", "a;b", "*", "{{ x }}"])
def test_an_absurd_name_is_reported(server: Server, api: Api, name: str) -> None:
    folder = write_service(server.services_dir, name, script=shell("true"))
    try:
        check_problem(api, name, "")
    finally:
        shutil.rmtree(folder)


def test_names_that_differ_by_case_only_are_reported(server: Server, api: Api) -> None:
    folders = [write_service(server.services_dir, name, script=shell("true")) for name in ("Twin", "twin")]
    try:
        check_problem(api, "twin", "")
        assert api.service("Twin")
    finally:
        for folder in folders:
            shutil.rmtree(folder)
        api.sync()


def test_hidden_folders_and_files_are_no_services(server: Server, api: Api) -> None:
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


def test_a_service_whose_folder_breaks_stays_what_it_was(server: Server, api: Api) -> None:
    name = server.add_service(shell("true"), config={"description": "good"})
    (server.services_dir / name / "config.json").write_text("{")
    synced = api.sync()
    assert name in [problem["folder"] for problem in synced["problems"]]
    assert name not in synced["removed"] + synced["changed"]
    assert api.service(name)["data"] == {"description": "good"}
    assert api.run(name)["state"] == "success"


# Changes and documentation


def test_changes_are_told_by_the_sync_and_shown_at_once(server: Server, api: Api) -> None:
    name = server.new_name()
    with api.live() as live:
        folder = write_service(server.services_dir, name, script=shell("true"))
        assert api.sync()["added"] == [name]
        number = live.wait_for_count("service", 1)["id"]
        write_service(server.services_dir, name, config={"description": "changed"})
        assert api.sync()["changed"] == [name]
        assert live.wait_for_count("service", 2)["data"] == {"description": "changed"}
        synced = api.sync()
        assert (synced["added"], synced["changed"], synced["removed"]) == ([], [], [])
        shutil.rmtree(folder)
        assert api.sync()["removed"] == [name]
        assert live.wait_for_count("service", 3)["deleted"]
        write_service(server.services_dir, name, script=shell("true"))
        assert api.sync()["added"] == [name]
        back = live.wait_for_count("service", 4)
    assert (back["id"], back["deleted"]) == (number, False)


def test_the_readme_is_part_of_the_service(server: Server, api: Api) -> None:
    with_readme = server.add_service(shell("true"), files={"README.md": "# Größe\n\n<script>alert(1)</script>"})
    without = server.add_service(shell("true"))
    for name, readme in ((with_readme, "# Größe\n\n<script>alert(1)</script>"), (without, None)):
        found = answer(api.admin.get(f"/services/{api.service(name)['id']}"))
        assert (found["name"], found["readme"]) == (name, readme)
