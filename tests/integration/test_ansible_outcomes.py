"""Run real playbooks with every supported ansible-core, and compare the deployment's outcome with Ansible's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from textwrap import dedent

import pytest

from deploy.domain.ansible_errors import ansible_error
from deploy.domain.model import DeploymentState
from deploy.domain.reports import RunEnded, read_event
from tests.ansible_versions import PYTHONS, Ansible, installed, installed_line
from tests.integration.ansible_runs import Run, run, write_playbook
from tests.runs import History, at

LINES = [pytest.param(line, marks=() if line == installed_line() else pytest.mark.slow, id=line) for line in PYTHONS]
LOCAL = "ansible_connection=local\n"
TWO_HOSTS = f"[web]\na {LOCAL}b {LOCAL}"
UNREACHABLE = f"[web]\na {LOCAL}gone ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1\n"


@dataclass(frozen=True)
class Case:
    """A playbook, its inventory, and what is expected: Ansible's exit code and a part of the deployment's reason."""

    playbook: str
    code: int
    reason: str | None = None
    inventory: str = f"localhost {LOCAL}"


CASES = {
    "cleared errors": Case(
        """
        - hosts: all
          gather_facts: false
          tasks:
            - name: Broken
              fail: {msg: broken}
            - meta: clear_host_errors
        - hosts: all
          gather_facts: false
          tasks:
            - name: Later
              debug:
        """,
        2,
        "The step “Broken” failed: broken",
    ),
    "errors cleared by another host": Case(
        """
        - hosts: web
          gather_facts: false
          tasks:
            - name: Broken
              fail: {msg: broken}
              when: inventory_hostname == "a"
            - meta: clear_host_errors
            - name: Later
              debug:
        """,
        0,
        inventory=TWO_HOSTS,
    ),
    "a failure after cleared errors": Case(
        """
        - hosts: web
          gather_facts: false
          tasks:
            - name: Broken
              fail: {msg: broken}
              when: inventory_hostname == "a"
            - meta: clear_host_errors
            - name: Later
              fail: {msg: the real reason}
        """,
        2,
        "1 of 2 hosts failed: b failed (Later): the real reason",
        inventory=TWO_HOSTS,
    ),
    "handlers flushed in a block": Case(
        """
        - hosts: all
          gather_facts: false
          tasks:
            - block:
                - name: Change
                  command: /bin/true
                  notify: Restart
                - meta: flush_handlers
              rescue:
                - name: Mend
                  debug:
          handlers:
            - name: Restart
              command: /bin/false
        """,
        0,
    ),
    "rescue in a handler": Case(
        """
        - hosts: all
          gather_facts: false
          tasks:
            - name: Change
              command: /bin/true
              notify: Reload
          handlers:
            - name: Reload
              include_tasks: included.yml
        """,
        2,
        "The step “Handler tries” failed: ",
    ),
    "ignored and rescued": Case(
        """
        - hosts: web
          gather_facts: false
          tasks:
            - name: Ignored
              fail: {msg: ignored}
              ignore_errors: true
            - block:
                - name: Rescued
                  fail: {msg: rescued}
              rescue:
                - name: Mend
                  debug:
            - name: Unreachable
              ping:
              ignore_unreachable: true
        """,
        0,
        inventory=UNREACHABLE,
    ),
    "unreachable": Case(
        "- {hosts: web, gather_facts: false, tasks: [{name: Reach, ping: }]}",
        4,
        "1 of 2 hosts failed: gone unreachable (Reach): ",
        inventory=UNREACHABLE,
    ),
    "a failure that any_errors_fatal spreads": Case(
        """
        - hosts: web
          gather_facts: false
          any_errors_fatal: true
          serial: 1
          force_handlers: true
          tasks:
            - name: Change
              command: /bin/true
              notify: Restart
            - name: Broken
              fail: {msg: broken}
              when: inventory_hostname == "a"
          handlers:
            - name: Restart
              debug:
        """,
        2,
        "The step “Broken” failed: a: broken",
        inventory=TWO_HOSTS,
    ),
    "fewer failures than max_fail_percentage": Case(
        """
        - hosts: web
          gather_facts: false
          max_fail_percentage: 60
          tasks:
            - name: Broken
              fail: {msg: broken}
              when: inventory_hostname == "a"
            - name: Later
              debug:
        """,
        2,
        "1 of 2 hosts failed: a failed (Broken): broken",
        inventory=TWO_HOSTS,
    ),
    "a rescue after an unreachable host": Case(
        """
        - hosts: web
          gather_facts: false
          tasks:
            - block:
                - name: Reach
                  ping:
              rescue:
                - name: Mend
                  debug:
        """,
        4,
        "1 of 2 hosts failed: gone unreachable (Reach): ",
        inventory=UNREACHABLE,
    ),
    "no host in any play": Case(
        """
        - {hosts: "db:&live", tasks: [{name: Install, debug: }]}
        - {hosts: [cache, queue], tasks: [{name: Install, debug: }]}
        """,
        0,
        "No host matched “db:&live, cache, queue”, so nothing was deployed. Check the inventory",
    ),
    "no host in one play": Case(
        """
        - {hosts: db, tasks: [{name: Install, debug: }]}
        - {hosts: all, gather_facts: false, tasks: [{name: Go, debug: }]}
        """,
        0,
    ),
    "an empty inventory": Case(
        "- {hosts: all, tasks: [{name: Install, debug: }]}", 0, "No host matched “all”", inventory="\n"
    ),
    "a play without tasks": Case("- {hosts: all, gather_facts: false, tasks: []}", 0),
    "an invalid task": Case(
        "- {hosts: all, tasks: [{name: x, debug: , wehn: x}]}", 4, "conflicting action statements: debug, wehn (/"
    ),
    "a missing role": Case("- {hosts: all, roles: [missing]}", 1, "role 'missing' was not found in"),
    "a missing module": Case(
        "- {hosts: all, gather_facts: false, tasks: [{example.missing.module: {}}]}",
        4,
        "couldn't resolve module/action 'example.missing.module'.",
    ),
    "invalid YAML": Case("- hosts: [all\n  tasks: []\n", 4, "site.yml:"),
}
SLOW = {
    "a failure that any_errors_fatal spreads": "a failure after cleared errors",
    "a missing module": "an invalid task",
    "a missing role": "an invalid task",
    "a play without tasks": "no host in any play",
    "a rescue after an unreachable host": "ignored and rescued",
    "an empty inventory": "no host in any play",
    "errors cleared by another host": "cleared errors",
    "fewer failures than max_fail_percentage": "ignored and rescued",
    "no host in one play": "no host in any play",
    "rescue in a handler": "handlers flushed in a block",
    "unreachable": "test_unreachable_hosts_fail_a_task_unless_ignored in test_ansible_callback.py",
}
"""Cases of the second tier, and what resembles each in the first tier."""
INCLUDED = """
    - block:
        - name: Handler tries
          command: /bin/false
      rescue:
        - name: Mend
          debug:
"""


@pytest.fixture(scope="module", params=LINES)
def ansible(request: pytest.FixtureRequest) -> Ansible:
    return installed(request.param)


def deployed(found: Run) -> History:
    """Apply the events of a run, as a worker does."""
    history = History(["Planned"])
    for number, item in enumerate(found.objects):
        history.take(*read_event(json.dumps(item), at(number)))
    error = ansible_error([*found.printed.splitlines(), *found.text.splitlines()])
    history.take(RunEnded(at=at(999), code=found.code, is_playbook=True, error=error))
    return history


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in CASES]
)
def test_the_outcome_is_ansibles(ansible: Ansible, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    case = CASES[name]
    path = write_playbook(tmp_path_factory.mktemp("outcome"), case.playbook, included=INCLUDED)
    found = run(path, inventory=case.inventory, ansible=ansible)
    assert found.code == case.code, found.printed + found.text
    deployment = deployed(found).deployment
    if case.reason is None:
        assert (deployment.state, deployment.reason) == (DeploymentState.SUCCESS, None)
    else:
        assert deployment.state is DeploymentState.FAILURE
        assert case.reason in (deployment.reason or "")
    recap = found.events("playbook_end")
    if recap:  # what each host went through is what Ansible counts
        assert isinstance(stats := recap[0]["stats"], dict)
        for outcome in ("failed", "rescued", "ignored", "unreachable"):
            reported = [str(event["host"]) for event in found.events("host_result") if event["outcome"] == outcome]
            assert {host: reported.count(host) for host in stats} == {host: stats[host][outcome] for host in stats}


def test_the_last_error_is_found_in_colored_output() -> None:
    lines = dedent(
        """\
        \x1b[0;31m[ERROR]: first\x1b[0m
        \x1b[0;31m[ERROR]: second: with details\x1b[0m
        \x1b[0;31mOrigin: /srv/site.yml:4:18\x1b[0m
        """
    ).splitlines()
    assert ansible_error(lines) == "second: with details (/srv/site.yml:4:18)"
    assert ansible_error(["no [ERROR]: here"]) == ""
