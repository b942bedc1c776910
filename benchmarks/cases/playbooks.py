"""Compare a playbook run by the platform with running `ansible-playbook` by hand."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.bench import Bench, is_end
from benchmarks.folders import TASKS, command_playbook, playbook_service
from benchmarks.machine import median
from benchmarks.product import Product
from benchmarks.table import Row
from tests.e2e.ssh_hosts import SshHosts, missing, ssh_hosts

LOCAL_GOAL, SSH_GOAL, MITOGEN_GOAL = 1.10, 0.60, 0.10
# Goals for the comparison with the same Ansible settings, and enough tasks to make the ratio meaningful.
OWN_GOAL, OWN_TASKS = 1.0, 50
# The Python on the hosts. The one that Ansible discovers could be a shim that takes longer than the task.
HOST_PYTHON = "/usr/bin/python3"


def measure_playbook(bench: Bench) -> list[Row]:
    """Measure 200 debug tasks on this machine."""
    what = f"playbook with {TASKS} debug tasks on localhost: POST → end seen"
    return [compare_with_a_run_by_hand(bench.product, "playbook", what, LOCAL_GOAL, rounds=bench.rounds(2))]


def measure_ssh(folder: Path, *, quick: bool) -> list[Row]:
    """Measure command tasks on two SSH hosts in separate network namespaces. Requires root and sshd."""
    if reason := missing():
        raise RuntimeError(reason)
    tasks, own_tasks = (5, 5) if quick else (TASKS, OWN_TASKS)
    place, services_dir = folder / "ssh", folder / "ssh-services"
    place.mkdir()
    services_dir.mkdir()
    # Use a home folder with startup files, like the one the goals were set with. With an empty home, logins cost
    # almost nothing.
    with ssh_hosts(place, home=Path.home()) as hosts:
        inventory = f"{hosts.inventory()}\n[all:vars]\nansible_python_interpreter={HOST_PYTHON}\n"
        for name, mitogen, count in (
            ("ssh", False, tasks),
            ("ssh-mitogen", True, tasks),
            ("ssh-few", False, own_tasks),
            ("ssh-few-mitogen", True, own_tasks),
        ):
            playbook_service(services_dir, name, command_playbook(count), mitogen=mitogen)
            (services_dir / name / "inventory").write_text(inventory)
        product = Product(folder / "ssh-data", services_dir, SSH_AUTH_SOCK=hosts.agent)
        try:
            return [*_against_plain_ansible(product, hosts, tasks), *_against_the_same(product, hosts, own_tasks)]
        finally:
            product.stop()


def _against_plain_ansible(product: Product, hosts: SshHosts, tasks: int) -> list[Row]:
    by_hand = _by_hand(product.services_dir / "ssh", hosts.agent)
    what = f"playbook with {tasks} command tasks on 2 SSH hosts"
    return [
        _ssh_row(product, "ssh", f"{what}, our defaults: POST → end seen", by_hand, SSH_GOAL),
        _ssh_row(product, "ssh-mitogen", f"{what}, with mitogen: POST → end seen", by_hand, MITOGEN_GOAL),
    ]


def _against_the_same(product: Product, hosts: SshHosts, tasks: int) -> list[Row]:
    """Measure the platform's own overhead by comparing with runs by hand that use its Ansible settings."""
    strategies = Path(_mitogen_package()).parent / "plugins" / "strategy"
    mitogen = {"ANSIBLE_STRATEGY_PLUGINS": str(strategies), "ANSIBLE_STRATEGY": "mitogen_linear"}
    rows = []
    for service, how, settings in (("ssh-few", "pipelining", {}), ("ssh-few-mitogen", "mitogen", mitogen)):
        by_hand = _by_hand(product.services_dir / service, hosts.agent, ANSIBLE_PIPELINING="1", **settings)
        what = f"{tasks} of these tasks vs. by hand with {how}: POST → end seen"
        rows.append(_ssh_row(product, service, what, by_hand, OWN_GOAL))
    return rows


def _mitogen_package() -> str:
    """Return the path of the package with Mitogen's strategies."""
    found = importlib.util.find_spec("ansible_mitogen")
    assert found is not None
    assert found.origin is not None
    return found.origin


def _ssh_row(product: Product, service: str, what: str, by_hand: float, goal: float) -> Row:
    seconds = _through(product, product.service_ids()[service])
    return Row(
        what=what,
        measured=f"{seconds:.2f} s",
        baseline=f"by hand {by_hand:.2f} s",
        ratio=f"{seconds / by_hand:.3f}",
        goal=f"≤ {goal:.2f}",
        good=seconds / by_hand <= goal,
    )


def compare_with_a_run_by_hand(product: Product, service: str, what: str, goal: float, *, rounds: int) -> Row:
    """Run a service's playbook through the platform and by hand, and compare the durations."""
    folder, service_id = product.services_dir / service, product.service_ids()[service]
    through, by_hand = [], []
    for number in range(rounds):
        # Alternate which one runs first, because the machine can get slower or faster over time.
        if number % 2:
            through.append(_through(product, service_id))
        by_hand.append(_by_hand(folder))
        if not number % 2:
            through.append(_through(product, service_id))
    ratio = sum(through) / sum(by_hand)
    return Row(
        what=what,
        measured=f"{median(through):.2f} s",
        baseline=f"by hand {median(by_hand):.2f} s",
        ratio=f"{ratio:.2f}",
        goal=f"≤ {goal:.2f}",
        good=ratio <= goal,
    )


def _by_hand(folder: Path, agent: str = "", **settings: str) -> float:
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": os.environ["HOME"],
        "LANG": "C.UTF-8",
        "SSH_AUTH_SOCK": agent,
        **settings,
    }
    command = ["ansible-playbook", "playbook.yml"]
    if (folder / "inventory").exists():
        command += ["--inventory", "inventory"]
    log = folder.parent.parent / "by-hand.log"
    with log.open("wb") as output:
        began = time.monotonic_ns()
        status = subprocess.run(
            command, cwd=folder, env=environment, check=False, stdout=output, stderr=output
        ).returncode
        seconds = (time.monotonic_ns() - began) / 1e9
    if status:
        raise RuntimeError(f"ansible-playbook by hand failed: {log.read_text()[-1000:]}")
    return seconds


def _through(product: Product, service_id: int) -> float:
    with product.live() as client:
        began = time.monotonic_ns()
        deployment_id = product.deploy(service_id)
        end = client.until(lambda message: is_end(message, deployment_id))
        seconds = (client.seen_at - began) / 1e9
    if end["state"] != "success":
        raise RuntimeError(f"Deployment {deployment_id}: {end['reason']}")
    return seconds
