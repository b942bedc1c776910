"""Build the command, files, and environment of a deployment, as data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.adapters.ansible.command import EXTRA_VARS_FILE, RUN_DIR, AnsibleSettings
from deploy.adapters.ansible.playbook_yaml import PlaybookError
from deploy.adapters.runs.directory import RunSpec
from deploy.adapters.runs.spec import LaunchSettings, run_spec, run_timeout, worker_home
from deploy.adapters.runs.start import RunError
from deploy.adapters.service_folders.survey import Survey
from deploy.domain.run_secrets import RunSecrets
from deploy.domain.service_config import ServiceConfig
from tests.ansible_files import read
from tests.runs import a_deployment

TOKEN = "the-token-of-this-deployment"
SECRET = "a-value-that-nobody-else-may-read"
ENV = {"domain": "example.org", "password": SECRET}


@pytest.fixture
def launch(tmp_path: Path) -> LaunchSettings:
    """Return the settings of a worker whose services folder contains `shop`."""
    (tmp_path / "services" / "shop").mkdir(parents=True)
    return LaunchSettings(
        services_root=tmp_path / "services",
        path="/opt/bin:/usr/bin",
        home="/home/deploy",
        api_url="http://127.0.0.1:8000",
        timeout=3600,
        output_limit=1000,
    )


SCRIPT = Survey(is_script=True)


def spec_of(launch: LaunchSettings, config: dict[str, Any] | None = None, survey: Survey = SCRIPT) -> RunSpec:
    secrets = RunSecrets(token=TOKEN)
    return run_spec(a_deployment(context={"env": ENV}), ServiceConfig.from_json(config or {}), survey, secrets, launch)


def folder_of(launch: LaunchSettings) -> Path:
    return launch.services_root / "shop"


class TestScript:
    def test_a_script_is_started_with_only_its_config_file(self, launch: LaunchSettings) -> None:
        spec = spec_of(launch)
        file = f"{RUN_DIR}/config.json"
        assert spec.argv == [str(folder_of(launch) / "deploy.sh"), "--config", file]
        assert spec.cwd == str(folder_of(launch))
        assert spec.env == {
            "PATH": "/opt/bin:/usr/bin",
            "HOME": "/home/deploy",
            "LANG": "C.UTF-8",
            "DEPLOY_CONFIG_FILE": file,
        }
        assert (spec.interrupt, spec.events) == (False, False)
        assert (spec.timeout, spec.output_limit) == (3600, 1000)

    def test_the_file_follows_the_contract(self, launch: LaunchSettings) -> None:
        (text,) = spec_of(launch).files.values()
        assert json.loads(text) == {
            "deployment_id": 7,
            "access_token": TOKEN,
            "deploy_script": str(folder_of(launch) / "deploy.sh"),
            "steps_url": "http://127.0.0.1:8000/steps/",
            "deployment_finish_url": "http://127.0.0.1:8000/deployments/finish/",
            "context": {"env": ENV},
            "path_for_deploy": "/opt/bin:/usr/bin",
        }

    @pytest.mark.parametrize(
        "text", ["ж" * 3, "\U0001f600", "\ud800", "\ude00\ud83d", '"', "\\", "\n", "\x00", "\x7f"]
    )
    def test_the_file_holds_every_string_unchanged(self, launch: LaunchSettings, text: str) -> None:
        deployment = a_deployment(context={"env": {text: [text]}})
        (file,) = run_spec(deployment, ServiceConfig(), SCRIPT, RunSecrets(token=TOKEN), launch).files.values()
        assert json.loads(file.encode("utf-8"))["context"] == {"env": {text: [text]}}

    def test_the_file_has_no_unnecessary_escapes(self, launch: LaunchSettings) -> None:
        deployment = a_deployment(context={"env": {"text": "ж" * 1000}})
        (file,) = run_spec(deployment, ServiceConfig(), SCRIPT, RunSecrets(token=TOKEN), launch).files.values()
        assert "ж" * 1000 in file

    def test_the_environment_names_the_agent_if_there_is_one(self, launch: LaunchSettings) -> None:
        settings = LaunchSettings(
            services_root=launch.services_root,
            path=launch.path,
            home=launch.home,
            api_url=launch.api_url,
            timeout=launch.timeout,
            output_limit=launch.output_limit,
            ssh_auth_sock="/run/agent",
        )
        (text,) = spec_of(settings).files.values()
        assert json.loads(text)["ssh_auth_sock"] == "/run/agent"

    def test_secrets_are_not_in_arguments_or_environment(self, launch: LaunchSettings) -> None:
        spec = spec_of(launch)
        for text in (*spec.argv, *spec.env.values(), spec.cwd):
            assert TOKEN not in text
            assert SECRET not in text

    @pytest.mark.parametrize(
        ("script", "started"), [("bin/go.py", "{folder}/bin/go.py"), ("/opt/deploy/all.sh", "/opt/deploy/all.sh")]
    )
    def test_the_config_can_name_another_script(self, launch: LaunchSettings, script: str, started: str) -> None:
        spec = spec_of(launch, {"deploy_script": script})
        assert spec.argv[0] == started.format(folder=folder_of(launch))

    def test_null_in_the_config_means_the_default(self, launch: LaunchSettings) -> None:
        spec = spec_of(launch, {"deploy_script": None, "ansible_playbook": None, "timeout": None})
        assert spec.argv[0] == str(folder_of(launch) / "deploy.sh")

    def test_links_to_the_services_are_followed(self, launch: LaunchSettings, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(launch.services_root)
        linked = LaunchSettings(
            services_root=tmp_path / "link", path="", home="", api_url="", timeout=1, output_limit=1
        )
        assert spec_of(linked).cwd == str(folder_of(launch))


class TestPlaybook:
    @pytest.fixture
    def found(self, launch: LaunchSettings) -> Survey:
        return Survey(is_script=False, playbook=str(folder_of(launch) / "site.yml"))

    def test_the_platform_runs_a_playbook(self, launch: LaunchSettings, found: Survey) -> None:
        spec = spec_of(launch, {"ansible_playbook": "site.yml"}, found)
        assert Path(spec.argv[0]).name == "ansible-playbook"
        assert spec.argv[1:3] == ["--extra-vars", f"@{RUN_DIR}/{EXTRA_VARS_FILE}"]
        assert spec.argv[-2:] == ["--", found.playbook]
        assert "--diff" not in spec.argv
        assert "--inventory" not in spec.argv
        assert "--diff" in spec_of(launch, {"ansible_playbook": "site.yml", "diff": True}, found).argv
        assert (spec.interrupt, spec.events, spec.cwd) == (True, True, str(folder_of(launch)))
        assert (spec.env["PATH"], spec.env["HOME"]) == ("/opt/bin:/usr/bin", "/home/deploy")

    def test_inventory_and_ansible_cfg_of_the_folder_are_used(self, launch: LaunchSettings, found: Survey) -> None:
        settings = AnsibleSettings(callback_plugins="plugins", names_pipelining=True)
        spec = spec_of(launch, {}, replace(found, inventory="/srv/hosts", settings=settings))
        assert spec.argv[3:5] == ["--inventory", "/srv/hosts"]
        assert spec.env["ANSIBLE_CALLBACK_PLUGINS"].endswith(":plugins")
        assert "ANSIBLE_PIPELINING" not in spec.env

    def test_values_are_in_a_file_that_only_the_run_can_read(self, launch: LaunchSettings, found: Survey) -> None:
        spec = spec_of(launch, {"ansible_playbook": "site.yml"}, found)
        assert spec.files.keys() == {EXTRA_VARS_FILE}
        variables = read(spec.files[EXTRA_VARS_FILE])
        assert variables["domain"] == "example.org"
        assert variables["fastdeploy_deployment_id"] == 7
        for text in (*spec.argv, *spec.env.values()):
            assert TOKEN not in text
            assert SECRET not in text

    def test_a_playbook_does_not_get_a_token(self, launch: LaunchSettings, found: Survey) -> None:
        assert TOKEN not in spec_of(launch, {"ansible_playbook": "site.yml"}, found).to_json()

    def test_an_unusable_playbook_is_rejected(self, launch: LaunchSettings, found: Survey) -> None:
        with pytest.raises(PlaybookError, match="it leads out"):
            spec_of(launch, {"ansible_playbook": "site.yml"}, replace(found, fault="site.yml: it leads out"))


class TestTimeout:
    @pytest.mark.parametrize(
        ("config", "seconds"), [({}, 3600), ({"timeout": None}, 3600), ({"timeout": 5}, 5.0), ({"timeout": 0.5}, 0.5)]
    )
    def test_a_service_can_have_its_own_timeout(
        self, launch: LaunchSettings, config: dict[str, Any], seconds: float
    ) -> None:
        assert run_timeout(ServiceConfig.from_json(config), launch) == seconds
        assert spec_of(launch, config).timeout == seconds

    @pytest.mark.parametrize("seconds", [31_536_001, 999_999_999_999, 1e14, 1e300, 10**400])
    def test_an_older_config_with_a_timeout_that_is_too_long_is_rejected(
        self, launch: LaunchSettings, seconds: float
    ) -> None:
        with pytest.raises(RunError, match="timeout must be a number of seconds, greater than 0 and at most 31536000"):
            spec_of(launch, {"timeout": seconds})
        assert spec_of(launch, {"timeout": 31_536_000}).timeout == 31_536_000


class TestOlderConfig:
    @pytest.mark.parametrize(
        ("option", "value", "expected"),
        [
            ("timeout", "60", "a number of seconds"),
            ("deploy_script", ["deploy.sh"], "a path"),
            ("ansible_playbook", 5, "a path"),
            ("ansible_inventory", {}, "a path"),
            ("pipelining", "yes", "true or false"),
            ("mitogen", 1, "true or false"),
            ("diff", "no", "true or false"),
            ("inputs", [], "an object"),
            ("confirm", "yes", "true or false"),
        ],
    )
    def test_a_run_with_an_invalid_option_fails_and_says_which(
        self, launch: LaunchSettings, option: str, value: Any, expected: str
    ) -> None:
        with pytest.raises(RunError, match=f"config is invalid: {option} must be {expected}") as refused:
            spec_of(launch, {option: value})
        assert "Correct its config.json, then sync the services." in str(refused.value)

    def test_a_run_does_not_need_the_other_options(self, launch: LaunchSettings) -> None:
        unused = {"description": 1, "steps": "Build", "concurrency": "2", "retention_days": "a", "retention_count": []}
        assert spec_of(launch, unused) == spec_of(launch)


class TestHome:
    def test_home_is_the_deploy_users_or_our_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/home/server")
        assert worker_home("/home/deploy") == "/home/deploy"
        assert worker_home(None) == "/home/server"

    def test_without_an_environment_home_comes_from_the_account(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("HOME")
        assert worker_home(None).startswith("/")
