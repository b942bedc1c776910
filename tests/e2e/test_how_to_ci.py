"""Execute the snippets of “Deploy from CI” as CI systems do, against a server that refuses, restarts, or is slow."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import NewServer
from tests.e2e.folders import shell
from tests.e2e.forked_commands import FASTDEPLOY
from tests.e2e.relay import relay
from tests.e2e.server import PASSWORD, USER, Server
from tests.e2e.waiting import TIMEOUT, wait_until
from tests.how_tos import block, blocks

PAGE, EXAMPLE = "deploy-from-ci", "https://deploy.example.com"
pytestmark = pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="requires curl and jq")


class Job:
    """A CI job: its shell script, and the variables that the CI system sets."""

    def __init__(self, shell: list[str], script: str, variables: dict[str, str]) -> None:
        self.shell = shell
        self.script = script
        self.variables = variables


def github() -> Job:
    """Return the GitHub Actions job. GitHub runs scripts with `bash -e`."""
    (step,) = yaml.safe_load(block(PAGE, "yaml", below='=== "GitHub Actions"'))["deploy"]["steps"]
    values = {"secrets.FASTDEPLOY_TOKEN": "TOKEN", "github.run_id": "1234", "github.run_attempt": "1"}
    variables = {
        name: re.sub(r"\$\{\{ (.+?) \}\}", lambda found: values[found[1]], text) for name, text in step["env"].items()
    }
    return Job(["bash", "-e"], step["run"], variables | {"GITHUB_SHA": "4f2c"})


def gitlab() -> Job:
    """Return the GitLab job. Secrets are variables of the project. The shell is POSIX sh on small images."""
    job = yaml.safe_load(block(PAGE, "yaml", below='=== "GitLab CI"'))["deploy"]
    (script,) = job["script"]
    return Job(
        ["sh", "-e"],
        script,
        {"CI_JOB_ID": "77", "CI_COMMIT_SHA": "4f2c", "FASTDEPLOY_TOKEN": "TOKEN"} | job["variables"],
    )


class Running:
    """A job that runs in its own folder. Its pauses are short, and counted."""

    def __init__(self, job: Job, folder: Path, *, url: str, token: str) -> None:
        self._pauses = folder / "pauses"
        programs = folder / "bin"
        programs.mkdir()
        (programs / "sleep").write_text(shell(f"echo >> {self._pauses}\nexec {shutil.which('sleep')} 0.05"))
        (programs / "sleep").chmod(0o755)
        assert job.variables["URL"] == EXAMPLE
        assert job.variables["FASTDEPLOY_TOKEN"] == "TOKEN"
        variables = {**os.environ, **job.variables, "URL": url, "FASTDEPLOY_TOKEN": token, "no_proxy": "*"}
        self.process = subprocess.Popen(
            [*job.shell, "-c", job.script],
            cwd=folder,
            env=variables | {"PATH": f"{programs}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def pauses(self) -> int:
        """Return how often it has paused so far."""
        return self._pauses.read_text().count("\n") if self._pauses.exists() else 0

    def outcome(self) -> tuple[int, str]:
        """Return its exit code and what it printed."""
        output, _ = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, output


RunJob = Callable[..., Running]


@pytest.fixture(params=[github, gitlab], ids=["GitHub", "GitLab"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunJob]:
    """Yield a function that starts the job against a URL with a token."""
    started: list[Running] = []

    def start(*, url: str, token: str) -> Running:
        started.append(Running(request.param(), tmp_path, url=url, token=token))
        return started[-1]

    yield start
    for running in started:
        running.process.kill()
        running.process.wait()


def test_a_job_waits_for_success(server: Server, run: RunJob) -> None:
    with server.puppet() as (name, puppet):
        running = run(url=server.base_url, token=server.api.service_token(name))
        assert puppet.config()["context"]["env"] == {"VERSION": "4f2c"}
        wait_until(lambda: running.pauses() >= 2, "the job to poll")
        puppet.exit()
        assert running.outcome() == (0, "")


def test_a_job_fails_with_the_deployment(server: Server, run: RunJob) -> None:
    running = run(url=server.base_url, token=server.api.service_token(server.add_service(shell("exit 3"))))
    code, output = running.outcome()
    assert code == 1
    assert re.fullmatch(r"Deployment \d+: failure\n", output)


def revoke(server: Server, origin: str) -> None:
    """Revoke the token with this origin."""
    (known,) = [one for one in server.api.admin.get("/tokens/").json() if one["origin"] == origin]
    server.api.admin.delete(f"/tokens/{known['id']}").raise_for_status()


@pytest.mark.parametrize("token", ["forged", "revoked"])
def test_a_refused_token_stops_the_job_with_a_message(server: Server, run: RunJob, token: str) -> None:
    if token == "revoked":
        origin = server.new_name("revoked")
        token = server.api.service_token(server.add_service(shell("true")), origin=origin)
        revoke(server, origin)
    running = run(url=server.base_url, token=token)
    code, output = running.outcome()
    assert (code, running.pauses()) == (1, 0)
    assert "status 401" in output
    assert "Could not validate credentials" in output


def test_a_token_revoked_while_the_job_waits_stops_it(server: Server, run: RunJob) -> None:
    with server.puppet() as (name, puppet):
        origin = server.new_name("revoked")
        running = run(url=server.base_url, token=server.api.service_token(name, origin=origin))
        puppet.config()
        wait_until(lambda: running.pauses() >= 1, "the job to poll")
        revoke(server, origin)
        code, output = running.outcome()
        puppet.exit()
    assert code == 1
    assert "status 401" in output


# In the first tier, the GitLab job repeats requests in test_a_job_repeats_requests_whose_connection_broke.
@pytest.mark.parametrize(
    "run", [github, pytest.param(gitlab, marks=pytest.mark.slow)], ids=["GitHub", "GitLab"], indirect=True
)
def test_a_job_survives_a_restart_of_the_server(new_server: NewServer, run: RunJob) -> None:
    server = new_server()
    server.start()
    with server.puppet() as (name, puppet):
        running = run(url=server.base_url, token=server.api.service_token(name))
        puppet.config()
        server.stop()
        before = running.pauses()
        wait_until(lambda: running.pauses() > before + 2, "the job to find the server away")
        server.start()
        puppet.exit()
        code, output = running.outcome()
        assert code == 0, output
        assert len(server.api.admin.get("/deployments/").json()) == 1


def test_a_job_repeats_requests_whose_connection_broke(server: Server, run: RunJob) -> None:
    name = server.add_service(shell("true"))
    with relay(server.port, drops=3) as broken:
        running = run(url=broken.url, token=server.api.service_token(name))
        code, output = running.outcome()
    assert code == 0, output
    assert running.pauses() >= 3


def test_a_job_waits_for_a_late_answer_and_starts_one_deployment(server: Server, run: RunJob) -> None:
    name = server.add_service(shell("true"))
    with relay(server.port, holds=True) as slow:
        running = run(url=slow.url, token=server.api.service_token(name))
        wait_until(lambda: slow.accepted, "the job's request")
        assert running.process.poll() is None
        slow.release()
        code, output = running.outcome()
    assert code == 0, output
    service_id = server.api.service(name)["id"]
    found = [one for one in server.api.admin.get("/deployments/").json() if one["service_id"] == service_id]
    assert [one["state"] for one in found] == ["success"]


def shell_run(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run commands of the page."""
    programs = f"{Path(FASTDEPLOY).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": programs, "no_proxy": "*", **variables}
    return subprocess.run(
        ["sh", "-euc", script], env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def test_the_commands_create_a_token_and_start_a_deployment(server: Server, tmp_path: Path) -> None:
    name = server.add_service(shell("true"))
    sign_in, create = blocks(PAGE, "sh", below="## Create a token")[0].split("\n", 1)
    sign_in = sign_in.replace(EXAMPLE, server.base_url).replace("NAME", USER).replace("PASSWORD", f"'{PASSWORD}'")
    token = json.loads(shell_run(sign_in).stdout)["access_token"]
    create = create.replace(EXAMPLE, server.base_url).replace("USER_TOKEN", token).replace("shop", name)
    service_token = json.loads(shell_run(create).stdout)["service_token"]
    start = block(PAGE, "sh", below='=== "curl"').replace(EXAMPLE, server.base_url)
    given = {"FASTDEPLOY_TOKEN": service_token, "BUILD_ID": "build 1"}
    first, again = (json.loads(shell_run(start, **given).stdout) for _ in range(2))
    assert first["id"] == again["id"]
    assert (first["origin"], first["context"]) == ("GitHub", {"env": {"VERSION": "1.4.2"}})
    refused = shell_run(start, **given | {"FASTDEPLOY_TOKEN": "forged"})
    assert refused.returncode == 22
    assert "Could not validate credentials" in refused.stdout
    watch = blocks(PAGE, "sh", below="## Start a deployment")[0].replace(EXAMPLE, server.base_url)
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    watched = shell_run(watch, **given | home | {"BUILD_ID": "build 2"})
    assert watched.returncode == 0, watched.stderr
    assert shell_run(watch, **given | home | {"FASTDEPLOY_TOKEN": "forged"}).returncode not in {0, 22}
