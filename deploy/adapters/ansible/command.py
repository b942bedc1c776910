"""Build the arguments, environment and variables to run a playbook. No I/O."""

from __future__ import annotations

import configparser
import keyword
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.adapters.ansible.values import RESERVED, write_variables

EXTRA_VARS_FILE = "extra_vars.yml"
"""Name of the file in the run's private directory that contains the text of `extra_vars`."""

CALLBACK_FOLDER = Path(__file__).with_name("callback")

# ssh gives up on a host that has not responded for a minute. Otherwise, a host that disappears would block the service
# until its timeout. These are the last arguments, and ssh uses the first value of an option, so other values in
# `ssh_args` or `ssh_common_args` still apply. Ansible's own timeout for connecting is ten seconds.
KEEP_ALIVES = "-o ServerAliveInterval=15 -o ServerAliveCountMax=4"
# Seconds after which a task reports the hosts that it waits for, and between these reports.
WAITING_SECONDS = 10

RUN_DIR = "%RUN_DIR%"  # replaced with a directory that only this run can read when the process starts


@dataclass(frozen=True)
class AnsibleSettings:
    """Settings from an `ansible.cfg` that this platform also sets, or needs to foresee the tasks of a playbook.

    `is_own` means that the file is in the service's folder.
    """

    callback_plugins: str = ""
    inventory: str = ""
    names_pipelining: bool = False
    names_ssh_extra_args: bool = False
    names_interpreter: bool = False
    is_own: bool = False
    roles_path: str = ""
    collections_path: str = ""
    tags_to_run: str = ""
    tags_to_skip: str = ""


@dataclass(frozen=True)
class Playbook:
    """A playbook with everything needed to run it.

    `folder` is the service's folder, which is also the working directory. `settings` comes from its `ansible.cfg`.
    `pipelining` is the option in the service's config, or None if it is not set. `strategies` is the folder with
    Mitogen's strategy plugins, or None to run without Mitogen.
    """

    executable: str
    path: Path
    folder: Path
    inventory: Path | None = None
    pipelining: bool | None = None
    settings: AnsibleSettings = AnsibleSettings()
    strategies: Path | None = None


def playbook_argv(playbook: Playbook, *, check: bool = False, diff: bool = False) -> list[str]:
    """Return the command line. `check` makes no changes on the hosts, and `diff` shows changes to files.

    Variables are passed in a file in the run's private directory, because every process on the machine can read the
    arguments.
    """
    argv = [playbook.executable, "--extra-vars", f"@{RUN_DIR}/{EXTRA_VARS_FILE}"]
    if playbook.inventory is not None:
        argv += ["--inventory", str(playbook.inventory)]
    if check:
        argv.append("--check")
    if diff:
        argv.append("--diff")
    return [*argv, "--", str(playbook.path)]


def playbook_env(
    playbook: Playbook, *, path: str, home: str, lang: str = "C.UTF-8", ssh_auth_sock: str | None = None
) -> dict[str, str]:
    """Return the complete environment for `ansible-playbook`.

    Host key checking keeps Ansible's default, which is on. The supervisor adds the number of the events pipe.
    """
    settings = playbook.settings
    env = {
        "PATH": path,
        "HOME": home,
        # Ansible refuses to start in a locale that does not use UTF-8.
        "LANG": lang if "utf" in lang.lower() else "C.UTF-8",
        # Ansible does not flush its output. Without this setting, a warning would arrive after the output it refers
        # to.
        "PYTHONUNBUFFERED": "1",
        "ANSIBLE_STDOUT_CALLBACK": "fastdeploy",
        "FASTDEPLOY_WAITING_SECONDS": str(WAITING_SECONDS),
        # The environment variable overrides ansible.cfg, so include the service's own callback folders here.
        "ANSIBLE_CALLBACK_PLUGINS": ":".join(filter(None, [str(CALLBACK_FOLDER), settings.callback_plugins])),
        # The page can show colors, but Ansible turns them off when it writes to a pipe.
        "ANSIBLE_FORCE_COLOR": "1",
        # If cowsay is installed, Ansible prints every banner as a cow.
        "ANSIBLE_NOCOWS": "1",
        # Ansible writes retry files next to the playbook, where the deploy user is not allowed to write.
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        # Connections are shared within a run but never between runs, because the socket grants access to the host.
        "ANSIBLE_SSH_CONTROL_PATH_DIR": f"{RUN_DIR}/cp",
        # Ansible stores decrypted vault data here and leaves it behind if it is killed.
        "ANSIBLE_LOCAL_TEMP": f"{RUN_DIR}/local",
    }
    if not settings.names_interpreter:
        # Ansible's default, without a warning for each host.
        env["ANSIBLE_PYTHON_INTERPRETER"] = "auto_silent"
    if not settings.names_ssh_extra_args:
        env["ANSIBLE_SSH_EXTRA_ARGS"] = KEEP_ALIVES
    if playbook.pipelining is not None:
        env["ANSIBLE_PIPELINING"] = str(int(playbook.pipelining))
    elif not settings.names_pipelining:
        # Takes a third of the time on SSH hosts. Turn it off for hosts that set `requiretty` in sudoers.
        env["ANSIBLE_PIPELINING"] = "1"
    if playbook.strategies is not None:
        # Mitogen keeps one Python process on each host and sends tasks to it, instead of starting a process for each
        # task.
        env["ANSIBLE_STRATEGY_PLUGINS"] = str(playbook.strategies)
        env["ANSIBLE_STRATEGY"] = "mitogen_linear"
    if ssh_auth_sock:
        env["SSH_AUTH_SOCK"] = ssh_auth_sock
    return env


def ansible_settings(ansible_cfg: str) -> AnsibleSettings:
    """Return the settings in the text of an `ansible.cfg`, or none if it is invalid, which Ansible reports."""
    parser = configparser.ConfigParser(inline_comment_prefixes=(";",), interpolation=None, strict=False)
    try:
        parser.read_string(ansible_cfg)
    except configparser.Error:
        return AnsibleSettings()
    return AnsibleSettings(
        callback_plugins=parser.get("defaults", "callback_plugins", fallback=""),
        inventory=parser.get("defaults", "inventory", fallback=""),
        names_pipelining=any(parser.has_option(section, "pipelining") for section in _PIPELINING_SECTIONS),
        roles_path=parser.get("defaults", "roles_path", fallback=""),
        collections_path=parser.get("defaults", "collections_path", fallback=""),
        tags_to_run=parser.get("tags", "run", fallback=""),
        tags_to_skip=parser.get("tags", "skip", fallback=""),
        names_interpreter=parser.has_option("defaults", "interpreter_python"),
        names_ssh_extra_args=parser.has_option("ssh_connection", "ssh_extra_args"),
    )


_PIPELINING_SECTIONS = ("connection", "ssh_connection", "defaults")


def extra_vars(env: Mapping[str, object], *, deployment_id: int, service: str) -> str:
    """Return the text of an extra-vars file that passes the values of a deployment (`env`) as Ansible variables.

    Ansible keeps the type of every value and does not evaluate any value as a template. `fastdeploy_context` contains
    all values. Each value whose name is a valid variable name also becomes a variable of its own.
    """
    variables = {name: value for name, value in env.items() if is_variable(name)}
    variables["fastdeploy_context"] = dict(env)
    variables["fastdeploy_deployment_id"] = deployment_id
    variables["fastdeploy_service"] = service
    return write_variables(variables)


def is_variable(name: str) -> bool:
    """Return True if a value with this name can become an Ansible variable.

    Names that control Ansible itself are rejected. For example, with `ansible_ssh_common_args`, a user who starts a
    deployment could run any command, because extra variables override the inventory and the playbook.
    """
    return (
        name.isascii()
        and name.isidentifier()
        and not keyword.iskeyword(name)
        and not name.startswith(("ansible_", "fastdeploy_", RESERVED))
        and name not in _MAGIC_VARIABLES
    )


_MAGIC_VARIABLES = frozenset(
    (
        "environment",
        "group_names",
        "groups",
        "hostvars",
        "inventory_dir",
        "inventory_file",
        "inventory_hostname",
        "inventory_hostname_short",
        "lookup",
        "omit",
        "play_hosts",
        "playbook_dir",
        "q",
        "query",
        "role_name",
        "role_names",
        "role_path",
        "undef",
        "vars",
    )
)
