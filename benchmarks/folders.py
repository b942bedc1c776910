"""Write the service folders that the measurements deploy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

SCRIPTS = Path(__file__).with_name("scripts")
AT_ONCE = 20
TASKS = 200


def write_services(root: Path) -> None:
    """Write all services below `root`."""
    root.mkdir(parents=True)
    script_service(root, "one-step", "one_step.sh", steps=["Deploy"])
    for number in (1, 2, 3, 4):
        script_service(root, f"steps-{number}", "steps.py")
        script_service(root, f"fan-out-{number}", "steps.py")
    script_service(root, "lines", "lines.py")
    script_service(root, "stamps", "stamps.py")
    for number in range(1, AT_ONCE + 1):
        names = [f"Step {step}" for step in range(1, 6)]
        script_service(root, f"sleeper-{number:02d}", "sleeper.sh", steps=names)
    playbook_service(root, "playbook", debug_playbook(TASKS))


def script_service(root: Path, name: str, script: str, steps: list[str] | None = None) -> None:
    """Write a service with a script."""
    folder = root / name
    folder.mkdir()
    for file in (script, "common.py"):
        shutil.copy(SCRIPTS / file, folder / file)
    (folder / script).chmod(0o755)
    planned = [{"name": step} for step in steps or []]
    config = {"description": f"Benchmark: {name}", "deploy_script": script, "steps": planned}
    (folder / "config.json").write_text(json.dumps(config))


def sleeping_service(root: Path, name: str) -> None:
    """Write a service whose script runs until it is canceled."""
    folder = root / name
    folder.mkdir()
    (folder / "sleep.sh").write_text("#!/bin/sh\nexec sleep 3600\n")
    (folder / "sleep.sh").chmod(0o755)
    (folder / "config.json").write_text(json.dumps({"description": "Sleeps", "deploy_script": "sleep.sh"}))


def playbook_service(root: Path, name: str, playbook: str, **options: object) -> None:
    """Write a service with a playbook that the platform runs directly."""
    folder = root / name
    folder.mkdir()
    (folder / "playbook.yml").write_text(playbook)
    config = {"description": f"Benchmark: {name}", "ansible_playbook": "playbook.yml", **options}
    (folder / "config.json").write_text(json.dumps(config))


def debug_playbook(tasks: int) -> str:
    """Return a playbook with this many debug tasks on this machine."""
    lines = ["- name: Benchmark", "  hosts: localhost", "  connection: local", "  gather_facts: false", "  tasks:"]
    for number in range(1, tasks + 1):
        lines += [f"    - name: Task {number}", "      ansible.builtin.debug:", f"        msg: This is task {number}"]
    return "\n".join(lines) + "\n"


def command_playbook(tasks: int) -> str:
    """Return a playbook with this many command tasks on all hosts of the inventory."""
    lines = ["- name: Benchmark", "  hosts: all", "  gather_facts: false", "  tasks:"]
    for number in range(1, tasks + 1):
        lines += [f"    - name: Task {number}", f"      ansible.builtin.command: /bin/echo {number}"]
    return "\n".join(lines) + "\n"
