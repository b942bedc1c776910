"""Playbooks on real hosts, over SSH."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.ssh_hosts import SshHosts, missing, ssh_hosts, wait_until_true
from tests.integration.ansible_runs import run, write_playbook

pytestmark = pytest.mark.e2e

PLAYBOOK = """
    - hosts: all
      gather_facts: false
      tasks:
        - name: Who are you?
          command: hostname
          register: answer
        - name: Say it
          debug: {msg: "{{ answer.stdout }}"}
        - name: Write a file
          copy: {content: "{{ inventory_hostname }}", dest: "{{ ansible_remote_tmp | dirname }}/note", mode: "0600"}
"""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshHosts]:
    """Yield two hosts. Tests must leave them unchanged."""
    reason = missing()
    if reason:
        pytest.skip(f"SSH hosts need network namespaces: {reason}")
    with ssh_hosts(tmp_path_factory.mktemp("ssh")) as made:
        yield made


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder whose path is as short as a real run's.

    The path of pytest's own folder might be too long for a socket's name, which is limited to 107 bytes.
    """
    with tempfile.TemporaryDirectory(prefix="run-") as made:
        yield Path(made)


def take_notes(hosts: SshHosts) -> list[str]:
    """Return and remove what the playbook wrote on each host, so that no other test reads it."""
    notes = [host.folder / "note" for host in hosts.hosts]
    texts = [note.read_text() for note in notes]
    for note in notes:
        note.unlink()
    return texts


@pytest.mark.parametrize("pipelining", ["1", pytest.param("0", marks=pytest.mark.slow)])
def test_each_host_reports_its_own_results(hosts: SshHosts, folder: Path, pipelining: str) -> None:
    path = write_playbook(folder, PLAYBOOK)
    environment = {"ANSIBLE_PIPELINING": pipelining}
    result = run(path, inventory=hosts.inventory(), agent=hosts.agent, environment=environment)

    assert result.code == 0, result.text
    assert result.outcomes("Who are you?") == {"web1": "changed", "web2": "changed"}
    assert {host: event["message"] for host, event in result.results("Say it").items()} == {
        "web1": "web1",
        "web2": "web2",
    }
    assert take_notes(hosts) == ["web1", "web2"]
    assert result.message("Who are you?") == "2 changed"
    # Ansible shares connections. While they are open, their sockets are in this folder.
    sockets = folder / ".run" / "cp"
    assert sockets.is_dir()
    wait_until_true(lambda: not any(sockets.iterdir()))


# In the first tier: test_each_host_reports_its_own_results without Mitogen, and with Mitogen on this machine the
# tests of hostile values in test_ansible_values.py.
@pytest.mark.slow
def test_mitogen_produces_the_same_results(hosts: SshHosts, folder: Path) -> None:
    path = write_playbook(folder, PLAYBOOK)
    # On a busy machine, the default of 10 seconds can be too short.
    environment = {"ANSIBLE_TIMEOUT": "60"}
    result = run(path, inventory=hosts.inventory(), agent=hosts.agent, environment=environment, mitogen=True)

    assert result.code == 0, result.text
    assert result.outcomes("Who are you?") == {"web1": "changed", "web2": "changed"}
    assert {host: event["message"] for host, event in result.results("Say it").items()} == {
        "web1": "web1",
        "web2": "web2",
    }
    assert take_notes(hosts) == ["web1", "web2"]


def test_mitogen_does_not_pin_processes_to_one_cpu(hosts: SshHosts, folder: Path) -> None:
    playbook = """
        - hosts: localhost
          gather_facts: false
          tasks:
            - command: nproc
              register: of_a_command
            - name: How many?
              debug: {msg: "{{ of_a_command.stdout }} {{ lookup('pipe', 'nproc') }}"}
    """
    result = run(write_playbook(folder, playbook), mitogen=True)

    assert result.code == 0, result.text
    assert result.message("How many?").split() == [str(len(os.sched_getaffinity(0)))] * 2


# In the first tier: test_unreachable_hosts_fail_a_task_unless_ignored in test_ansible_callback.py.
@pytest.mark.slow
def test_an_unreachable_host_does_not_stop_the_others(hosts: SshHosts, folder: Path) -> None:
    path = write_playbook(folder, PLAYBOOK)
    hosts.hosts[1].set_link("down")
    try:
        result = run(path, inventory=hosts.inventory(), agent=hosts.agent, environment={"ANSIBLE_TIMEOUT": "3"})
    finally:
        hosts.hosts[1].set_link("up")

    assert result.code == 4
    assert result.outcomes("Who are you?") == {"web1": "changed", "web2": "unreachable"}
    assert set(result.outcomes("Write a file")) == {"web1"}
    assert result.states() == {"Who are you?": "failure", "Say it": "success", "Write a file": "success"}
    assert re.search("Connection timed out|No route to host", result.message("Who are you?"))


@pytest.mark.parametrize(
    ("wrong_key", "complaint"),
    [
        (
            "changed",
            r"The host key has changed\. .+ Received: ED25519 SHA256:\S{43}\. Known: ED25519 SHA256:\S{43} \(.+/known_hosts:2\)\.",
        ),
        pytest.param("unknown", "Host key verification failed", marks=pytest.mark.slow),
    ],
)
def test_a_host_with_another_key_is_rejected(hosts: SshHosts, folder: Path, wrong_key: str, complaint: str) -> None:
    first, second = hosts.hosts
    lines = {"changed": f"{second.address} {first.public_key()}\n", "unknown": ""}
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(f"{first.address} {first.public_key()}\n{lines[wrong_key]}")
    result = run(write_playbook(folder, PLAYBOOK), inventory=hosts.inventory(known_hosts), agent=hosts.agent)

    assert result.code == 4
    assert result.outcomes("Who are you?") == {"web1": "changed", "web2": "unreachable"}
    message = result.message("Who are you?")
    assert re.search(complaint, message)
    assert "@@@" not in message
    fingerprints = re.findall(r"SHA256:\S{43}", message)
    assert len(set(fingerprints)) == (2 if wrong_key == "changed" else 0)
    # Ansible did not add the wrong key to the known hosts.
    assert known_hosts.read_text().count(second.address) == len(lines[wrong_key].splitlines())
