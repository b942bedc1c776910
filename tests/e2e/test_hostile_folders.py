"""Service folders that try to expose files outside them or to keep the server busy."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.api import answer
from tests.e2e.conftest import NewServer
from tests.e2e.folders import shell, write_service
from tests.e2e.server import Server, temporary_folder
from tests.e2e.test_deploy_user import SETTINGS
from tests.e2e.waiting import wait_until

# The number of folders of each kind. Each takes all the processor time that a check is allowed to take.
OUTSIDE = "words-of-a-file-outside-of-the-services-folder"
INPUTS = {"type": "object", "properties": {"host": {"type": "string", "x-choices": {"inventory": "hosts"}}}}
PLAYBOOK = "- hosts: all\n  gather_facts: false\n  tasks: [{name: Only, debug: {}}]\n"
# For each file that the server reads: the config of a service in whose folder that file is a link to an outside file.
LOOKED_AT: dict[str, dict[str, Any]] = {
    "README.md": {},
    "readme.md": {},
    "config.json": {},
    "deploy.sh": {},
    "site.yml": {"ansible_playbook": "site.yml"},
    "hosts": {"ansible_playbook": "site.yml", "inputs": INPUTS},
    "inventory": {"ansible_playbook": "site.yml", "inputs": INPUTS},
    "inventory/web": {"ansible_playbook": "site.yml", "inputs": INPUTS},
    "named": {"ansible_playbook": "site.yml", "ansible_inventory": "named", "inputs": INPUTS},
    "ansible.cfg": {"ansible_playbook": "site.yml", "inputs": INPUTS},
    "more.yml": {"ansible_playbook": "imports.yml"},
    "roles": {"ansible_playbook": "roles.yml"},
    "roles/web/tasks/main.yml": {"ansible_playbook": "roles.yml"},
    "choices.sh": {
        "inputs": {"type": "object", "properties": {"x": {"type": "string", "x-choices": {"command": ["choices.sh"]}}}}
    },
}
FILES = {
    "site.yml": PLAYBOOK,
    "imports.yml": "- hosts: all\n  tasks: [{import_tasks: more.yml}]\n",
    "roles.yml": "- hosts: all\n  roles: [web, data, outside]\n",
}


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes the user")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(({}, ["key", "outside"]), id="own account", marks=pytest.mark.slow if os.geteuid() == 0 else ()),
        pytest.param((SETTINGS, ["key", "passwd"]), id="deploy user", marks=as_root),
        pytest.param(({}, []), id="own account, all", marks=pytest.mark.slow),
        pytest.param((SETTINGS, []), id="deploy user, all", marks=[as_root, pytest.mark.slow]),
    ],
)
def hostile(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Yield a server whose services folder is full of links to these outside places, or to all of them."""
    settings, places = request.param
    with temporary_folder() as folder, Server(folder, settings=settings, forked=False) as server:
        (folder / "outside").mkdir()
        for name in ("words", "main.yml"):
            (folder / "outside" / name).write_text(OUTSIDE)
        (folder / ".env").write_text(f"# {OUTSIDE}\n")
        for place, target in targets(server).items():
            if places and place not in places:
                continue
            for number, (file, config) in enumerate(LOOKED_AT.items()):
                link_elsewhere(server, f"{place}{number}", file, config, target)
        yield server


def targets(server: Server) -> dict[str, Path]:
    return {
        "key": server.data_dir / "secret-key",
        "data": server.data_dir,
        "env": server.folder / ".env",
        "outside": server.folder / "outside" / "words",
        "folder": server.folder / "outside",
        "passwd": Path("/etc/passwd"),
        "self": Path("/proc/self/environ"),
        "zero": Path("/dev/zero"),
    }


def link_elsewhere(server: Server, name: str, file: str, config: dict[str, Any], target: Path) -> None:
    needs_script = "ansible_playbook" not in config
    folder = write_service(
        server.services_dir, name, script=shell("true") if needs_script else None, files=FILES, config=config
    )
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(os.path.relpath(target, path.parent) if name.startswith("key") else target)


def secrets(server: Server) -> list[str]:
    """Return the strings that must not appear anywhere."""
    key = (server.data_dir / "secret-key").read_text().strip()
    return [key, OUTSIDE, "root:x:0:0", "SERVICES_ROOT="]


def test_nothing_outside_the_services_folder_is_shown(hostile: Server) -> None:
    api = hostile.api
    seen = [json.dumps(api.sync()), api.admin.get("/services/problems").text, api.admin.get("/services/").text]
    for service in answer(api.admin.get("/services/")):
        seen += [api.admin.get(f"/services/{service['id']}{path}").text for path in ("", "/inputs", "/statistics")]
    seen.append(hostile.log_file.read_text(errors="replace"))
    for secret in secrets(hostile):
        assert not [text[:300] for text in seen if secret in text], secret
    assert "Traceback" not in seen[-1]


def test_each_folder_is_reported_or_harmless(hostile: Server) -> None:
    problems = {problem["folder"]: problem for problem in hostile.api.sync()["problems"]}
    for number, file in enumerate(LOOKED_AT):
        if file in {"config.json", "deploy.sh", "README.md", "readme.md", "site.yml", "choices.sh", "named"}:
            assert "fastDeploy's own files" in problems[f"key{number}"]["reason"], file


def test_a_deployment_does_not_expose_outside_files(hostile: Server) -> None:
    """Ansible quotes files that it cannot parse."""
    api = hostile.api
    api.sync()
    services = [service["name"] for service in answer(api.admin.get("/services/"))]
    started = [api.start(name) for name in services if name.startswith(("key", "outside")) and name[-1].isdigit()]
    assert started
    for deployment in started:
        api.wait_until_final(deployment["id"])
        shown = api.admin.get(f"/deployments/{deployment['id']}").text
        shown += api.admin.get(f"/deployments/{deployment['id']}/output").text
        assert secrets(hostile)[0] not in shown, deployment["service_id"]


def test_a_link_created_after_the_sync_is_not_followed(hostile: Server) -> None:
    name = hostile.add_service(
        None, files={"site.yml": PLAYBOOK}, config={"ansible_playbook": "site.yml", "inputs": INPUTS}
    )
    (hostile.services_dir / name / "hosts").symlink_to(hostile.data_dir / "secret-key")
    service = hostile.api.service(name)
    shown = answer(hostile.api.admin.get(f"/services/{service['id']}/inputs"))
    assert "fastDeploy's own files" in shown["problems"][0]["detail"]
    assert secrets(hostile)[0] not in json.dumps(shown)


def references(width: int, depth: int) -> dict[str, Any]:
    parts: dict[str, Any] = {f"a{depth}": {"properties": {"x": {"type": "string"}}}}
    for level in range(depth):
        parts[f"a{level}"] = {"allOf": [{"$ref": f"#/$defs/a{level + 1}"}] * width}
    return {"inputs": {"type": "object", "allOf": [{"$ref": "#/$defs/a0"}], "$defs": parts}}


def merges() -> str:
    """Return YAML whose expansion only the limits on memory and processor time can stop."""
    lines = ["    a0: &a0 {x: 1}"]
    lines += [f"    a{level}: &a{level} {{<<: [*a{level - 1}, *a{level - 1}]}}" for level in range(1, 31)]
    return "- hosts: all\n  vars:\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize("bombs", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_bombs_are_reported_and_block_nothing(new_server: NewServer, bombs: int) -> None:
    server = new_server()
    server.start()
    good = server.add_service(shell("true"))
    for number in range(bombs):
        write_service(server.services_dir, f"schema{number}", script=shell("true"), config=references(8 + number, 12))
        files = {"site.yml": merges() + f"# {number}\n"}
        write_service(server.services_dir, f"yaml{number}", files=files, config={"ansible_playbook": "site.yml"})
    with ThreadPoolExecutor(20) as pool:
        reads = [pool.submit(server.api.admin.get, "/services/problems") for _ in range(10)]
        # While they are being read, everything else works.
        assert server.api.anonymous.post("/token", data={"username": "admin", "password": "x"}).status_code == 401
        assert server.api.run(good)["state"] == "success"
        answers = [answer(read.result()) for read in reads]
    assert all(problems == answers[0] for problems in answers)
    assert {problem["folder"] for problem in answers[0]} == {
        f"{kind}{n}" for kind in ("schema", "yaml") for n in range(bombs)
    }
    assert all("too complicated" in problem["reason"] for problem in answers[0])
    assert answer(server.api.admin.get("/services/problems")) == answers[0]
    # After a restart, nothing is known about them, and nothing waits for them.
    server.stop()
    server.start()
    assert server.api.run(good)["state"] == "success"


# In the first tier: test_bombs_are_reported_and_block_nothing, which stops a server that has read bombs.
@pytest.mark.slow
def test_a_server_reading_a_bomb_stops_on_sigterm(new_server: NewServer) -> None:
    server = new_server()
    server.start()
    for number in range(20):
        files = {"site.yml": merges() + f"# {number}\n"}
        write_service(server.services_dir, f"yaml{number}", files=files, config={"ansible_playbook": "site.yml"})
    with ThreadPoolExecutor(1) as pool:
        syncing = pool.submit(server.api.admin.post, "/services/sync")
        wait_until(lambda: checkers(server.pid) != set(), "a bomb to be read")
        assert server.stop(signal.SIGTERM) == 0
        assert syncing.exception() is not None or syncing.result().status_code >= 500
    wait_until(lambda: checkers(server.pid) == set(), "the reader to exit")


def checkers(parent: int) -> set[int]:
    """Return the processes that check service folders for this server."""
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_text()
            is_child = f"PPid:\t{parent}\n" in (entry / "status").read_text()
        except OSError:
            continue
        if is_child and "service_folders import checker" in command:
            found.add(int(entry.name))
    return found
