from dataclasses import replace
from pathlib import Path

import pytest

from deploy.adapters.ansible.command import (
    Playbook,
    ansible_settings,
    extra_vars,
    is_variable,
    playbook_argv,
    playbook_env,
)
from tests.ansible_files import read

SITE = Playbook("/venv/bin/ansible-playbook", Path("/services/shop/site.yml"), Path("/services/shop"))


def variables(env: dict[str, object]) -> dict[str, object]:
    return read(extra_vars(env, deployment_id=7, service="shop"))


def environment(playbook: Playbook = SITE, lang: str = "C.UTF-8", agent: str | None = None) -> dict[str, str]:
    return playbook_env(playbook, path="/bin", home="/home/deploy", lang=lang, ssh_auth_sock=agent)


def playbook_with(cfg: str = "", *, pipelining: bool | None = None) -> Playbook:
    return Playbook(SITE.executable, SITE.path, SITE.folder, pipelining=pipelining, settings=ansible_settings(cfg))


def test_arguments_name_a_file_of_variables_and_the_playbook_last() -> None:
    assert playbook_argv(SITE) == [
        "/venv/bin/ansible-playbook",
        "--extra-vars",
        "@%RUN_DIR%/extra_vars.yml",
        "--",
        "/services/shop/site.yml",
    ]


def test_arguments_name_the_inventory_if_there_is_one() -> None:
    playbook = Playbook(SITE.executable, SITE.path, SITE.folder, inventory=Path("/services/shop/hosts"))

    assert playbook_argv(playbook)[3:5] == ["--inventory", "/services/shop/hosts"]


def test_a_dry_run_passes_check_and_diff() -> None:
    assert playbook_argv(SITE, check=True, diff=True)[3:5] == ["--check", "--diff"]


def test_the_environment_contains_only_what_was_passed_in() -> None:
    env = environment(agent="/run/agent")

    assert (env["PATH"], env["HOME"], env["LANG"]) == ("/bin", "/home/deploy", "C.UTF-8")
    assert env["SSH_AUTH_SOCK"] == "/run/agent"
    assert {name for name in env if not name.startswith("ANSIBLE_")} == {
        "PATH",
        "HOME",
        "LANG",
        "PYTHONUNBUFFERED",
        "FASTDEPLOY_WAITING_SECONDS",
        "SSH_AUTH_SOCK",
    }


def test_without_an_agent_the_environment_does_not_name_one() -> None:
    assert "SSH_AUTH_SOCK" not in environment()


@pytest.mark.parametrize(("lang", "expected"), [("de_DE.UTF-8", "de_DE.UTF-8"), ("C", "C.UTF-8"), ("", "C.UTF-8")])
def test_language_is_always_utf_8(lang: str, expected: str) -> None:
    assert environment(lang=lang)["LANG"] == expected


def test_host_key_checking_stays_on() -> None:
    assert not [name for name in environment() if "HOST_KEY" in name or "SSH_ARGS" in name]


def test_sockets_and_temporary_files_are_below_the_private_directory() -> None:
    env = environment()

    assert env["ANSIBLE_SSH_CONTROL_PATH_DIR"].startswith("%RUN_DIR%/")
    assert env["ANSIBLE_LOCAL_TEMP"].startswith("%RUN_DIR%/")


def test_mitogen_replaces_the_strategy_only_if_installed() -> None:
    assert not {"ANSIBLE_STRATEGY", "ANSIBLE_STRATEGY_PLUGINS"} & environment(SITE).keys()
    found = environment(replace(SITE, strategies=Path("/opt/mitogen")))
    assert (found["ANSIBLE_STRATEGY"], found["ANSIBLE_STRATEGY_PLUGINS"]) == ("mitogen_linear", "/opt/mitogen")


@pytest.mark.parametrize(
    ("wish", "cfg", "expected"),
    [
        (None, "", "1"),
        (False, "", "0"),
        (True, "[connection]\npipelining = no\n", "1"),
        (None, "[connection]\npipelining = no\n", None),
        (None, "[ssh_connection]\npipelining = no\n", None),
    ],
)
def test_pipelining_is_on_unless_disabled(wish: bool | None, cfg: str, expected: str | None) -> None:
    assert environment(playbook_with(cfg, pipelining=wish)).get("ANSIBLE_PIPELINING") == expected


@pytest.mark.parametrize(
    ("option", "cfg"),
    [
        ("ANSIBLE_SSH_EXTRA_ARGS", "[ssh_connection]\nssh_extra_args = -v\n"),
        ("ANSIBLE_PYTHON_INTERPRETER", "[defaults]\ninterpreter_python = auto\n"),
    ],
)
def test_our_defaults_do_not_override_an_ansible_cfg(option: str, cfg: str) -> None:
    assert option in environment()
    assert option not in environment(playbook_with(cfg))


def test_ssh_gives_up_on_hosts_that_do_not_respond() -> None:
    assert environment()["ANSIBLE_SSH_EXTRA_ARGS"] == "-o ServerAliveInterval=15 -o ServerAliveCountMax=4"


def test_callback_folders_of_the_service_are_kept() -> None:
    folders = environment(playbook_with("[defaults]\ncallback_plugins = ./callbacks ; ours\n"))[
        "ANSIBLE_CALLBACK_PLUGINS"
    ].split(":")

    assert (Path(folders[0]) / "fastdeploy.py").is_file()
    assert folders[1:] == ["./callbacks"]


def test_a_broken_ansible_cfg_counts_as_empty() -> None:
    assert ansible_settings("inventory = there is no section\n") == ansible_settings("")


def test_values_are_variables_and_in_the_context() -> None:
    loaded = variables({"color": "red", "count": 3, "ratio": 0.5, "on": True, "nothing": None, "list": [1, "a"]})

    assert loaded["color"] == "red"
    assert loaded["count"] == 3
    assert loaded["fastdeploy_context"] == {
        "color": "red",
        "count": 3,
        "ratio": 0.5,
        "on": True,
        "nothing": None,
        "list": [1, "a"],
    }
    assert loaded["fastdeploy_deployment_id"] == 7
    assert loaded["fastdeploy_service"] == "shop"


@pytest.mark.parametrize(
    "name",
    [
        "ansible_connection",
        "ansible_ssh_common_args",
        "ansible_python_interpreter",
        "fastdeploy_service",
        "__ansible_unsafe_value",
        "inventory_hostname",
        "hostvars",
        "lookup",
        "with space",
        "1st",
        "naïve",
        "",
        "class",
        "a-b",
    ],
)
def test_reserved_and_invalid_names_stay_in_the_context(name: str) -> None:
    assert not is_variable(name)
    loaded = variables({name: "x"})

    assert loaded.get(name) in (None, "shop")
    assert loaded["fastdeploy_context"] == {name: "x"}


def test_yaml_booleans_can_be_names() -> None:
    assert variables({"no": "x", "on": "y"})["no"] == "x"
