"""Contract, service folders: the meaning of a config, and the steps that are planned."""

import shutil

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
    """Return the steps planned before the deployment started, with their descriptions."""
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


# What runs


def test_an_empty_config_runs_deploy_sh(server: Server, api: Api) -> None:
    name = server.add_service(shell("echo it is me"))
    done = api.run(name)
    assert done["state"] == "success"
    assert api.lines(done["id"]) == ["it is me"]


def test_a_script_path_is_relative_to_the_folder(server: Server, api: Api) -> None:
    config = {"deploy_script": "bin/go"}
    name = server.add_service(shell("exit 9"), files={"bin/go": shell("pwd")}, config=config)
    assert api.lines(api.run(name)["id"]) == [str(server.services_dir / name)]


def test_a_script_path_can_be_absolute(server: Server, api: Api) -> None:
    script = server.folder / "absolute.sh"
    script.write_text(shell('echo "$0"'))
    script.chmod(0o755)
    name = server.add_service(config={"deploy_script": str(script)})
    assert api.lines(api.run(name)["id"]) == [str(script)]


# Which steps are planned


def test_steps_of_the_config_are_planned_first(server: Server, api: Api) -> None:
    config = {"steps": [{"name": "A", "description": "what A is"}, {"name": "B"}]}
    name = server.add_service(shell("exit 1"), config=config)
    for _ in range(2):
        assert planned(api, api.run(name)["id"]) == [("A", "what A is"), ("B", "")]


def test_steps_of_the_last_full_success_take_precedence(server: Server, api: Api) -> None:
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


def test_without_known_steps_a_placeholder_is_planned(server: Server, api: Api) -> None:
    done = api.run(server.add_service(shell("true")))
    assert len(planned(api, done["id"])) == 1
    assert done["steps"] == []


@pytest.mark.parametrize("place", ["folder", "parent"])
def test_playbook_tasks_become_the_steps(server: Server, api: Api, place: str) -> None:
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


# Playbooks without a script


def test_a_playbook_without_a_script_is_run(server: Server, api: Api) -> None:
    name = server.add_service(files={"site.yml": GATHERING}, config={"ansible_playbook": "site.yml", "inputs": True})
    done = api.run(name, {"who": "{{ world }}"})
    assert done["state"] == "success", api.lines(done["id"])
    assert planned_names(api, done["id"]) == TASKS
    assert [(step["name"], step["state"]) for step in done["steps"]] == [(task, "success") for task in TASKS]
    assert [host["outcome"] for step in done["steps"] for host in step["hosts"]] == ["ok"] * 4
    output = "\n".join(api.lines(done["id"]))
    assert "Hello {{ world }}" in output  # values are never templates
    assert "PLAY RECAP" in output


def test_a_failing_playbook_fails_the_deployment(server: Server, api: Api) -> None:
    (server.folder / "old.yml").write_text(QUICK)
    inputs = {"type": "object", "properties": {"who": {"type": "string"}}}
    name = server.add_service(config={"ansible_playbook": "old.yml", "inputs": inputs})
    done = api.run(name, {"who": "evil"})
    assert (done["state"], done["exit_code"]) == ("failure", 2)
    assert [(step["name"], step["state"]) for step in done["steps"]] == [
        ("Say hello", "success"),
        ("Check the answer", "failure"),
    ]
    assert "No evil here" in done["steps"][1]["message"]
    assert "Check the answer" in done["reason"]


# Changes and READMEs


def test_sync_reports_changes_and_shows_them_immediately(server: Server, api: Api) -> None:
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


def test_a_service_includes_its_readme(server: Server, api: Api) -> None:
    with_readme = server.add_service(shell("true"), files={"README.md": "# Größe\n\n<script>alert(1)</script>"})
    without = server.add_service(shell("true"))
    for name, readme in ((with_readme, "# Größe\n\n<script>alert(1)</script>"), (without, None)):
        found = answer(api.admin.get(f"/services/{api.service(name)['id']}"))
        assert (found["name"], found["readme"]) == (name, readme)
