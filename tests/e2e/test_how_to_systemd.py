"""Execute “Run it as a systemd service”: verify its units, and run its commands in order in a scratch root."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.config import Settings
from tests.e2e.folders import shell, write_service
from tests.e2e.forked_commands import FASTDEPLOY
from tests.e2e.scratch_root import ScratchRoot, scratch_root
from tests.e2e.server import Server
from tests.how_tos import block, blocks

PAGE = "systemd"
# The capability lets the users of the scratch root read the Python that runs the tests, which may belong to root.
READ = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


def units() -> dict[str, str]:
    """Return the units of the page by file name."""
    server, worker = blocks(PAGE, "ini")
    return {"fastdeploy.service": server, "fastdeploy-worker.service": worker}


def option(unit: str, name: str) -> str:
    """Return the value of an option that a unit sets once."""
    (value,) = re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)
    return str(value)


def settings() -> dict[str, str]:
    """Return the settings of the page."""
    (text,) = blocks(PAGE, "sh", below="## Settings")
    return dict(line.split("=", 1) for line in text.splitlines())


@pytest.fixture(scope="module")
def installed() -> Iterator[ScratchRoot]:
    """Yield a scratch root in which the commands of the page have run in order."""
    with scratch_root() as root:
        (root.folder / "dist").mkdir()
        (root.folder / "dist" / "fastdeploy_server-1.0-py3-none-any.whl").touch()
        for commands in blocks(PAGE, "sh", below="## Create users and folders"):
            finished = root.run(commands)
            assert finished.returncode == 0, finished.stderr
        with (root.path("/etc/fastdeploy.env")).open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in settings().items())
        yield root


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    for name, unit in units().items():
        (tmp_path / name).write_text(unit.replace("/opt/fastdeploy/bin/fastdeploy", FASTDEPLOY))
    files = [str(tmp_path / name) for name in units()]
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stderr
    assert "fastdeploy" not in verified.stderr, verified.stderr  # warnings name the file


def test_the_commands_create_users_folders_and_the_rule(installed: ScratchRoot) -> None:
    for name in ("fastdeploy", "deploy"):
        assert installed.run(f"id {name}").returncode == 0
    assert installed.path("/home/deploy").is_dir()
    assert installed.path("/srv/services").stat().st_mode & 0o777 == 0o755
    assert installed.path("/etc/fastdeploy.env").stat().st_mode & 0o777 == 0o600
    assert installed.path("/etc/sudoers.d/fastdeploy").read_text() == block("another-user", "sudoers")
    if shutil.which("visudo", path="/usr/sbin:/usr/bin"):
        checked = installed.run("visudo --check --file /etc/sudoers.d/fastdeploy")
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_page_for_deploy_users_creates_the_same_user() -> None:
    create = block("another-user", "sh", below="## Create the deploy user")
    assert create in "".join(blocks(PAGE, "sh", below="## Create users and folders"))
    assert (
        block("another-user", "sh", below="## Configure fastDeploy").strip() == f"SUDO_USER={settings()['SUDO_USER']}"
    )


def test_the_installation_includes_the_database(installed: ScratchRoot) -> None:
    arguments = installed.path("/opt/fastdeploy/pip-arguments").read_text().split()
    assert arguments == ["install", "dist/fastdeploy_server-1.0-py3-none-any.whl[embedded]"]


def test_the_units_and_settings_fit_the_commands(installed: ScratchRoot) -> None:
    assert settings().keys() <= {name.upper() for name in Settings.model_fields}
    assert installed.run(f"id {settings()['SUDO_USER']}").returncode == 0
    assert installed.path(settings()["SERVICES_ROOT"]).is_dir()
    for unit in units().values():
        assert installed.run(f"id {option(unit, 'User')}").returncode == 0
        assert installed.path(option(unit, "EnvironmentFile")).is_file()
        assert (
            option(unit, "WorkingDirectory") == settings()["DATA_DIR"] == f"/var/lib/{option(unit, 'StateDirectory')}"
        )
        assert os.path.lexists(installed.path(option(unit, "ExecStart").split()[0]))


@contextmanager
def started(root: ScratchRoot) -> Iterator[Server]:
    """Start the server as systemd would, from the unit, and yield it."""
    unit = units()["fastdeploy.service"]
    user, folder = option(unit, "User"), option(unit, "WorkingDirectory")
    command = option(unit, "ExecStart")
    assert command.startswith("/opt/fastdeploy/bin/fastdeploy serve --port 8000")
    prepare = f"install -d -o {user} -g {user} -m {option(unit, 'StateDirectoryMode')} {folder} && cd {folder}"
    read = f"set -a && . {option(unit, 'EnvironmentFile')} && set +a"
    identity = f"setpriv --reuid={user} --regid={user} --init-groups {' '.join(READ)} --pdeathsig=TERM"
    through = [*root.through, "sh", "-euc", f'{prepare} && {read} && exec {identity} "$@"', "sh"]
    server = Server(root.folder / "server", through=through)
    (root.folder / "server").chmod(0o777)
    for name in ("DATA_DIR", "SERVICES_ROOT"):
        del server.environment[name]
    server.data_dir, server.services_dir = root.path("/var/lib/fastdeploy"), root.path("/srv/services")
    with server:
        yield server


@pytest.mark.slow  # in the first tier: the tests above, and test_deploy_user.py
def test_the_installed_server_runs_scripts_as_the_deploy_user(installed: ScratchRoot) -> None:
    if shutil.which("sudo") is None:
        pytest.skip("sudo is not installed")
    check = block("another-user", "sh", below="## Check it")
    write_service(installed.path("/srv/services"), "check", script=shell(check.removeprefix("#!/bin/sh\n")))
    with started(installed) as server:
        server.api.sync()
        done = server.api.run("check")
        assert done["state"] == "success", done["reason"]
        lines = server.api.lines(done["id"])
        assert "(deploy)" in lines[0]
        assert any("Permission denied" in line for line in lines[1:])
