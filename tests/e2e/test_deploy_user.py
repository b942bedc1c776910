"""Scripts run as the deploy user, and cannot reach what is the server's."""

import json
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.folders import python, shell
from tests.e2e.server import Server, temporary_folder

# Neither of those the bundled PostgreSQL runs as.
DEPLOY_USER = "daemon"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may run scripts as somebody else without sudo")

DUMP = """
import json, os, stat
path = os.environ["DEPLOY_CONFIG_FILE"]
status = os.stat(path)
print(json.dumps({
    "ids": [os.getuid(), os.geteuid(), os.getgid(), os.getegid()],
    "groups": os.getgroups(),
    "environment": dict(os.environ),
    "owner": status.st_uid,
    "mode": stat.S_IMODE(status.st_mode),
    "agent": json.load(open(path)).get("ssh_auth_sock"),
}))
"""


@pytest.fixture(scope="module")
def guarded(free_folder: Path) -> Iterator[Server]:
    """A server with a deploy user and an SSH agent."""
    settings = {"SUDO_USER": DEPLOY_USER, "SSH_AUTH_SOCK": "/run/agent.sock", "PATH_FOR_DEPLOY": os.environ["PATH"]}
    with Server(free_folder, settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def free_folder() -> Iterator[Path]:
    with temporary_folder() as folder:
        yield folder


def test_a_script_has_the_rights_of_the_deploy_user(guarded: Server) -> None:
    user = pwd.getpwnam(DEPLOY_USER)
    done = guarded.api.run(guarded.add_service(python(DUMP)))
    assert done["state"] == "success", done["reason"]
    (line,) = guarded.api.lines(done["id"])
    found = json.loads(line)
    assert found["ids"] == [user.pw_uid, user.pw_uid, user.pw_gid, user.pw_gid]
    assert 0 not in found["groups"]
    assert set(found["environment"]) - {"LC_CTYPE"} == {"PATH", "HOME", "LANG", "DEPLOY_CONFIG_FILE"}
    assert found["environment"]["HOME"] == user.pw_dir
    assert found["environment"]["PATH"] == os.environ["PATH"]
    assert (found["owner"], found["mode"]) == (user.pw_uid, 0o600)
    assert found["agent"] == "/run/agent.sock"


def test_a_script_cannot_reach_the_server(guarded: Server) -> None:
    data = guarded.data_dir
    script = shell(f"""
        for path in {data} {data}/runs {data}/postgres* /proc/{guarded.pid}/fd; do ls "$path" && echo "CAN LIST $path"; done
        for path in {data}/secret-key {data}/postgres*/*password* /proc/{guarded.pid}/environ; do
            cat "$path" && echo "CAN READ $path"
        done
        kill -0 {guarded.pid} && echo "CAN SIGNAL"
        exit 0
    """)
    done = guarded.api.run(guarded.add_service(script))
    output = "\n".join(guarded.api.lines(done["id"]))
    assert done["state"] == "success"
    assert "CAN LIST" not in output
    assert "CAN READ" not in output
    assert "CAN SIGNAL" not in output
    assert "denied" in output
    assert (data / "secret-key").exists()
