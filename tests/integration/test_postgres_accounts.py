"""Choose the account for PostgreSQL, which refuses to run as root: an ordinary user, or root in a user namespace."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.adapters.postgres import PostgresError, PostgresServer, find_binaries
from tests.data_folders import quick_root
from tests.integration.postgres_processes import FAST, ROOT, Starter, ask, uid_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
NOBODY = pwd.getpwnam("nobody")
# Does not have an entry in /etc/passwd, as in a container that runs with an arbitrary user ID.
NAMELESS = 54321
BECOME = ("setpriv", "--clear-groups", "--inh-caps=-all")
NAMESPACE = ("unshare", "--user", "--map-user=65534", "--map-group=65534")


@pytest.fixture
def public() -> Iterator[Path]:
    """Yield a folder that every user can enter."""
    folder = Path(tempfile.mkdtemp(dir=quick_root()))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def python_for(uid: int) -> str:
    """Return a Python that the user can run. The Python that runs the tests could be in a private home folder."""
    for python in (sys.executable, "/usr/bin/python3"):
        program = [*BECOME, f"--reuid={uid}", "--regid=65534", python, "-c", "import deploy.adapters.postgres"]
        if subprocess.run(program, cwd=ROOT, capture_output=True, check=False).returncode == 0:
            return python
    pytest.skip("no installed Python can be run by an ordinary user")


async def test_in_a_public_folder_postgres_runs_as_an_ordinary_user(public: Path) -> None:
    for _ in range(2):
        with PostgresServer(public / "data", settings=FAST) as server:
            assert uid_of(server.pid) != 0
            assert uid_of(server.pid) == (public / "data" / "run").stat().st_uid
            assert await ask(server.url, "SELECT 1") == 1


async def test_in_a_private_folder_postgres_runs_in_a_user_namespace(public: Path) -> None:
    public.chmod(0o700)
    for _ in range(2):
        with PostgresServer(public / "data", settings=FAST) as server:
            assert Path(f"/proc/{server.pid}/uid_map").read_text().split() == ["65534", "0", "1"]
            assert "CapEff:\t0000000000000000" in Path(f"/proc/{server.pid}/status").read_text()
            assert await ask(server.url, "SELECT 1") == 1
        assert server.poll() == 0
    assert stat.S_IMODE(public.stat().st_mode) == 0o700
    assert {path.stat().st_uid for path in (public / "data").rglob("*")} == {0}


async def test_a_database_changes_accounts_with_the_reachability_of_its_folder(public: Path) -> None:
    with PostgresServer(public / "data", settings=FAST) as server:
        await ask(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")

    public.chmod(0o700)

    with PostgresServer(public / "data", settings=FAST) as server:
        assert uid_of(server.pid) == 0
        assert await ask(server.url, "SELECT answer FROM kept") == 42


def test_root_keeps_a_users_folder_usable_for_the_user(public: Path) -> None:
    data_dir = public / "data"
    data_dir.mkdir(mode=0o700)
    os.chown(data_dir, NOBODY.pw_uid, NOBODY.pw_gid)
    with PostgresServer(data_dir, settings=FAST) as server:
        assert uid_of(server.pid) == NOBODY.pw_uid
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700

    starter = ordinary(data_dir, NOBODY.pw_uid)
    pid, _ = starter.wait_until_ready()
    assert uid_of(pid) == NOBODY.pw_uid
    assert starter.finish() == (0, "")


@pytest.mark.parametrize("uid", [NOBODY.pw_uid, NAMELESS], ids=["named", "nameless"])
def test_an_ordinary_user_keeps_its_account(public: Path, uid: int) -> None:
    if uid == NAMELESS and not may_use_namespaces(uid):
        pytest.skip("ordinary users may not create namespaces on this machine")
    public.chmod(0o777)
    for _ in range(2):
        starter = ordinary(public / "data", uid)
        pid, _ = starter.wait_until_ready()
        assert uid_of(pid) == uid
        assert stat.S_IMODE((public / "data").stat().st_mode) == 0o700
        assert starter.finish() == (0, "")


def test_another_users_folder_is_reported(public: Path) -> None:
    with PostgresServer(public / "data", settings=FAST):
        pass

    status, output = ordinary(public / "data", NOBODY.pw_uid).finish()

    assert status == 1
    assert "is not writable: Permission denied. Start fastDeploy as the folder's owner" in output


def test_an_unreachable_folder_is_reported_with_what_to_do(
    public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_test = tmp_path / "bin"
    only_test.mkdir()
    (only_test / "test").symlink_to(shutil.which("test") or "")
    monkeypatch.setenv("PATH", str(only_test))
    public.chmod(0o700)

    with pytest.raises(PostgresError, match=r"refuses to run as root.*Choose another --data-dir.*DATABASE_URL"):
        PostgresServer(public / "data", bin_dir=find_binaries()).start()


def ordinary(data_dir: Path, uid: int) -> Starter:
    prefix = (*BECOME, f"--reuid={uid}", "--regid=65534")
    return Starter(data_dir, prefix=prefix, python=python_for(uid))


def may_use_namespaces(uid: int) -> bool:
    program = [*BECOME, f"--reuid={uid}", "--regid=65534", *NAMESPACE, "true"]
    return subprocess.run(program, capture_output=True, check=False).returncode == 0
