"""Test the callback plugin in a real `ansible-playbook`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from deploy.adapters.ansible.command import CALLBACK_FOLDER
from deploy.adapters.ansible.tasks import task_names
from deploy.adapters.service_folders.files import Files
from deploy.domain.reports import CUT
from tests.integration.ansible_runs import Run, executable, run, write_playbook

OUTCOMES = """
    - name: The play
      hosts: all
      gather_facts: false
      tasks:
        - name: ok
          debug: {msg: hello}
        - name: changed
          command: "true"
        - name: skipped
          debug: {msg: hello}
          when: inventory_hostname == 'nobody'
        - name: ignored
          fail: {msg: never mind}
          ignore_errors: true
        - name: block
          block:
            - name: rescued
              command: sh -c 'echo out; echo oops >&2; exit 3'
            - name: never reached
              debug:
          rescue:
            - name: rescue
              debug: {var: ansible_failed_task.name}
          always:
            - name: always
              debug: {msg: always}
        - name: nested
          block:
            - name: included from a block
              include_tasks: breaks.yml
          rescue:
            - name: outer rescue
              debug: {msg: saved}
        - name: imported into a block
          block:
            - import_tasks: breaks_too.yml
          rescue:
            - name: import rescue
              debug: {msg: saved}
        - name: loop
          assert: {that: item != 2, fail_msg: two is too many, success_msg: "", quiet: true}
          loop: [1, 2, 3]
          ignore_errors: true
        - name: loop of debug
          debug: {msg: "item {{ item }}"}
          loop: [a, b]
        - name: skipped loop
          debug: {msg: "item {{ item }}"}
          loop: [a, b]
          when: false
        - name: empty loop
          debug: {msg: "item {{ item }}"}
          loop: []
        - name: hidden
          command: echo s3cret-1
          no_log: true
        - name: hidden failure
          fail: {msg: s3cret-2}
          no_log: true
          ignore_errors: true
        - name: hidden items
          debug: {msg: "{{ item.password }}"}
          loop: [{name: a, password: s3cret-3}]
          loop_control: {label: "{{ item.password }}"}
          no_log: true
        - name: asynchronous
          command: sleep 0.1
          async: 10
          poll: 1
          vars: {ansible_async_dir: "{{ playbook_dir }}/async"}
        - name: retried
          command: sh -c 'echo x >> tries; test $(wc -l < tries) -ge 2'
          args: {chdir: "{{ playbook_dir }}"}
          register: tries
          until: tries is success
          retries: 3
          delay: 0
        - debug: {var: inventory_hostname}
        - name: once
          debug: {msg: once}
          run_once: true
        - name: delegated
          debug: {msg: delegated}
          delegate_to: somewhere
        - import_role: {name: web}
        - include_role: {name: web}
        - name: included twice
          include_tasks: one.yml
          loop: [x, y]
        - name: notify
          command: "true"
          notify: restart
        - meta: flush_handlers
        - name: notify again
          command: "true"
          notify: restart
      handlers:
        - name: restart
          debug: {msg: restarted}
    - name: The empty play
      hosts: nobody
      tasks:
        - name: of nobody
          debug:
    - name: The second play
      hosts: all
      gather_subset: ["!all", "!min"]
      tasks:
        - name: last
          fail: {msg: the end}
        - name: not reached
          debug:
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run one host through every outcome that a task can have."""
    path = write_playbook(
        tmp_path_factory.mktemp("outcomes"),
        OUTCOMES,
        breaks="- block:\n    - {name: rescued from outside, fail: {msg: broken}}\n",
        breaks_too="- {name: rescued import, fail: {msg: broken}}\n",
        one="- {name: 'one {{ item }}', debug: {msg: one}}\n",
        roles__web__tasks__main="- {name: install, debug: {msg: installed}}\n- debug: {msg: unnamed}\n",
    )
    inventory = "web1 ansible_connection=local\nsomewhere ansible_connection=local\n"
    return run(path, inventory=inventory, arguments=("--limit", "web1"))


def test_the_exit_code_is_ansibles(outcomes: Run) -> None:
    assert outcomes.code == 2


@pytest.mark.parametrize(
    ("task", "outcome", "state", "message"),
    [
        ("ok", "ok", "success", "hello"),
        ("changed", "changed", "success", ""),
        ("skipped", "skipped", "skipped", "Conditional result was False: inventory_hostname == 'nobody'"),
        ("ignored", "ignored", "success", "never mind"),
        ("rescued", "rescued", "success", "oops"),
        ("rescue", "ok", "success", "ansible_failed_task.name: rescued"),
        ("always", "ok", "success", "always"),
        ("included from a block", "ok", "success", ""),
        ("rescued from outside", "rescued", "success", "broken"),
        ("outer rescue", "ok", "success", "saved"),
        ("rescued import", "rescued", "success", "broken"),
        ("loop", "ignored", "success", "3 items: 2 ok, 1 failed\n2: two is too many"),
        ("loop of debug", "ok", "success", "2 items: 2 ok\na: item a\nb: item b"),
        ("skipped loop", "skipped", "skipped", "2 items: 2 skipped"),
        ("empty loop", "skipped", "skipped", "No items in the list"),
        ("hidden", "changed", "success", "The output is hidden (no_log)."),
        ("hidden failure", "ignored", "success", "The output is hidden (no_log)."),
        ("hidden items", "ok", "success", "The output is hidden (no_log)."),
        ("asynchronous", "changed", "success", ""),
        ("retried", "changed", "success", "(after 2 attempts)"),
        ("debug", "ok", "success", "inventory_hostname: web1"),
        ("once", "ok", "success", "once"),
        ("delegated", "ok", "success", "delegated"),
        ("web : install", "ok", "success", "installed"),
        ("web : debug", "ok", "success", "unnamed"),
        ("include_role : web", "ok", "success", ""),
        ("included twice", "ok", "success", ""),
        ("one x", "ok", "success", "one"),
        ("one y", "ok", "success", "one"),
        ("notify", "changed", "success", ""),
        ("restart", "ok", "success", "restarted"),
        ("Gathering Facts", "ok", "success", ""),
        ("last", "failed", "failure", "the end"),
    ],
)
def test_a_task_ends_with_its_outcome(outcomes: Run, task: str, outcome: str, state: str, message: str) -> None:
    assert outcomes.outcomes(task) == {"web1": outcome}
    assert outcomes.states()[task] == state
    assert message in str(outcomes.results(task)["web1"]["message"])


@pytest.mark.parametrize("task", ["never reached", "not reached", "of nobody"])
def test_a_task_that_is_never_reached_is_not_reported(outcomes: Run, task: str) -> None:
    assert task not in outcomes.task_names()


def test_a_failed_command_reports_its_output(outcomes: Run) -> None:
    message = outcomes.message("rescued")

    assert message.startswith("Failed (rescued): ")
    assert message.endswith("(exit code 3)\noops")


def test_a_handler_notified_twice_runs_as_two_tasks(outcomes: Run) -> None:
    restarts = [event["task"] for event in outcomes.events("task_start") if event["name"] == "restart"]

    assert len(set(restarts)) == 2


def test_imported_and_included_roles_have_the_same_names(outcomes: Run) -> None:
    assert outcomes.task_names().count("web : install") == 2


def test_no_object_contains_secrets(outcomes: Run) -> None:
    # Command arguments are in the playbook, and Ansible quotes it in errors, so check only the objects that were sent.
    assert not [item for item in outcomes.objects if "event" in item and "s3cret" in str(item)]
    hidden = outcomes.text[outcomes.text.index("TASK [hidden]") : outcomes.text.index("TASK [asynchronous]")]
    assert not re.search(r"^(ok|changed|failed|fatal).*s3cret", hidden, re.MULTILINE)


def test_plays_report_their_name_and_number_of_hosts(outcomes: Run) -> None:
    plays = [(event["name"], event["hosts"]) for event in outcomes.events("play_start")]

    assert plays == [("The play", 1), ("The empty play", 0), ("The second play", 1)]
    assert {event["play"] for event in outcomes.events("task_start")} == {"The play", "The second play"}


def test_tasks_report_their_location(outcomes: Run) -> None:
    paths = {event["name"]: event["path"] for event in outcomes.events("task_start")}

    assert paths["ok"] == "site.yml:6"
    assert paths["web : install"] == "roles/web/tasks/main.yml:1"


def test_the_recap_matches_ansible(outcomes: Run) -> None:
    [end] = outcomes.events("playbook_end")
    counted = re.search(r"^web1 +: (.*)$", outcomes.text, re.MULTILINE)

    assert counted
    assert isinstance(end["stats"], dict)
    shown = {name: int(count) for name, count in (pair.split("=") for pair in counted[1].split())}
    assert end["stats"]["web1"] == shown
    assert outcomes.objects[-1] == end


def test_text_appears_between_its_events(outcomes: Run) -> None:
    marks = [str(item.get("event", item.get("text"))).strip() for item in outcomes.objects]
    start = marks.index("task_start")

    assert re.match(r"TASK \[ok\] \*+$", marks[start + 1])
    assert marks[start + 2].startswith("ok: [web1] => {")
    assert marks[start + 3 : start + 6] == ["host_result", "task_end", "task_start"]


def test_text_about_a_result_names_its_host(tmp_path: Path) -> None:
    path = write_playbook(
        tmp_path,
        """
        - hosts: all
          gather_facts: false
          tasks:
            - {name: loop, debug: {msg: "{{ item }} on {{ inventory_hostname }}"}, loop: [one, two]}
            - {name: fail, fail: {msg: "broken {{ inventory_hostname }}"}}
        """,
    )
    result = run(path, inventory="web1 ansible_connection=local\nweb2 ansible_connection=local\n")

    about: dict[object, str] = {}
    for item in result.objects:
        if "text" in item:
            about[item.get("host")] = about.get(item.get("host"), "") + str(item["text"])
    for host, other in (("web1", "web2"), ("web2", "web1")):
        for said in (f"one on {host}", f"two on {host}", f"broken {host}"):
            assert said in about[host]
        assert other not in about[host]
    assert "TASK [loop]" in about[None]
    assert "PLAY RECAP" in about[None]


@pytest.mark.main_python
def test_task_names_read_from_files_match_a_run(files: Files, tmp_path: Path) -> None:
    path = write_playbook(
        tmp_path,
        """
        - hosts: all
          gather_subset: ["!all", "!min"]
          pre_tasks:
            - ansible.builtin.debug:
          roles: [web, web]
          tasks:
            - {name: "Greet {{ inventory_hostname }}", block: [{name: inner, debug: }]}
            - import_tasks: more.yml
            - {import_role: {name: web, tasks_from: extra}}
            - meta: clear_host_errors
          post_tasks:
            - action: debug msg=x
        - import_playbook: other.yml
        """,
        more="- {name: more, debug: }\n",
        other="- {hosts: all, gather_facts: false, tasks: [{name: other, local_action: debug}]}\n",
        roles__web__tasks__main="- {name: install, debug: }\n- ping:\n",
        roles__web__tasks__extra="- {name: extra, debug: }\n",
        roles__web__meta__main="dependencies: [base]\n",
        roles__base__tasks__main="- {name: first, debug: }\n",
    )

    assert task_names(files, str(path)) == run(path).task_names()


PLAIN = """
    - hosts: all
      gather_facts: false
      tasks:
        - {name: ok, debug: {msg: "ünïcode"}}
        - {name: items, debug: {msg: x}, loop: [1, 2]}
        - {name: skip, debug: {msg: x}, when: false}
        - {name: ignored, fail: {msg: no}, ignore_errors: true}
        - {name: undefined, debug: {msg: "{{ nothing_of_this_name }}"}, ignore_errors: true}
        - {name: statistics, set_stats: {data: {a: 1}}}
        - {name: bad, assert: {that: 1 == 2}}
"""


COLORED = {"ANSIBLE_SHOW_CUSTOM_STATS": "1", "ANSIBLE_FORCE_COLOR": "1"}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_playbook(tmp_path_factory.mktemp("plain"), PLAIN)


@pytest.fixture(scope="module", params=["", pytest.param("-v", marks=pytest.mark.slow)])
def by_default(plain: Path, request: pytest.FixtureRequest) -> tuple[Run, tuple[str, ...]]:
    """Run the playbook with Ansible's default callback. Return the run and its arguments."""
    arguments = (str(request.param),) if request.param else ()
    environment = {**COLORED, "ANSIBLE_STDOUT_CALLBACK": "default"}
    return run(plain, environment=environment, arguments=arguments, events=False), arguments


def test_text_matches_the_default_callback(plain: Path, by_default: tuple[Run, tuple[str, ...]]) -> None:
    default, arguments = by_default
    ours = run(plain, environment=COLORED, arguments=arguments)

    assert ours.code == default.code == 2
    # Before it loads a callback, Ansible prints directly.
    assert ours.printed + ours.text == default.printed
    assert "\x1b[0;32m" in ours.text


@pytest.mark.main_python
def test_without_a_pipe_it_is_the_default_callback(plain: Path, by_default: tuple[Run, tuple[str, ...]]) -> None:
    default, arguments = by_default
    ours = run(plain, environment=COLORED, arguments=arguments, events=False)

    assert ours.printed == default.printed


@pytest.mark.parametrize(
    "number",
    [
        pytest.param("", marks=pytest.mark.slow),
        pytest.param("x", marks=pytest.mark.slow),
        "999",
        pytest.param("-1", marks=pytest.mark.slow),
    ],
)
def test_an_invalid_pipe_number_is_ignored(tmp_path: Path, number: str) -> None:
    path = write_playbook(tmp_path, "- {hosts: all, gather_facts: false, tasks: [{name: ok, debug: }]}\n")
    result = run(path, events=False, environment={"FASTDEPLOY_EVENTS_FD": number})

    assert result.code == 0
    assert "TASK [ok]" in result.printed


@pytest.mark.main_python
@pytest.mark.parametrize(
    "text",
    [
        "- hosts: all\n  tasks: [\n",
        pytest.param("- hosts: all\n  tasks:\n    - no_such_module: x\n", marks=pytest.mark.slow),
        pytest.param("- hosts: all\n  roles: [gone]\n", marks=pytest.mark.slow),
    ],
)
def test_an_unreadable_playbook_is_only_printed(tmp_path: Path, text: str) -> None:
    path = write_playbook(tmp_path, text)
    result = run(path)

    assert result.code != 0
    assert "ERROR" in result.printed + result.text
    assert not result.events("task_start")


@pytest.mark.main_python
def test_an_aborted_run_still_ends_completed_tasks(tmp_path: Path) -> None:
    path = write_playbook(
        tmp_path,
        """
        - {hosts: all, gather_facts: false, tasks: [{name: done, debug: }]}
        - {hosts: all, gather_facts: false, strategy: gone, tasks: [{name: never, debug: }]}
        """,
    )
    result = run(path)

    assert result.code not in {0, 2}
    assert "strategy specified: gone" in result.printed + result.text
    assert result.states() == {"done": "success"}
    assert not result.events("playbook_end")


HOSTS = "".join(f"web{number} ansible_connection=local\n" for number in (1, 2, 3))


@pytest.mark.main_python
@pytest.mark.parametrize(
    "strategy",
    [
        "linear",
        pytest.param("free", marks=pytest.mark.slow),
        pytest.param("host_pinned", marks=pytest.mark.slow),
    ],
)
def test_every_host_reports_with_any_strategy(tmp_path: Path, strategy: str) -> None:
    path = write_playbook(
        tmp_path,
        f"""
        - hosts: all
          strategy: {strategy}
          gather_subset: ["!all", "!min"]
          tasks:
            - name: at its own pace
              command: sleep {{{{ 0.4 if inventory_hostname == 'web1' else 0 }}}}
            - name: some fail
              assert: {{that: inventory_hostname != 'web2', fail_msg: not web2}}
            - name: one is rescued
              block:
                - name: try
                  assert: {{that: inventory_hostname != 'web3', fail_msg: not web3}}
              rescue:
                - name: rescue
                  debug: {{msg: saved}}
            - name: one skips
              debug: {{msg: hello}}
              when: inventory_hostname == 'web1'
            - name: all skip
              debug:
              when: inventory_hostname == 'nobody'
            - name: bring more
              include_tasks: more.yml
        """,
        more="- {name: more, debug: {msg: more}}\n",
    )
    result = run(path, inventory=HOSTS)

    assert result.code == 2
    assert result.outcomes("at its own pace") == dict.fromkeys(("web1", "web2", "web3"), "changed")
    assert result.outcomes("some fail") == {"web1": "ok", "web2": "failed", "web3": "ok"}
    assert result.outcomes("try") == {"web1": "ok", "web3": "rescued"}
    assert result.outcomes("rescue") == {"web3": "ok"}
    assert result.outcomes("one skips") == {"web1": "ok", "web3": "skipped"}
    assert result.outcomes("more") == {"web1": "ok", "web3": "ok"}
    assert result.states() == {
        "Gathering Facts": "success",
        "at its own pace": "success",
        "some fail": "failure",
        "try": "success",
        "rescue": "success",
        "one skips": "success",
        "all skip": "skipped",
        "bring more": "success",
        "more": "success",
    }
    assert result.message("some fail") == "web2: not web2"
    assert result.message("one skips") in {"1 ok, 1 skipped", "1 skipped, 1 ok"}
    # With the `free` strategy, each host includes its own tasks.
    once = [name for name in result.task_names() if name != "more"]
    assert len(once) == len(set(once))


@pytest.mark.slow  # in the first tier: test_a_task_reports_the_hosts_it_waits_for, where hosts run at their own pace, too
def test_a_free_task_ends_as_soon_as_all_hosts_have_reported(tmp_path: Path) -> None:
    path = write_playbook(
        tmp_path,
        """
        - hosts: all
          strategy: free
          gather_facts: false
          tasks:
            - {name: first, debug: }
            - {name: second, command: sleep 0.2}
            - {name: third, debug: }
        """,
    )
    result = run(path, inventory=HOSTS)
    order = [
        (item["event"], item["name"]) for item in result.objects if item.get("event") in {"task_start", "task_end"}
    ]

    assert (
        order.index(("task_end", "first")) < order.index(("task_end", "second")) < order.index(("task_end", "third"))
    )
    assert result.events("task_end")[-1]["name"] == "third"


@pytest.mark.main_python
def test_each_batch_of_hosts_starts_tasks_again(tmp_path: Path) -> None:
    path = write_playbook(
        tmp_path,
        "- {hosts: all, serial: 2, gather_facts: false, tasks: [{name: a, debug: }, {meta: flush_handlers}]}\n",
    )
    result = run(path, inventory=HOSTS)

    assert [event["hosts"] for event in result.events("play_start")] == [2, 1]
    assert result.task_names() == ["a", "meta", "a", "meta"]
    assert [set(result.outcomes("a"))] == [{"web1", "web2", "web3"}]


@pytest.mark.main_python
def test_a_run_once_task_reports_its_only_host(tmp_path: Path) -> None:
    path = write_playbook(
        tmp_path,
        "- {hosts: all, gather_facts: false, tasks: [{name: once, debug: {msg: x}, run_once: true}, {name: b, debug: }]}\n",
    )
    result = run(path, inventory=HOSTS)

    assert result.outcomes("once") == {"web1": "ok"}
    assert len(result.outcomes("b")) == 3


@pytest.mark.main_python
def test_unreachable_hosts_fail_a_task_unless_ignored(tmp_path: Path) -> None:
    path = write_playbook(
        tmp_path,
        """
        - hosts: all
          gather_facts: false
          tasks:
            - {name: first, ping: , ignore_unreachable: true}
            - {name: second, ping: }
            - {name: third, ping: }
        """,
    )
    gone = "gone ansible_host=127.0.0.1 ansible_port=1\n"
    result = run(path, inventory=f"web1 ansible_connection=local\n{gone}")

    assert result.code == 4
    assert result.outcomes("first") == {"web1": "ok", "gone": "ignored"}
    assert result.outcomes("second") == {"web1": "ok", "gone": "unreachable"}
    assert result.outcomes("third") == {"web1": "ok"}
    assert result.states() == {"first": "success", "second": "failure", "third": "success"}
    # If ssh exits before Ansible has written its module to it, Ansible reports that instead.
    assert re.search("Connection refused|Broken pipe", result.message("second"))


@pytest.mark.main_python
def test_a_missing_include_turns_an_ok_task_into_a_failure(tmp_path: Path) -> None:
    path = write_playbook(
        tmp_path, "- {hosts: all, gather_facts: false, tasks: [{name: inc, include_tasks: 'gone{{ 1 }}.yml'}]}\n"
    )
    result = run(path)

    assert result.code == 2
    assert result.outcomes("inc") == {"localhost": "failed"}
    assert result.states() == {"inc": "failure"}
    assert "gone1.yml" in result.message("inc")


@pytest.mark.main_python
def test_a_dry_run_shows_differences_without_colors(tmp_path: Path) -> None:
    path = write_playbook(
        tmp_path,
        """
        - hosts: all
          gather_facts: false
          tasks:
            - name: one file
              copy: {content: "new\\nsame\\n", dest: "{{ playbook_dir }}/file.txt", mode: "0644"}
            - name: two files
              copy: {content: "{{ item }}\\n", dest: "{{ playbook_dir }}/{{ item }}.txt", mode: "0644"}
              loop: [a, b]
            - name: hidden
              copy: {content: "s3cret\\n", dest: "{{ playbook_dir }}/secret.txt", mode: "0644"}
              no_log: true
        """,
    )
    (tmp_path / "file.txt").write_text("old\nsame\n")
    (tmp_path / "file.txt").chmod(0o644)
    result = run(path, check=True, environment={"ANSIBLE_FORCE_COLOR": "1"})

    assert result.code == 0
    assert (tmp_path / "file.txt").read_text() == "old\nsame\n"
    diff = str(result.results("one file")["localhost"]["diff"])
    assert diff.startswith("--- before: ")
    assert diff.endswith("-old\n+new\n same")
    assert {"+a", "+b"} <= set(str(result.results("two files")["localhost"]["diff"]).splitlines())
    assert "diff" not in result.results("hidden")["localhost"]
    assert "s3cret" not in str(result.objects)


@pytest.mark.main_python
def test_huge_results_are_truncated_with_a_mark(tmp_path: Path) -> None:
    path = write_playbook(
        tmp_path,
        """
        - hosts: all
          gather_facts: false
          tasks:
            - name: talkative
              debug: {msg: "{{ 'ä' * 200000 }}"}
            - name: long file
              copy: {content: "{{ 'a line\\n' * 60000 }}", dest: "{{ playbook_dir }}/long.txt", mode: "0644"}
              diff: true
            - name: many items
              debug: {msg: "{{ 'x' * 100 }}"}
              loop: "{{ range(100) | list }}"
        """,
    )
    result = run(path, environment={"ANSIBLE_MAX_DIFF_SIZE": "10000000"})
    message = str(result.results("talkative")["localhost"]["message"])
    diff = str(result.results("long file")["localhost"]["diff"])

    assert 64 * 1024 <= len(message.encode()) < 64 * 1024 + 100
    assert message.endswith(f"{CUT}400000;")
    assert 256 * 1024 < len(diff.encode()) < 256 * 1024 + 100
    assert CUT in diff
    assert len(result.message("many items").encode()) < 8300
    # The log contains all of it, in objects that stay within the line limit.
    assert "ä" * 200000 in result.text
    assert max(len(str(item.get("text", ""))) for item in result.objects) <= 64 * 1024


@pytest.mark.main_python
def test_invalid_bytes_arrive_readable(tmp_path: Path) -> None:
    path = write_playbook(
        tmp_path,
        r"""
        - hosts: all
          gather_facts: false
          tasks:
            - name: binary
              command: printf 'nul\000\033[31mred\007 \360\237\230\200'
              register: binary
              failed_when: true
        """,
    )
    result = run(path)
    message = result.message("binary")

    assert result.code == 2
    assert "nul␀red␇ 😀" in message
    assert "\x1b" not in message
    assert "\0" not in message
    # The platform can only store valid text.
    assert str(result.objects).encode("utf-8")


ANSWER = "{{ lookup('pipe', 'touch evaluated') }}"


@pytest.mark.main_python
def test_values_are_never_evaluated(tmp_path: Path) -> None:
    path = write_playbook(
        tmp_path,
        """
        - hosts: all
          gather_facts: false
          vars: {indirect: "{{ answer }}"}
          tasks:
            - {name: plain, debug: {msg: "{{ answer }}"}}
            - {name: indirect, debug: {msg: "{{ indirect }}"}}
            - {name: deep, debug: {msg: "{{ fastdeploy_context.deep[0].er }}"}}
            - {name: whole, debug: {var: fastdeploy_context}}
            - {name: item, debug: {msg: "{{ item }}"}, loop: "{{ fastdeploy_context.list }}"}
            - {name: key, debug: {msg: "{{ fastdeploy_context | dict2items | map(attribute='key') | list }}"}}
            - {name: "named {{ answer }}", debug: {msg: x}}
            - {name: set, set_fact: {stored: "{{ answer }}"}}
            - {name: stored, debug: {msg: "{{ stored }}"}}
            - {name: written, copy: {content: "{{ answer }}", dest: "{{ playbook_dir }}/written.txt", mode: "0600"}}
            - {name: type, debug: {msg: "{{ count + 1 }} {{ fastdeploy_deployment_id + 1 }} {{ fastdeploy_service }}"}}
            - {name: steered, debug: {msg: "{{ ansible_connection }} {{ fastdeploy_context.ansible_connection }}"}}
        """,
    )
    values = {
        "answer": ANSWER,
        "deep": [{"er": ANSWER}],
        "list": [ANSWER],
        ANSWER: "key",
        "count": 1,
        "ansible_connection": "ssh",
    }
    result = run(path, values=values)

    assert result.code == 0
    assert not list(tmp_path.rglob("evaluated"))
    for task in ("plain", "indirect", "deep", "stored"):
        assert result.message(task) == ANSWER
    assert ANSWER in result.message("whole")
    assert ANSWER in result.message("item")
    assert (tmp_path / "written.txt").read_text() == ANSWER
    assert result.message("type") == "2 8 shop"
    assert result.message("steered") == "local ssh"


@pytest.mark.main_python
def test_commands_of_a_playbook_do_not_inherit_the_pipe(tmp_path: Path) -> None:
    path = write_playbook(
        tmp_path,
        """
        - hosts: all
          gather_facts: false
          tasks:
            - name: look
              command: sh -c 'echo "number=$FASTDEPLOY_EVENTS_FD"; ls -l /proc/self/fd; false'
              ignore_errors: true
            - name: leave one behind
              shell: sleep 30 >/dev/null 2>&1 & echo $!
              register: left
            - name: say which
              debug: {msg: "{{ left.stdout }}"}
        """,
    )
    result = run(path)  # returns immediately, although the sleep continues

    os.kill(int(result.message("say which")), signal.SIGKILL)
    assert "number=\n" in result.message("look")
    assert result.message("look").count("pipe:") <= 3


@pytest.mark.main_python
def test_a_closed_pipe_does_not_stop_the_playbook(tmp_path: Path) -> None:
    path = write_playbook(
        tmp_path,
        "- {hosts: localhost, gather_facts: false, tasks: [{name: a, debug: }, {name: b, file: {path: '{{ playbook_dir }}/b', state: touch}}]}\n",
    )
    reading, writing = os.pipe()
    os.close(reading)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "ANSIBLE_STDOUT_CALLBACK": "fastdeploy",
        "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACK_FOLDER),
        "FASTDEPLOY_EVENTS_FD": str(writing),
    }
    code = subprocess.run([executable(), str(path)], env=env, pass_fds=[writing], capture_output=True, check=False)
    os.close(writing)

    assert code.returncode == 0
    assert (tmp_path / "b").exists()


@pytest.mark.main_python
def test_an_interrupted_run_ends_with_whole_lines(tmp_path: Path) -> None:
    path = write_playbook(
        tmp_path,
        """
        - hosts: localhost
          gather_facts: false
          tasks:
            - {name: done, debug: }
            - {name: long, command: "sh -c 'touch started; sleep 60'", args: {chdir: "{{ playbook_dir }}"}}
        """,
    )
    reading, writing = os.pipe()
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "ANSIBLE_STDOUT_CALLBACK": "fastdeploy",
        "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACK_FOLDER),
        "FASTDEPLOY_EVENTS_FD": str(writing),
    }
    process = subprocess.Popen(
        [executable(), str(path)],
        env=env,
        pass_fds=[writing],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    while not (tmp_path / "started").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    with open(reading, encoding="utf-8") as pipe:
        sent = pipe.read()

    assert process.wait(30) not in {0, 2}
    assert sent.endswith("\n")
    assert '"name":"done","state":"success"' in sent
    assert '"name":"long","state"' not in sent


def test_a_task_reports_the_hosts_it_waits_for(tmp_path: Path) -> None:
    done = tmp_path / "done"
    path = write_playbook(
        tmp_path,
        f"""
        - hosts: all
          gather_facts: false
          strategy: host_pinned
          tasks:
            - name: slow
              shell: "for i in $(seq 600); do test -e {done} && break; sleep 0.05; done"
              when: inventory_hostname == "web2"
            - name: finish
              shell: "sleep 1; touch {done}"
              when: inventory_hostname == "web1"
        """,
    )
    result = run(path, inventory=HOSTS, environment={"FASTDEPLOY_WAITING_SECONDS": "0.1"})
    waiting = [event for event in result.events("waiting") if event["name"] == "slow"]
    assert (waiting[-1]["hosts"], waiting[-1]["count"]) == (["web2"], 1)


def test_false_and_zero_are_shown_as_items_and_messages(tmp_path: Path) -> None:
    path = write_playbook(
        tmp_path,
        """
        - hosts: all
          gather_facts: false
          tasks:
            - {name: items, debug: {msg: "{{ item }}"}, loop: [0, false, "", a]}
            - {name: message, debug: {msg: "{{ false }}"}}
            - {name: ignored, fail: {msg: broken}, ignore_errors: true}
        """,
    )
    result = run(path)
    assert result.message("items").splitlines()[1:3] == ["0: 0", "false: false"]
    assert "a: a" in result.message("items")
    assert result.message("message") == "false"
    outcomes = {event["name"]: event.get("outcome") for event in result.events("task_end")}
    assert outcomes == {"items": None, "message": None, "ignored": "ignored"}
