"""Scripts run as the deploy user and cannot reach the server's files and processes."""

import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.e2e.api import answer
from tests.e2e.family import FAMILY, family
from tests.e2e.folders import python, shell, write_service
from tests.e2e.processes import living, parent, status
from tests.e2e.server import Server, temporary_folder
from tests.e2e.waiting import wait_until

# Not one of the accounts that the bundled PostgreSQL runs as.
DEPLOY_USER, ORDINARY_USER = "daemon", "www-data"
SETTINGS = {"SUDO_USER": DEPLOY_USER, "SSH_AUTH_SOCK": "/run/agent.sock", "PATH_FOR_DEPLOY": os.environ["PATH"]}
RULE = f"{ORDINARY_USER} ALL=({DEPLOY_USER}) NOPASSWD: ALL\n"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may start servers as another user")
with_sudo = pytest.mark.skipif(
    shutil.which("sudo") is None or shutil.which("unshare") is None, reason="sudo or unshare is missing"
)

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
    "capabilities": [line for line in open("/proc/self/status") if line.startswith(("CapEff", "CapPrm", "CapAmb"))],
}))
"""


def of_root(stack: ExitStack) -> Server:
    """Return a server that runs as root and switches to the deploy user itself."""
    return Server(stack.enter_context(temporary_folder()), settings=SETTINGS)


def of_ordinary_user(stack: ExitStack, rule: str = RULE) -> Server:
    """Return a server that runs as an ordinary user, with sudo limited to this rule.

    It can read everything, because the Python that runs the tests might belong to root.
    """
    folder, sudoers = (stack.enter_context(temporary_folder()) for _ in range(2))
    try:
        user = pwd.getpwnam(ORDINARY_USER)
    except KeyError:
        pytest.skip(f"the user {ORDINARY_USER} does not exist")
    os.chown(folder, user.pw_uid, user.pw_gid)
    (sudoers / "sudoers").write_text(f"Defaults env_reset, use_pty\n{rule}")
    (sudoers / "sudoers").chmod(0o440)
    through = ["unshare", "--mount", "sh", "-c", 'mount --bind "$1" /etc/sudoers && shift && exec "$@"', "sh"]
    through += [str(sudoers / "sudoers"), "setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}"]
    through += ["--clear-groups", "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--pdeathsig=TERM"]
    if subprocess.run([*through, "true"], check=False).returncode != 0:
        pytest.skip("root cannot create mount namespaces or pass on capabilities on this machine")
    return Server(folder, settings=SETTINGS, through=through)


@contextmanager
def started(make: Callable[[ExitStack], Server]) -> Iterator[Server]:
    with ExitStack() as stack:
        yield stack.enter_context(make(stack))


@pytest.fixture(
    scope="module",
    params=[pytest.param(of_root, id="root"), pytest.param(of_ordinary_user, id="sudo", marks=with_sudo)],
)
def guarded(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Yield a server with a deploy user and an SSH agent."""
    with started(request.param) as running:
        yield running


def test_a_script_runs_with_the_deploy_users_permissions(guarded: Server) -> None:
    user = pwd.getpwnam(DEPLOY_USER)
    done = guarded.api.run(guarded.add_service(python(DUMP)))
    assert done["state"] == "success", done["reason"]
    (line,) = guarded.api.lines(done["id"])
    found = json.loads(line)
    assert found["ids"] == [user.pw_uid, user.pw_uid, user.pw_gid, user.pw_gid]
    assert 0 not in found["groups"]
    assert {int(line.split()[1], 16) for line in found["capabilities"]} == {0}
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


def test_cancel_kills_all_processes(guarded: Server) -> None:
    api = guarded.api
    started = api.start(guarded.add_service(python(FAMILY)))
    members = family(api, started["id"])
    answer(api.admin.post(f"/deployments/{started['id']}/cancel"))
    assert api.wait_until_final(started["id"])["state"] == "cancelled"
    wait_until(lambda: all(member.is_dead() for member in members.values()), "all members to die")


# Stops its supervisor again and again, from the moment that the file `go` exists.
STOPS_SUPERVISOR = """
import os, signal, time
keeper = os.getppid()
with open(f"/proc/{keeper}/stat") as file:
    supervisor = int(file.read().rpartition(")")[2].split()[1])
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.write(1, b"%d\\n" % os.getpid())
while not os.path.exists("go"):
    time.sleep(0.01)
while True:
    for pid in (supervisor, keeper):
        os.kill(pid, signal.SIGSTOP)
"""


# In the first tier, tests/integration/test_worker.py does the same without a deploy user.
@pytest.mark.slow
def test_cancel_works_although_the_script_stops_its_supervisor(guarded: Server) -> None:
    api = guarded.api
    name = guarded.add_service(python(STOPS_SUPERVISOR))
    started = api.start(name)
    (pid,) = wait_until(lambda: api.lines(started["id"]), "the script to start")
    script = living(int(pid))
    (guarded.services_dir / name / "go").touch()
    wait_until(lambda: status(parent(script.pid), "State").startswith("T"), "the keeper to be stopped")
    answer(api.admin.post(f"/deployments/{started['id']}/cancel"))
    found = api.wait_until_final(started["id"])
    assert (found["state"], found["reason"]) == ("cancelled", "Cancelled by admin.")
    assert script.is_dead()


def test_a_run_outlives_its_server(guarded: Server) -> None:
    with guarded.puppet() as (name, puppet):
        started = guarded.api.start(name)
        puppet.print("before")
        wait_until(lambda: guarded.api.lines(started["id"]) == ["before"], "the first line")
        guarded.kill()
        puppet.print("meanwhile")
        guarded.start()
        puppet.print("after")
        puppet.exit()
        done = guarded.api.wait_until_final(started["id"])
    assert (done["state"], done["reason"]) == ("success", None)
    assert guarded.api.lines(started["id"]) == ["before", "meanwhile", "after"]


@with_sudo
def test_without_a_sudo_rule_sync_reports_what_is_missing() -> None:
    with started(lambda stack: of_ordinary_user(stack, "")) as server:
        write_service(server.services_dir, "shop", script=shell("echo begun"))
        (problem,) = server.api.sync()["problems"]
        assert problem["folder"] == ""
        assert problem["reason"] == (
            "The services folder cannot be read: sudo: a password is required. "
            f"Allow fastDeploy's account to run commands as {DEPLOY_USER} without a password."
        )
        assert "The fork server is not running: sudo: a password is required." in server.log()
