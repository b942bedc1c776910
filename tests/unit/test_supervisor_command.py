"""Build the command and the settings that start a supervisor, as data."""

import json
from pathlib import Path

import pytest

from deploy.adapters.runs import supervisor
from deploy.adapters.runs.directory import RunSpec
from deploy.adapters.runs.start import (
    DeployUser,
    NoSudo,
    SudoRefused,
    UnknownUser,
    in_one_argument,
    not_started,
    supervisor_argv,
    supervisor_command,
)
from deploy.adapters.runs.supervisor.spec import Spec

PROGRAM = ["-I", "-S", "-c", "import supervisor"]
SHOP = DeployUser(name="shop", uid=4711, gid=4711, groups=[4711], home="/home/shop")


def test_without_a_deploy_user_python_is_started_directly() -> None:
    assert supervisor_argv("/usr/bin/python3", PROGRAM, None, euid=1000) == ["/usr/bin/python3", *PROGRAM]


def test_root_starts_python_directly_and_changes_the_user_itself() -> None:
    assert supervisor_argv("/usr/bin/python3", PROGRAM, SHOP, euid=0) == ["/usr/bin/python3", *PROGRAM]


def test_the_deploy_user_itself_does_not_need_sudo() -> None:
    assert supervisor_argv("/usr/bin/python3", PROGRAM, SHOP, euid=4711) == ["/usr/bin/python3", *PROGRAM]


def test_other_users_start_python_through_sudo() -> None:
    command = supervisor_argv("/usr/bin/python3", PROGRAM, SHOP, euid=1000)
    assert command == ["sudo", "-n", "-u", "shop", "--", "/usr/bin/python3", *PROGRAM]


def test_a_missing_sudo_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("deploy.adapters.runs.start._SYSTEM_PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(
        NoSudo,
        match=r"sudo is required to run as shop, but it is not installed. Install it, or run fastDeploy as root",
    ):
        supervisor_command(SHOP, python="/usr/bin/python3")


@pytest.mark.parametrize(
    ("sudo_output", "why"),
    [
        (
            "We trust you have received the usual lecture.\n\nsudo: a password is required\n",
            "sudo: a password is required",
        ),
        (
            'sudo: The "no new privileges" flag is set.\nsudo: Adjust the container.\n',
            'sudo: The "no new privileges" flag is set. sudo: Adjust the container',
        ),
        ("Sorry, user web may not run this as shop on here.\n", "Sorry, user web may not run this as shop on here"),
    ],
)
def test_a_sudo_error_is_explained_with_what_to_do(sudo_output: str, why: str) -> None:
    error = not_started(supervisor_argv("/usr/bin/python3", PROGRAM, SHOP, euid=1000), sudo_output)
    assert isinstance(error, SudoRefused)
    assert str(error) == f"{why}. Allow fastDeploy's account to run commands as shop without a password."


@pytest.mark.parametrize(
    ("euid", "sudo_output", "why"),
    [
        (1000, "", "sudo ended without an error message, or did not respond."),
        (1000, "sudo: unable to resolve host x\nOSError: not a socket\n", "OSError: not a socket"),
        (0, "Traceback …\nsudo: no such module\n", "sudo: no such module"),
    ],
)
def test_other_failures_are_not_blamed_on_sudo(euid: int, sudo_output: str, why: str) -> None:
    error = not_started(supervisor_argv("/usr/bin/python3", PROGRAM, SHOP, euid=euid), sudo_output)
    assert not isinstance(error, SudoRefused)
    assert str(error) == why


def test_the_supervisor_source_fits_into_one_argument() -> None:
    program = in_one_argument(Path(supervisor.__file__).parent)
    assert program.isascii()
    assert len(program) < 128 * 1024  # MAX_ARG_STRLEN


def test_the_error_for_an_unknown_deploy_user_explains_what_to_do() -> None:
    with pytest.raises(UnknownUser, match=r"The user nobody-of-that-name does not exist .* SUDO_USER"):
        DeployUser.named("nobody-of-that-name")


def test_settings_are_sent_as_one_line() -> None:
    spec = RunSpec(
        argv=["/srv/deploy.sh", "--config", "%RUN_DIR%/config.json"],
        cwd="/srv",
        env={"TEXT": "two\nlines\x00ü"},
        files={"config.json": "{\n}\n"},
        timeout=1.5,
        grace=2.0,
        interrupt=True,
        events=True,
        output_limit=10,
        line_limit=20,
    )
    line = spec.to_json()
    assert "\n" not in line
    assert line.isascii()
    received = Spec(json.loads(line))
    assert {name: getattr(received, name) for name in vars(received)} == json.loads(line)


@pytest.mark.parametrize("missing", ["argv", "cwd", "env", "output_limit", "line_limit"])
def test_settings_without_a_required_field_are_rejected(missing: str) -> None:
    settings = {"argv": ["/bin/true"], "cwd": "/", "env": {}, "output_limit": 1, "line_limit": 1}
    del settings[missing]
    with pytest.raises(KeyError):
        Spec(settings)


def test_the_private_folder_is_filled_in_everywhere() -> None:
    settings = {"cwd": "/", "output_limit": 1, "line_limit": 1}
    spec = Spec(settings | {"argv": ["a", "--config=%RUN_DIR%/c"], "env": {"DEPLOY_CONFIG_FILE": "%RUN_DIR%/c"}})
    assert spec.for_folder("/tmp/x") == ([b"a", b"--config=/tmp/x/c"], {b"DEPLOY_CONFIG_FILE": b"/tmp/x/c"})


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_invalid_arguments_are_rejected(text: str) -> None:
    spec = Spec({"argv": [text], "cwd": "/", "env": {}, "output_limit": 1, "line_limit": 1})
    with pytest.raises(ValueError):
        spec.for_folder("/tmp/x")
