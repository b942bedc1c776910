"""Start the run supervisor: choose its user, its Python, and its command."""

import os
import pwd
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from deploy.adapters.runs import supervisor

_SYSTEM_PYTHONS = ("/usr/bin/python3", "/usr/local/bin/python3")
_SUDO_PREFIXES = ("sudo:", "Sorry, user")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OLDEST_PYTHON = 9  # 3.9: the supervisor supports older versions than the rest of the program
# Skip interpreter cleanup so that the spool's lock is released sooner.
_RUN = "import os; from supervisor.{module} import main; os._exit(main())"


class RunError(Exception):
    """A run cannot be started or read."""


class UnknownUser(RunError):
    """The user does not exist on this machine."""


class NoSudo(RunError):
    """sudo is required to run as another user, but is not installed."""


class SudoRefused(RunError):
    """sudo refuses to run a command as the deploy user. The text includes sudo's message and what to do."""


class NoInterpreter(RunError):
    """The deploy user cannot run any Python."""


@dataclass(frozen=True, slots=True)
class DeployUser:
    """The user that runs scripts."""

    name: str
    uid: int
    gid: int
    groups: list[int]
    home: str

    @classmethod
    def named(cls, name: str) -> "DeployUser":
        """Return the user with that name on this machine.

        Raises:
            UnknownUser: The user does not exist.
        """
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise UnknownUser(
                f"The user {name} does not exist on this machine. Create it, or correct SUDO_USER."
            ) from None
        groups = os.getgrouplist(name, entry.pw_gid)
        return cls(name=name, uid=entry.pw_uid, gid=entry.pw_gid, groups=groups, home=entry.pw_dir)

    def may_read(self, path: str) -> bool:
        """Return True if the modes of the file and of the folders above it allow this user to read it."""
        file = os.path.realpath(path)
        try:
            return self._may(file, 4) and all(self._may(str(folder), 1) for folder in Path(file).parents)
        except OSError:
            return False

    def _may(self, path: str, bit: int) -> bool:
        info = os.stat(path)
        if self.uid in {0, info.st_uid}:
            return bool(self.uid == 0 or info.st_mode & bit << 6)
        if info.st_gid in self.groups:
            return bool(info.st_mode & bit << 3)
        return bool(info.st_mode & bit)


def interpreter_for(
    user: DeployUser | None, *, own: str = sys.executable, system: tuple[str, ...] = _SYSTEM_PYTHONS
) -> str:
    """Return the Python for the supervisor: `own`, or one of `system` if `user` cannot read `own`.

    The supervisor only needs the standard library.

    Raises:
        NoInterpreter: The user cannot run any of them.
    """
    own = os.path.realpath(own)
    if user is None or (user.may_read(own) and user.may_read(os.__file__)):
        return own
    for python in system:
        minor = re.search(r"python3\.(\d+)$", os.path.realpath(python))
        if user.may_read(python) and (minor is None or int(minor[1]) >= _OLDEST_PYTHON):
            return python
    raise NoInterpreter(
        f"The deploy user {user.name} cannot read {own}, and there is no Python 3.{_OLDEST_PYTHON} or newer at "
        f"{' or '.join(system)}. Install python3, or install fastDeploy where the deploy user can read it."
    )


def supervisor_program(user: DeployUser | None, module: str = "__main__") -> list[str]:
    """Return the Python arguments that start the supervisor, or another `module` of its package.

    If `user` can read the package's files, run them directly, because their bytecode is cached and process lists stay
    short. Otherwise, pass the sources as an argument.
    """
    folder = Path(os.path.realpath(supervisor.__file__)).parent
    flags = ["-I", "-S", "-X", "utf8", "-c"]
    if user is None or all(user.may_read(str(file)) for file in folder.glob("*.py")):
        run = _RUN.format(module=module)
        return [*flags, f"import sys; sys.path.append(sys.argv[1]); {run}", str(folder.parent)]
    return [*flags, in_one_argument(folder, module)]


def in_one_argument(folder: Path, module: str = "__main__") -> str:
    """Return the supervisor's sources in `folder` as one argument, which the kernel limits to 128 KiB."""
    sources = {f"supervisor.{file.stem}": file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.py"))}
    sources["supervisor"] = sources.pop("supervisor.__init__")
    importer = sources.pop("supervisor.in_memory")
    return f"{importer}\nimport_from({sources!a})\n{_RUN.format(module=module)}\n"


def supervisor_argv(python: str, program: list[str], user: DeployUser | None, *, euid: int) -> list[str]:
    """Return the command that starts the supervisor as `user`, for a caller with the effective user ID `euid`.

    Root switches users when it starts the process. Other users need sudo.
    """
    command = [python, *program]
    if user is None or euid in {0, user.uid}:
        return command
    return ["sudo", "-n", "-u", user.name, "--", *command]


def start_detached(
    command: list[str], user: DeployUser | None, *, stdin: int, stdout: int, stderr: int
) -> "subprocess.Popen[bytes]":
    """Start a command from `supervisor_argv` with these descriptors, in a new session, with a minimal environment.

    The caller must reap the process.

    Raises:
        OSError: The system refused to start the process.
    """
    drop = user is not None and user.uid != 0 and os.geteuid() == 0
    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd="/",
        env={"PATH": _SYSTEM_PATH, "LANG": "C.UTF-8"},
        start_new_session=True,
        user=user.uid if drop and user else None,
        group=user.gid if drop and user else None,
        extra_groups=user.groups if drop and user else None,
    )


def supervisor_command(user: DeployUser | None, module: str = "__main__", *, python: str | None = None) -> list[str]:
    """Return the command that starts the supervisor, or another `module` of its package, as `user` (None: our own
        user).

    Raises:
        NoInterpreter: `python` is None, and the user cannot run any Python.
        NoSudo: sudo is required but not installed.
    """
    python = python or interpreter_for(user)
    command = supervisor_argv(python, supervisor_program(user, module), user, euid=os.geteuid())
    if user is not None and command[0] == "sudo" and shutil.which("sudo", path=_SYSTEM_PATH) is None:
        raise NoSudo(
            f"sudo is required to run as {user.name}, but it is not installed. Install it, or run fastDeploy as root."
        )
    return command


def not_started(command: list[str], stderr: str) -> RunError:
    """Return the error for a `command` from `supervisor_command` that failed to start and wrote `stderr`."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if not lines:
        return RunError(f"{command[0]} ended without an error message, or did not respond.")
    if command[0] != "sudo" or not lines[-1].startswith(_SUDO_PREFIXES):
        return RunError(lines[-1])
    # Keep all lines: advice can follow the reason, and unrelated warnings ("unable to resolve host") can precede it.
    why = " ".join(line for line in lines if line.startswith(_SUDO_PREFIXES)).rstrip(".")
    return SudoRefused(f"{why}. Allow fastDeploy's account to run commands as {command[3]} without a password.")
