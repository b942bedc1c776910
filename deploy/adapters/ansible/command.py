"""How a playbook is run: arguments, environment and variables, as plain data. No I/O."""

from __future__ import annotations

import configparser
import keyword
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.adapters.ansible.values import RESERVED, write_variables

EXTRA_VARS_FILE = "extra_vars.yml"
"""Name of the file that holds what `extra_vars` returns, inside the run's private directory."""

CALLBACK_FOLDER = Path(__file__).with_name("callback")

RUN_DIR = "%RUN_DIR%"  # replaced by whoever starts the process, with a directory that only this run can read


@dataclass(frozen=True)
class AnsibleSettings:
    """What an `ansible.cfg` says about settings that this platform also has an opinion on."""

    callback_plugins: str = ""
    inventory: str = ""
    names_pipelining: bool = False


@dataclass(frozen=True)
class Playbook:
    """A playbook with all that is needed to run it.

    `folder` is the service's folder and the working directory; `settings` what the `ansible.cfg` in it says;
    `pipelining` what the service's config wishes, None where it does not say; `strategies` the folder of mitogen's
    strategy plugins, where it is to be used.
    """

    executable: str
    path: Path
    folder: Path
    inventory: Path | None = None
    pipelining: bool | None = None
    settings: AnsibleSettings = AnsibleSettings()
    strategies: Path | None = None


def playbook_argv(playbook: Playbook, *, check: bool = False, diff: bool = False) -> list[str]:
    """The command line; `check` changes nothing on the hosts, `diff` shows what changes in files.

    The variables come from a file in the run's private directory: any process on the machine can read arguments.
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
    """The whole environment of `ansible-playbook`.

    Nothing here touches host key checking: it stays as Ansible has it, on. The events pipe's number is added by
    whoever opens that pipe.
    """
    settings = playbook.settings
    env = {
        "PATH": path,
        "HOME": home,
        # Ansible refuses to start in a locale that is not UTF-8.
        "LANG": lang if "utf" in lang.lower() else "C.UTF-8",
        # Ansible does not flush its own output; without this a warning would arrive after what it warns of.
        "PYTHONUNBUFFERED": "1",
        "ANSIBLE_STDOUT_CALLBACK": "fastdeploy",
        # A variable replaces what ansible.cfg says, so the service's own callback folders are named again.
        "ANSIBLE_CALLBACK_PLUGINS": ":".join(filter(None, [str(CALLBACK_FOLDER), settings.callback_plugins])),
        # The output goes to a page that shows colors, through a pipe, for which Ansible would switch them off.
        "ANSIBLE_FORCE_COLOR": "1",
        # Where cowsay is installed, every banner would become a cow.
        "ANSIBLE_NOCOWS": "1",
        # They would be written beside the playbook, where the deploy user must not write.
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        # Connections are shared within one run, never with another run: a socket is a login.
        "ANSIBLE_SSH_CONTROL_PATH_DIR": f"{RUN_DIR}/cp",
        # Ansible keeps decrypted vault data here, and leaves it behind when it is killed.
        "ANSIBLE_LOCAL_TEMP": f"{RUN_DIR}/local",
    }
    if playbook.pipelining is not None:
        env["ANSIBLE_PIPELINING"] = str(int(playbook.pipelining))
    elif not settings.names_pipelining:
        # A third of the time on SSH hosts. Hosts whose sudoers says `requiretty` need it off.
        env["ANSIBLE_PIPELINING"] = "1"
    if playbook.strategies is not None:
        # Mitogen keeps one Python running on each host and sends it the tasks, instead of a new one for each task.
        env["ANSIBLE_STRATEGY_PLUGINS"] = str(playbook.strategies)
        env["ANSIBLE_STRATEGY"] = "mitogen_linear"
    if ssh_auth_sock:
        env["SSH_AUTH_SOCK"] = ssh_auth_sock
    return env


def ansible_settings(ansible_cfg: str) -> AnsibleSettings:
    """Read the text of an `ansible.cfg`; a broken one counts as empty, for Ansible itself will say what is wrong."""
    parser = configparser.ConfigParser(inline_comment_prefixes=(";",), interpolation=None, strict=False)
    try:
        parser.read_string(ansible_cfg)
    except configparser.Error:
        return AnsibleSettings()
    return AnsibleSettings(
        callback_plugins=parser.get("defaults", "callback_plugins", fallback=""),
        inventory=parser.get("defaults", "inventory", fallback=""),
        names_pipelining=any(parser.has_option(section, "pipelining") for section in _PIPELINING_SECTIONS),
    )


_PIPELINING_SECTIONS = ("connection", "ssh_connection", "defaults")


def extra_vars(env: Mapping[str, object], *, deployment_id: int, service: str) -> str:
    """Return the text of an extra-vars file with the values of a deployment (`env`) as Ansible variables.

    Ansible keeps the type of every value and evaluates none as a template. All values are in `fastdeploy_context`;
    those whose name is allowed as a variable are also variables of their own.
    """
    variables = {name: answer for name, answer in env.items() if is_variable(name)}
    variables["fastdeploy_context"] = dict(env)
    variables["fastdeploy_deployment_id"] = deployment_id
    variables["fastdeploy_service"] = service
    return write_variables(variables)


def is_variable(name: str) -> bool:
    """May an answer of this name become an Ansible variable?

    Names that steer Ansible itself may not: `ansible_ssh_common_args` alone would let whoever starts a deployment run
    any command, since these variables win over everything that inventory and playbook say.
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
