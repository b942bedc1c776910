"""Run the shipped examples the way the contract and the platform define, but without the platform."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.adapters.ansible.command import EXTRA_VARS_FILE, RUN_DIR, Playbook, extra_vars, playbook_argv, playbook_env
from deploy.adapters.ansible.locate import find_executable
from deploy.adapters.service_folders.files import Files
from deploy.adapters.service_folders.survey import Survey, survey
from deploy.domain.service_config import ServiceConfig
from tests.integration.ansible_runs import Run, start

SERVICES = Path(__file__).parents[2] / "services"
SCRIPTS = ["hello-shell", "hello-python", "fails-halfway", "with-context", "with-inputs"]
# Values that the platform fills in or requires and that the scripts rely on.
VALUES: dict[str, dict[str, object]] = {
    "with-inputs": {"audience": "team", "topic": "A party", "copies": 1, "languages": ["en"], "loud": False}
}
PATH_FOR_DEPLOY = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
TOKEN = "a-token-that-nobody-may-print"


@dataclass(frozen=True)
class Outcome:
    """The result of a script: its exit code, its reports, and all other lines."""

    code: int
    reports: list[dict[str, str]]
    log: list[str]

    def last(self) -> dict[str, str]:
        """Return the last state of each step, in the order in which the steps first reported."""
        return {report["name"]: report["state"] for report in self.reports}


def config_of(service: str) -> dict[str, object]:
    loaded = json.loads((SERVICES / service / "config.json").read_text())
    assert isinstance(loaded, dict)
    return loaded


def deploy(service: str, folder: Path, env: dict[str, object] | None = None) -> Outcome:
    """Start a deploy script with a config file and the minimal environment, as the contract requires."""
    file = folder / "deployment.json"
    script = SERVICES / service / str(config_of(service)["deploy_script"])
    content = {
        "deployment_id": 42,
        "access_token": TOKEN,
        "deploy_script": str(script),
        "steps_url": "http://127.0.0.1:1/steps/",
        "deployment_finish_url": "http://127.0.0.1:1/deployments/finish/",
        "context": {"env": env or VALUES.get(service, {})},
        "path_for_deploy": PATH_FOR_DEPLOY,
    }
    file.write_text(json.dumps(content))
    environment = {"PATH": PATH_FOR_DEPLOY, "HOME": str(folder), "LANG": "C.UTF-8", "DEPLOY_CONFIG_FILE": str(file)}
    done = subprocess.run(
        [str(script), "--config", str(file)],
        env=environment,
        cwd=script.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    lines = done.stdout.splitlines()
    reports = [json.loads(line) for line in lines if line.startswith("{")]
    return Outcome(done.returncode, reports, [line for line in lines if not line.startswith("{")])


def test_every_example_is_tested() -> None:
    assert sorted(folder.name for folder in SERVICES.iterdir()) == sorted([*SCRIPTS, "website"])


@pytest.mark.parametrize("service", [*SCRIPTS, "website"])
def test_every_example_has_a_description_and_a_readme(service: str) -> None:
    readme = (SERVICES / service / "README.md").read_text()

    assert config_of(service)["description"]
    assert readme.startswith("# ")
    assert "**What it does:**" in readme
    assert "**How to start it:**" in readme


@pytest.mark.parametrize("service", SCRIPTS)
def test_every_script_reports_the_steps_in_its_config(service: str, tmp_path: Path) -> None:
    outcome = deploy(service, tmp_path)
    steps = config_of(service)["steps"]

    assert isinstance(steps, list)
    configured = [step["name"] for step in steps]
    reported = list(outcome.last())
    assert reported == configured[: len(reported)]
    assert TOKEN not in str(outcome)


@pytest.mark.parametrize("service", ["hello-shell", "hello-python", "with-context", "with-inputs"])
def test_working_examples_succeed_with_all_steps(service: str, tmp_path: Path) -> None:
    outcome = deploy(service, tmp_path)

    assert outcome.code == 0
    assert set(outcome.last().values()) == {"success"}
    steps = config_of(service)["steps"]
    assert isinstance(steps, list)
    assert len(outcome.last()) == len(steps)
    assert outcome.log


def test_the_python_example_shows_its_progress(tmp_path: Path) -> None:
    progress = [report["message"] for report in deploy("hello-python", tmp_path).reports]

    assert {"1 of 10", "10 of 10"} <= set(progress)


def test_the_failing_example_fails_and_explains_what_to_do(tmp_path: Path) -> None:
    outcome = deploy("fails-halfway", tmp_path)

    assert outcome.code == 1
    assert outcome.last() == {"Prepare": "success", "Check the backup disk": "failure"}
    assert "Nothing has been changed" in outcome.reports[-1]["error_message"]


def test_the_context_example_uses_its_values(tmp_path: Path) -> None:
    outcome = deploy("with-context", tmp_path, {"recipient": 'Ada "L."', "language": "fr", "copies": "2"})

    assert outcome.code == 0
    assert outcome.log == ['Bonjour Ada "L."!'] * 2


@pytest.mark.parametrize(
    ("env", "reason"),
    [({"language": "xx"}, "one of"), ({"copies": 9}, "1, 2 or 3"), ({"recipient": ""}, "60 letters")],
)
def test_invalid_values_are_rejected_before_anything_is_done(
    tmp_path: Path, env: dict[str, object], reason: str
) -> None:
    outcome = deploy("with-context", tmp_path, env)

    assert outcome.code == 1
    assert outcome.last() == {"Check the values": "failure"}
    assert reason in outcome.reports[-1]["message"]
    assert not outcome.log


def test_unknown_values_are_named_but_not_shown(tmp_path: Path) -> None:
    outcome = deploy("with-context", tmp_path, {"password": "s3cret"})

    assert outcome.log[0] == "Unknown values: password"
    assert "s3cret" not in str(outcome)


@dataclass(frozen=True)
class Website:
    """A copy of the website example, and the machine to deploy it to: a home folder and a port."""

    service: Path
    home: Path
    port: int
    found: Survey

    @property
    def folder(self) -> Path:
        return self.home / ".local/share/fastdeploy-demo/website"

    def deploy(self, number: int, **values: object) -> Run:
        playbook = Playbook(
            executable=find_executable(PATH_FOR_DEPLOY),
            path=Path(self.found.playbook),
            folder=self.service,
            inventory=Path(self.found.inventory or ""),
            settings=self.found.settings,
        )
        run_dir = self.home / "run"
        run_dir.mkdir(exist_ok=True)
        env = {"website_port": str(self.port), **values}
        (run_dir / EXTRA_VARS_FILE).write_text(extra_vars(env, deployment_id=number, service="website"))
        environment = playbook_env(playbook, path=PATH_FOR_DEPLOY, home=str(self.home))
        return start(
            [argument.replace(RUN_DIR, str(run_dir)) for argument in playbook_argv(playbook)],
            {name: value.replace(RUN_DIR, str(run_dir)) for name, value in environment.items()},
            playbook.folder,
            events=True,
        )

    def page(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=10) as answer:
            return bytes(answer.read()).decode()

    def stop(self) -> None:
        server = self.folder / "current" / "server.py"
        if server.exists():
            subprocess.run([sys.executable, str(server), "stop", "--home", str(self.folder)], check=True)


@pytest.fixture
def website(files: Files, tmp_path: Path) -> Iterator[Website]:
    """Yield the website example. Stop its server afterward."""
    service = tmp_path / "services" / "website"
    shutil.copytree(SERVICES / "website", service)
    home = tmp_path / "home"
    home.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = json.loads((service / "config.json").read_text())
    made = Website(service, home, port, survey(files, str(service), ServiceConfig.from_json(config)))
    yield made
    made.stop()


@pytest.mark.slow
def test_the_website_can_be_deployed_repeatedly(website: Website) -> None:
    configured = list(website.found.steps)
    runs = [website.deploy(1, website_title="<First>"), website.deploy(2)]

    assert [result.code for result in runs] == [0, 0]
    assert [result.task_names() for result in runs] == [configured, configured]
    assert runs[0].states()["Remove old releases"] == "skipped"
    page = website.page()
    assert "It works" in page
    assert "-2, deployed by" in page
    assert (website.folder / "current").readlink().name.endswith("-2")
    assert len(list((website.folder / "releases").iterdir())) == 2
    assert runs[1].message("Show the address") == f"The website is at http://127.0.0.1:{website.port}"


@pytest.mark.slow  # in the first tier, the browser tests deploy the website
def test_the_website_keeps_running_and_does_not_block_its_deployment(website: Website) -> None:
    result = website.deploy(1, website_title="<Title>")  # returns, although the server keeps running

    assert result.code == 0
    assert result.task_names() == list(website.found.steps)
    assert result.states()["Remove old releases"] == "skipped"
    assert result.message("Show the address") == f"The website is at http://127.0.0.1:{website.port}"
    assert "<h1>&lt;Title&gt;</h1>" in website.page()
    pid = int((website.folder / "server.pid").read_text())
    assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 1)} == {os.devnull}


@pytest.mark.parametrize(
    "values",
    [
        {"website_port": "80"},
        pytest.param({"website_port": "x"}, marks=pytest.mark.slow),
        pytest.param({"website_home": "relative"}, marks=pytest.mark.slow),
    ],
)
def test_the_website_rejects_invalid_values_with_a_message(website: Website, values: dict[str, object]) -> None:
    result = website.deploy(1, **values)

    assert result.code == 2
    assert result.task_names()[-1] == "Check the values"
    assert "Nothing has been changed." in result.message("Check the values")


def test_the_website_does_not_stop_another_program_on_its_port(website: Website) -> None:
    with socket.create_server(("127.0.0.1", website.port)):
        result = website.deploy(1)

    assert result.code == 2
    assert result.message("Make sure the port is available").startswith(
        f"Port {website.port} is used by another program."
    )
    assert not website.folder.exists()
