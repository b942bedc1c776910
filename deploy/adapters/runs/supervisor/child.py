"""Start the script in a process that waits until the `start` record is stored."""

from __future__ import annotations

import fcntl
import os

from .framing import decoded
from .keeper import keep
from .processes import kill
from .programs import check_program, find_program, user_name
from .spec import NotStarted
from .system import PR_SET_PDEATHSIG, prctl, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

# Sizes to try. The system limits the size of a pipe, and each user's pages in pipes that are larger than the default.
PIPE_SIZES = (1 << 20, 256 << 10)
F_SETPIPE_SZ = 1031


UMASK = 0o022
READY = b"ready "


def new_pipe(flags: int = 0) -> tuple[int, int]:
    """Return a pipe that is as large as the system allows, so that the script rarely blocks."""
    try:
        ends = os.pipe2(flags | os.O_CLOEXEC)
    except OSError:
        ends = os.pipe()  # some systems do not support packets (O_DIRECT)
    for size in PIPE_SIZES:
        try:
            fcntl.fcntl(ends[1], F_SETPIPE_SZ, size)
            break
        except OSError:
            pass
    return ends


class Child:
    """The script's process. When the constructor returns, it is waiting for `go`.

    `split` separates standard error from standard output. With `kept`, a keeper is the parent of the script.

    Raises:
        NotStarted: The script cannot be started.
    """

    def __init__(
        self,
        argv: list[bytes],
        env: dict[bytes, bytes],
        cwd: str,
        *,
        events: bool,
        split: bool = False,
        kept: bool = False,
    ) -> None:
        # A read from a pipe in packet mode never joins what was written by two calls (see output.py).
        self.output, output = new_pipe(os.O_DIRECT)
        self.errors, errors = new_pipe() if split else (-1, -1)
        self.events, events_end = new_pipe() if events else (-1, -1)
        self._status, status = os.pipe()
        gate, self._gate = os.pipe()
        if events:
            env = {**env, b"FASTDEPLOY_EVENTS_FD": b"%d" % events_end}

        def fork() -> int:
            pid = os.fork()
            if not pid:
                os.close(self._gate)
                ends = (output, errors if split else output)
                become(argv, env, cwd, outputs=ends, events=events_end, status=status, gate=gate)
            return pid

        self._report, self.keeper = fork_keeper(fork) if kept else (-1, 0)
        self.pid = 0 if kept else fork()
        for end in (output, errors, events_end, status, gate):
            if end >= 0:
                os.close(end)
        answer = os.read(self._status, 65536)
        if answer.startswith(READY):
            self.pid = int(answer[len(READY) :])
        else:
            self.abandon()
            raise NotStarted(decoded(answer) or "The process was killed before it could start.")

    def wait_status(self) -> int | None:
        """Return the script's wait status, which the keeper reported before it exited, or None if it was killed."""
        reported = os.read(self._report, 32)
        return int(reported) if reported else None

    def abandon(self) -> None:
        """Kill the waiting process."""
        for pid in (self.keeper, self.pid):
            if pid:
                kill(pid, signal.SIGKILL)
                reap(pid)

    def go(self) -> None:
        """Let the script begin. Raise NotStarted if the system refuses to run it."""
        os.write(self._gate, b"!")
        os.close(self._gate)
        answer = os.read(self._status, 65536)
        os.close(self._status)
        if answer:
            self.abandon()
            raise NotStarted(decoded(answer))


def fork_keeper(fork_script: Callable[[], int]) -> tuple[int, int]:
    """Fork the keeper, which forks the script. Return the end of its pipe for reports, and its process ID."""
    report, end = os.pipe()
    supervisor = os.getpid()
    pid = os.fork()
    if not pid:
        keep(supervisor, end, fork_script)
    os.close(end)
    return report, pid


def reap(pid: int) -> None:
    """Wait for a killed process. If its own parent, a keeper, has reaped it, there is nothing to wait for."""
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass


def become(
    argv: list[bytes],
    env: dict[bytes, bytes],
    cwd: str,
    *,
    outputs: tuple[int, int],
    events: int,
    status: int,
    gate: int,
) -> NoReturn:
    """Turn this process into the script: new session, descriptors, and default signal handlers."""
    try:
        os.setsid()
        # Without its supervisor, a script would continue unobserved, possibly at the same time as its own retry.
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        default_signals()
        os.umask(UMASK)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(outputs[0], 1)
        os.dup2(outputs[1], 2)
        if events >= 0:
            os.set_inheritable(events, True)
        change_folder(cwd)
        program = find_program(os.fsdecode(argv[0]), os.fsdecode(env.get(b"PATH", b"")))
        check_program(program)
        os.write(status, READY + b"%d" % os.getpid())
        if os.read(gate, 1):
            execute(program, argv, env)
    except NotStarted as reason:
        os.write(status, str(reason).encode("utf-8", "backslashreplace")[:60000])
    except OSError as error:
        os.write(status, f"The process could not be set up: {error}.".encode())
    finally:
        os._exit(127)


def default_signals() -> None:
    for number in signal.valid_signals():
        if number not in {signal.SIGKILL, signal.SIGSTOP}:
            try:
                signal.signal(number, signal.SIG_DFL)
            except OSError:
                pass  # the C library reserves some signals
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def change_folder(cwd: str) -> None:
    try:
        os.chdir(cwd)
    except OSError as error:
        raise NotStarted(f"The folder {cwd} is not accessible to {user_name()}: {error.strerror}.") from error


def execute(program: str, argv: list[bytes], env: dict[bytes, bytes]) -> None:
    try:
        os.execve(program, argv, env)  # noqa: S606
    except OSError as error:
        raise NotStarted(f"{program} could not be started: {error.strerror}.") from error
