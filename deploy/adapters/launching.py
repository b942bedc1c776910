"""Starting the run supervisor: as which user, by which Python, with which command."""

import os
import pwd
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from deploy.adapters import supervisor

_SYSTEM_PYTHONS = ("/usr/bin/python3", "/usr/local/bin/python3")
_WORDS_OF_SUDO = ("sudo:", "Sorry, user")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OLDEST_PYTHON = 9  # 3.9: the supervisor is content with less than the rest of the program
# Nothing is left to tidy up at its end, and so the spool's lock is free a little sooner.
_RUN = "import os; from supervisor.{module} import main; os._exit(main())"


class RunError(Exception):
    """A run cannot be started, or cannot be read."""


class UnknownUser(RunError):
    """There is no such user on this machine."""


class NoSudo(RunError):
    """Nobody but root changes the user without sudo."""


class SudoRefused(RunError):
    """It does not let us become the deploy user; the text is what it says, and what to do."""


class NoInterpreter(RunError):
    """There is no Python that the deploy user may run."""


@dataclass(frozen=True, slots=True)
class DeployUser:
    """The user whose rights a script has."""

    name: str
    uid: int
    gid: int
    groups: list[int]
    home: str

    @classmethod
    def named(cls, name: str) -> "DeployUser":
        """The user of this machine with that name; UnknownUser when there is none."""
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise UnknownUser(f"There is no user {name} on this machine: create it, or correct SUDO_USER.") from None
        groups = os.getgrouplist(name, entry.pw_gid)
        return cls(name=name, uid=entry.pw_uid, gid=entry.pw_gid, groups=groups, home=entry.pw_dir)

    def may_read(self, path: str) -> bool:
        """Whether the file's mode, and those of the folders above it, let this user read it."""
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
    """The Python that runs the supervisor: our `own`, or one of the `system` where `user` may not read ours.

    Raises NoInterpreter when there is none. The supervisor needs the standard library alone.
    """
    own = os.path.realpath(own)
    if user is None or (user.may_read(own) and user.may_read(os.__file__)):
        return own
    for python in system:
        minor = re.search(r"python3\.(\d+)$", os.path.realpath(python))
        if user.may_read(python) and (minor is None or int(minor[1]) >= _OLDEST_PYTHON):
            return python
    raise NoInterpreter(
        f"The deploy user {user.name} may not read {own}, and there is no Python 3.{_OLDEST_PYTHON} or newer at "
        f"{' or '.join(system)}: install python3, or put fastDeploy where that user can read it."
    )


def supervisor_program(user: DeployUser | None, module: str = "__main__") -> list[str]:
    """Arguments of Python that start the supervisor, or another `module` of its package.

    By its files where `user` may read them (compiled once, and short in process lists), else by their sources, which
    need no file that the user can reach.
    """
    folder = Path(os.path.realpath(supervisor.__file__)).parent
    flags = ["-I", "-S", "-X", "utf8", "-c"]
    if user is None or all(user.may_read(str(file)) for file in folder.glob("*.py")):
        run = _RUN.format(module=module)
        return [*flags, f"import sys; sys.path.append(sys.argv[1]); {run}", str(folder.parent)]
    return [*flags, in_one_argument(folder, module)]


def in_one_argument(folder: Path, module: str = "__main__") -> str:
    """The supervisor in `folder` as one text, of which the system accepts 128 KiB."""
    sources = {f"supervisor.{file.stem}": file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.py"))}
    sources["supervisor"] = sources.pop("supervisor.__init__")
    importer = sources.pop("supervisor.in_memory")
    return f"{importer}\nimport_from({sources!a})\n{_RUN.format(module=module)}\n"


def supervisor_argv(python: str, program: list[str], user: DeployUser | None, *, euid: int) -> list[str]:
    """The command that starts the supervisor as `user`, for a caller with the effective user id `euid`.

    Root changes the user itself, when it starts this; anybody else needs sudo.
    """
    command = [python, *program]
    if user is None or euid in {0, user.uid}:
        return command
    return ["sudo", "-n", "-u", user.name, "--", *command]


def start_detached(
    command: list[str], user: DeployUser | None, *, stdin: int, stdout: int, stderr: int
) -> "subprocess.Popen[bytes]":
    """Start a command of `supervisor_argv` with these descriptors: in a session, and with an environment, of its own.

    OSError when the system refuses the process. The caller reaps it whenever it likes.
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
    """The command that starts the supervisor, or another `module` of its package, as `user` (None: as ourselves).

    `python` is chosen when it is None: then NoInterpreter is possible. NoSudo when it takes sudo, which is not there.
    """
    python = python or interpreter_for(user)
    command = supervisor_argv(python, supervisor_program(user, module), user, euid=os.geteuid())
    if user is not None and command[0] == "sudo" and shutil.which("sudo", path=_SYSTEM_PATH) is None:
        raise NoSudo(f"There is no sudo to become {user.name} by: install it, or run fastDeploy as root.")
    return command


def not_started(command: list[str], said: str) -> RunError:
    """The error for a `command` of `supervisor_command` that came to nothing, whose last words were `said`."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if not lines:
        return RunError(f"{command[0]} ended without a word, or got stuck.")
    if command[0] != "sudo" or not lines[-1].startswith(_WORDS_OF_SUDO):
        return RunError(lines[-1])
    # All of them: the reason may come before advice, and after what does not matter ("unable to resolve host").
    why = " ".join(line for line in lines if line.startswith(_WORDS_OF_SUDO)).rstrip(".")
    return SudoRefused(f"{why}. See to it that the account of fastDeploy may become {command[3]} without a password.")
