"""Compare the steps that are read from a service folder with those of a real run, for settings in an `ansible.cfg`."""

from __future__ import annotations

import socket
from pathlib import Path
from textwrap import dedent

import pytest

from deploy.adapters.ansible.command import AnsibleSettings, ansible_settings
from deploy.adapters.ansible.tags import TagFilter
from deploy.adapters.ansible.tasks import GATHERING_FACTS, task_names
from deploy.domain.reports import Reported, read_event
from tests.integration.ansible_runs import Run, run
from tests.reading import files_of
from tests.runs import History, at

CFG = """
    [defaults]
    roles_path = shared/roles:./more-roles
    collections_path = collections
    [tags]
    run = deploy,always
    skip = slow
"""
FILES = {
    "site.yml": """
        - hosts: all
          gather_facts: false
          tags: deploy
          roles:
            - base
            - {role: acme.tools.greet, tags: [slow]}
            - acme.tools.greet
            - {role: web, web_port: 80}
          tasks:
            - {name: Fast, debug: }
            - {name: Slow, debug: , tags: slow}
            - {name: "Install {{ inventory_hostname }}", debug: }
            - block: [{name: Slow too, debug: }]
              tags: slow
            - {name: On demand, debug: , tags: never}
            - import_tasks: more.yml
              tags: slow
            - import_role: {name: web, tasks_from: extra}
        - import_playbook: acme.tools.pack
        - hosts: all
          gather_facts: false
          tasks:
            - {name: Untagged, debug: }
            - {name: Always, debug: , tags: always}
            - {name: Chosen, debug: , tags: [deploy]}
    """,
    "more.yml": "- {name: Slow import, debug: }\n",
    "shared/roles/base/tasks/main.yml": "- {name: Base, debug: }\n",
    "shared/roles/base/meta/main.yml": "dependencies: [common]\n",
    "more-roles/common/tasks/main.yml": "- {name: Common, debug: }\n",
    "roles/web/tasks/main.yml": "- {name: Web, debug: }\n",
    "roles/web/tasks/extra.yml": "- {name: Extra, debug: }\n",
    "roles/web/meta/argument_specs.yml": """
        argument_specs:
          main: {short_description: A web server, options: {web_port: {type: int, required: true}}}
    """,
    "collections/ansible_collections/acme/tools/galaxy.yml": "{namespace: acme, name: tools, version: 1.0.0}\n",
    "collections/ansible_collections/acme/tools/roles/greet/tasks/main.yml": "- {name: Greet, debug: }\n",
    "collections/ansible_collections/acme/tools/playbooks/pack.yml": """
        - hosts: all
          gather_facts: false
          tasks: [{name: Packaged, debug: , tags: deploy}]
    """,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    for name, text in {**FILES, "ansible.cfg": CFG}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> Run:
    return run(folder / "site.yml")


def test_planned_steps_are_those_that_run(reader: socket.socket, folder: Path, found: Run) -> None:
    settings = ansible_settings(dedent(CFG))
    planned = task_names(files_of(reader, folder), str(folder / "site.yml"), str(folder), settings)
    ran = found.task_names()
    assert found.code == 0, found.text
    # Names with templates are only known during the run.
    assert planned == [GATHERING_FACTS, *(name for name in ran if not name.startswith("Install "))]
    assert [event["name"] for event in found.events("task_start") if "templated" in event] == ["Install localhost"]


def test_without_settings_other_folders_are_unknown(reader: socket.socket, folder: Path) -> None:
    names = task_names(files_of(reader, folder), str(folder / "site.yml"), str(folder), AnsibleSettings())
    assert "base : Base" not in names
    assert "Untagged" in names


def test_tasks_of_one_name_are_matched_by_their_place() -> None:
    """A run without the first of two tasks of one name does not mark its planned step as running."""
    history = History(["Install", "Install"])
    for step, place in zip(
        history.stored.values(), ["roles/a/tasks/main.yml:1", "roles/b/tasks/main.yml:1"], strict=True
    ):
        step.detail["path"] = place
    start = '{"event": "task_start", "task": "t", "name": "Install", "path": "roles/b/tasks/main.yml:1"}'
    (entry,) = read_event(start, at(1))
    assert isinstance(entry, Reported)
    history.take(entry)
    assert [step.state.value for step in history.stored.values()] == ["pending", "running"]


@pytest.mark.parametrize(
    ("run_tags", "skip", "tags", "runs"),
    [
        ("", "", "", True),
        ("", "", "never", False),
        ("", "", "never,always", True),
        ("a", "", "a,never", True),
        ("a", "", "b", False),
        ("tagged", "", "", False),
        ("tagged", "", "b", True),
        ("untagged", "", "", True),
        ("untagged", "", "b", False),
        ("", "all", "b", False),
        ("", "all", "always", True),
        ("", "tagged", "b", False),
        ("", "untagged", "", False),
        ("a", "always", "always", False),
    ],
)
def test_tags_decide_as_in_ansible(run_tags: str, skip: str, tags: str, runs: bool) -> None:
    assert TagFilter.of(run_tags, skip).runs(frozenset(filter(None, tags.split(",")))) is runs
