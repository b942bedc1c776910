"""Run real playbooks the way the platform does, and parse the events from their pipe."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

from deploy.adapters.ansible.command import EXTRA_VARS_FILE, RUN_DIR, Playbook, extra_vars, playbook_argv, playbook_env
from deploy.adapters.ansible.locate import find_executable, find_strategies
from deploy.domain.service_config import ServiceConfig
from tests.ansible_versions import Ansible

LIMIT = 120
"""Seconds until a hanging playbook fails the test."""


def executable() -> str:
    """Return this environment's `ansible-playbook`. Set ANSIBLE_PLAYBOOK to test another version."""
    return os.environ.get("ANSIBLE_PLAYBOOK") or find_executable(os.environ["PATH"])


@dataclass
class Run:
    """The result of a run: its exit code, its printed output, and the objects from the pipe."""

    code: int
    printed: str
    objects: list[dict[str, object]] = field(default_factory=list)

    @property
    def text(self) -> str:
        pieces = (str(item["text"]) + ("" if item.get("part") else "\n") for item in self.objects if "text" in item)
        return "".join(pieces)

    def events(self, kind: str) -> list[dict[str, object]]:
        return [item for item in self.objects if item.get("event") == kind]

    def task_names(self) -> list[str]:
        return [str(event["name"]) for event in self.events("task_start")]

    def states(self) -> dict[str, str]:
        """Return the state of each task by its name. If a name occurs twice, return the last state."""
        return {str(event["name"]): str(event["state"]) for event in self.events("task_end")}

    def results(self, name: str) -> dict[str, dict[str, object]]:
        """Return the results by host of all tasks with that name."""
        tasks = {event["task"] for event in self.events("task_start") if event["name"] == name}
        return {str(event["host"]): event for event in self.events("host_result") if event["task"] in tasks}

    def outcomes(self, name: str) -> dict[str, str]:
        return {host: str(event["outcome"]) for host, event in self.results(name).items()}

    def message(self, name: str) -> str:
        [event] = [event for event in self.events("task_end") if event["name"] == name]
        return str(event["message"])


def write_playbook(folder: Path, playbook: str, **files: str) -> Path:
    """Write the playbook. Other files are given by keyword, with `__` for `/` and without `.yml`."""
    for name, text in {"site": playbook, **files}.items():
        path = folder / f"{name.replace('__', '/')}.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
    return folder / "site.yml"


def run(
    path: Path,
    *,
    inventory: str = "localhost ansible_connection=local\n",
    values: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    arguments: tuple[str, ...] = (),
    events: bool = True,
    check: bool = False,
    agent: str | None = None,
    mitogen: bool = False,
    ansible: Ansible | None = None,
) -> Run:
    """Run the playbook in its folder.

    `inventory` is the text of an INI file. `ansible` replaces the default ansible-core.
    """
    folder = path.parent
    run_dir, home = folder / ".run", folder / ".home"
    run_dir.mkdir(exist_ok=True)
    home.mkdir(exist_ok=True)
    (folder / "hosts.ini").write_text(
        "[all:vars]\nansible_python_interpreter={{ ansible_playbook_python }}\n[all]\n" + inventory
    )
    (run_dir / EXTRA_VARS_FILE).write_text(extra_vars(values or {}, deployment_id=7, service="shop"), encoding="utf-8")
    strategies = find_strategies(ServiceConfig(mitogen=mitogen))
    if ansible is not None and mitogen:
        strategies = ansible.strategies
    command = str(ansible.executable) if ansible is not None else executable()
    playbook = Playbook(command, path, folder, inventory=folder / "hosts.ini", strategies=strategies)
    env = playbook_env(playbook, path=os.environ["PATH"], home=str(home), ssh_auth_sock=agent)
    env = {**env, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_CONFIG": str(folder / "ansible.cfg"), **(environment or {})}
    argv = playbook_argv(playbook, check=check, diff=check)
    argv[1:1] = arguments
    place = str(run_dir)
    return start(
        [argument.replace(RUN_DIR, place) for argument in argv],
        {name: value.replace(RUN_DIR, place) for name, value in env.items()},
        folder,
        events=events,
    )


def start(argv: list[str], env: dict[str, str], folder: Path, *, events: bool) -> Run:
    """Start the process, with or without a pipe for events. Read all output until it ends."""
    reading, writing = os.pipe()
    if events:
        env = {**env, "FASTDEPLOY_EVENTS_FD": str(writing)}
    raw: list[bytes] = []
    process = subprocess.Popen(
        argv,
        env=env,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[writing] if events else [],
    )
    os.close(writing)
    with open(reading, "rb") as pipe:
        reader = threading.Thread(target=lambda: raw.extend(pipe))
        reader.start()
        try:
            printed, _ = process.communicate(timeout=LIMIT)
        finally:
            process.kill()
        reader.join(LIMIT)
    objects = [json.loads(line) for line in raw]
    check_wire(objects)
    return Run(process.returncode, printed.decode("utf-8", "backslashreplace"), objects)


def check_wire(objects: list[dict[str, object]]) -> None:
    """Check the rules for every run: a task starts once, ends at most once, and only reports results in between."""
    running: set[object] = set()
    ended: set[object] = set()
    for item in objects:
        kind, task = item.get("event"), item.get("task")
        if kind == "task_start":
            assert task not in running | ended
            running.add(task)
        elif kind == "host_result":
            assert task in running
            assert item["outcome"] in {"ok", "changed", "skipped", "failed", "unreachable", "ignored", "rescued"}
            assert isinstance(item["duration"], float)
            assert isinstance(item["message"], str)
        elif kind == "task_end":
            running.remove(task)
            ended.add(task)
            assert item["state"] in {"success", "failure", "skipped"}
        elif kind == "playbook_end":
            assert not running
        elif kind == "no_hosts":
            assert item["patterns"]
        elif kind == "waiting":
            assert task in running
            assert item["hosts"]
        elif kind == "errors_cleared":
            assert not running
        else:
            assert kind == "play_start" or "text" in item
