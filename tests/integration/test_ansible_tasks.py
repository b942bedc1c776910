from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from deploy.adapters.ansible.playbook_yaml import PlaybookError
from deploy.adapters.ansible.tasks import task_names
from deploy.adapters.service_folders.files import Files

Names = Callable[..., list[str]]


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path = path.with_name(f"{path.name}.yml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))


@pytest.fixture
def names(files: Files, tmp_path: Path) -> Names:
    """Return a function that writes a playbook `site` and other files, and returns the names of its tasks."""

    def read(site: str, **others: str) -> list[str]:
        write(tmp_path, site=site, **others)
        first, *names = task_names(files, str(tmp_path / "site.yml"))
        assert first == "Gathering Facts"
        return names

    return read


def test_gathering_facts_comes_first_and_once(names: Names) -> None:
    assert names("- hosts: all\n  gather_facts: false\n- hosts: all\n") == []


def test_sections_of_a_play_are_in_execution_order(names: Names) -> None:
    site = """
        - hosts: all
          post_tasks: [{name: last, ping: }]
          tasks: [{name: middle, ping: }]
          roles: [web, {role: db, when: true}, {name: absent.from.here}]
          pre_tasks: [{name: first, ping: }]
          handlers: [{name: on demand, ping: }]
    """
    roles = {
        "roles__web__tasks__main": "- name: Install\n  package: name=nginx\n- ping:\n",
        "roles__db__tasks__main": "- name: Install\n  ping:\n",
        "roles__db__meta__main": "dependencies: [web, {role: common}]\n",
        "roles__common__tasks__main": "- {name: Base, ping: }\n",
    }

    assert names(site, **roles) == [
        "first",
        "web : Install",
        "web : ping",
        "common : Base",
        "db : Install",
        "middle",
        "last",
    ]


def test_blocks_are_flattened_without_their_rescue(names: Names) -> None:
    site = """
        - hosts: all
          tasks:
            - name: a block has no step
              block:
                - {name: try, ping: }
                - block: [{name: inner, ping: }]
              rescue: [{name: only when it fails, ping: }]
              always: [{name: finally, ping: }]
    """

    assert names(site) == ["try", "inner", "finally"]


def test_static_imports_are_followed_and_includes_are_one_task(names: Names) -> None:
    site = """
        - hosts: all
          tasks:
            - import_tasks: more.yml
            - ansible.builtin.import_tasks: {file: sub/deep.yml}
            - import_tasks: "{{ unknown }}.yml"
            - name: Bring more
              include_tasks: more.yml
            - include_tasks: more.yml
            - import_role: {name: web, tasks_from: extra}
            - include_role: {name: web}
        - import_playbook: other.yml
    """
    files = {
        "more": "- {name: more, ping: }\n",
        "sub__deep": "- {name: deep, ping: }\n- import_tasks: beside.yml\n",
        "sub__beside": "- {name: beside, ping: }\n",
        "roles__web__tasks__extra": "- {name: extra, ping: }\n- import_tasks: more.yml\n",
        "roles__web__tasks__more": "- {name: of the role, ping: }\n",
        "other": "- hosts: all\n  tasks: [{name: other, ping: }]\n",
    }

    assert names(site, **files) == [
        "more",
        "deep",
        "beside",
        "Bring more",
        "include_tasks",
        "web : extra",
        "web : of the role",
        "include_role : web",
        "other",
    ]


def test_unnamed_tasks_are_named_after_their_module(names: Names) -> None:
    site = """
        - hosts: all
          tasks:
            - ansible.builtin.debug: msg=hello
              when: true
              with_items: [1]
            - action: command echo hello
            - local_action: {module: copy, src: a}
            - meta: flush_handlers
    """

    assert names(site) == ["ansible.builtin.debug", "command", "copy", "meta"]


def test_names_with_templates_are_omitted(names: Names) -> None:
    site = "- hosts: all\n  tasks: [{name: 'Deploy {{ version }}', ping: }, {name: Check, ping: }]\n"

    assert names(site) == ["Check"]


def test_encrypted_files_are_omitted(names: Names) -> None:
    site = "- hosts: all\n  roles: [secret]\n  tasks: [{import_tasks: more.yml}, {name: Last, ping: }]\n- import_playbook: other.yml\n"
    vault = "$ANSIBLE_VAULT;1.1;AES256\n6162\n"

    assert names(site, more=vault, other=vault, roles__secret__tasks__main=vault) == ["Last"]


def test_tasks_that_only_run_on_demand_are_omitted(names: Names) -> None:
    site = """
        - hosts: all
          tags: never
          tasks: [{name: a, ping: }]
        - hosts: all
          tasks:
            - {name: b, ping: , tags: [never, wipe]}
            - {name: c, ping: , tags: "wipe, never"}
            - {name: d, ping: , tags: web}
    """

    assert names(site) == ["d"]


def test_known_and_unknown_yaml_tags_are_accepted(names: Names) -> None:
    site = """
        - hosts: all
          vars:
            secret: !vault |
              $ANSIBLE_VAULT;1.1;AES256
            text: !unsafe "{{ x }}"
            strange: !something/else {a: !b [1]}
          tasks: [{name: !unsafe "raw", ping: }]
    """

    assert names(site) == ["raw"]


def test_empty_roles_and_sections_are_valid(names: Names) -> None:
    assert names("- hosts: all\n  roles: [web]\n  tasks:\n", roles__web__tasks__main="---\n") == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- hosts: all\n  tasks: [\n", "expected"),
        ("hosts: all\n", "list of plays"),
        ("- just text\n", "list of plays"),
        ("", "list of plays"),
        ("- hosts: all\n  tasks: text\n", "expected a list"),
        ("- hosts: all\n  tasks: [text]\n", "must be a mapping"),
        ("- hosts: all\n  vars: {day: 2024-99-99}\n", "month"),
        ("- import_playbook: site.yml\n", "imports itself"),
        ("- hosts: all\n  tasks: [{import_tasks: loop.yml}]\n", "imports itself"),
        ("a: &x [*x, {*x : 1}]\n", "unhashable"),
        ("[" * 5000, "nested"),
        ("[" * 9000 + "]" * 9000, "nested"),
        ("{a: " * 9000 + "}" * 9000, "nested"),
    ],
)
def test_an_invalid_playbook_is_rejected_with_its_file(files: Files, tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "site.yml").write_text(text)
    (tmp_path / "loop.yml").write_text("- import_tasks: loop.yml\n")

    with pytest.raises(PlaybookError, match=reason) as caught:
        task_names(files, str(tmp_path / "site.yml"))

    assert str(tmp_path) in str(caught.value)


def test_broken_yaml_is_rejected_with_its_line(files: Files, tmp_path: Path) -> None:
    (tmp_path / "site.yml").write_text("- hosts: all\n  tasks:\n  - name: a\n   ping:\n")

    with pytest.raises(PlaybookError) as caught:
        task_names(files, str(tmp_path / "site.yml"))

    assert caught.value.line == 4
    assert str(caught.value).startswith(f"{tmp_path}/site.yml:4: ")


def test_a_missing_or_binary_file_is_rejected(files: Files, tmp_path: Path) -> None:
    with pytest.raises(PlaybookError, match="does not exist"):
        task_names(files, str(tmp_path / "site.yml"))

    (tmp_path / "site.yml").write_bytes(b"- hosts: \xff\xfe\n")
    with pytest.raises(PlaybookError):
        task_names(files, str(tmp_path / "site.yml"))
