"""Commands that the tests fork behave like commands that a user starts."""

import subprocess
from pathlib import Path

import pytest

from tests.e2e.forked_commands import FASTDEPLOY, run_command
from tests.e2e.server import clean_environment
from tests.e2e.waiting import TIMEOUT


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--version"], 0), (["no-such-command"], 2), (["deployments", "list"], 4), (["user", "list"], 1)],
    ids=["success", "usage", "client", "administration"],
)
def test_a_forked_command_prints_and_exits_like_one_that_is_started(
    tmp_path: Path, arguments: list[str], code: int
) -> None:
    environment = clean_environment(HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path), XDG_STATE_HOME=str(tmp_path))
    forked = run_command(arguments, folder=tmp_path, environment=environment, stdin="", timeout=TIMEOUT)
    started = subprocess.run(
        [FASTDEPLOY, *arguments],
        cwd=tmp_path,
        env=environment,
        input="",
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)
    assert forked.returncode == code


def test_a_forked_command_has_its_own_input_folder_and_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LOG_LEVEL=loud\n")
    environment = clean_environment(HOME=str(tmp_path), XDG_STATE_HOME=str(tmp_path), DATA_DIR=str(tmp_path / "data"))
    create = ["user", "create", "ada", "--password-stdin"]
    rejected = run_command(create, folder=tmp_path, environment=environment, stdin="short\n", timeout=TIMEOUT)
    assert (rejected.returncode, "too short" in rejected.stderr) == (1, True)
    rejected = run_command(create, folder=tmp_path, environment=environment, stdin="long enough\n", timeout=TIMEOUT)
    assert (rejected.returncode, "LOG_LEVEL" in rejected.stderr) == (2, True)
    assert run_command(["--version"], folder=tmp_path, environment={}, stdin="", timeout=TIMEOUT).returncode == 0
