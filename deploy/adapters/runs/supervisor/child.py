"""Start the script in a process that waits until the `start` record is stored."""

from __future__ import annotations

import fcntl
import os

from .framing import decoded
from .processes import kill
from .programs import check_program, find_program, user_name
from .spec import NotStarted
from .system import PR_SET_PDEATHSIG, prctl, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

PIPE_SIZE = 256 * 1024  # the kernel limits each user's pages in pipes that are larger than the default
F_SETPIPE_SZ = 1031


def new_pipe() -> tuple[int, int]:
    """Return a pipe that is as large as the system allows, so that the script rarely blocks."""
    ends = os.pipe()
    try:
        fcntl.fcntl(ends[1], F_SETPIPE_SZ, PIPE_SIZE)
    except OSError:
        pass
    return ends


class Child:
    """The script's process. When the constructor returns, it is waiting for `go`.

    `split` separates standard error from standard output.

    Raises:
        NotStarted: The script cannot be started.
    """

    def __init__(
        self, argv: list[bytes], env: dict[bytes, bytes], cwd: str, *, events: bool, split: bool = False
    ) -> None:
        self.output, output = new_pipe()
        self.errors, errors = new_pipe() if split else (-1, -1)
        self.events, events_end = new_pipe() if events else (-1, -1)
        self._status, status = os.pipe()
        gate, self._gate = os.pipe()
        if events:
            env = {**env, b"FASTDEPLOY_EVENTS_FD": b"%d" % events_end}
        self.pid = os.fork()
        if not self.pid:
            os.close(self._gate)
            ends = (output, errors if split else output)
            become(argv, env, cwd, outputs=ends, events=events_end, status=status, gate=gate)
        for end in (output, errors, events_end, status, gate):
            if end >= 0:
                os.close(end)
        answer = os.read(self._status, 65536)
        if answer != b"ready":
            self.abandon()
            raise NotStarted(decoded(answer) or "The process was killed before it could start.")

    def abandon(self) -> None:
        """Kill the waiting process."""
        kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def go(self) -> None:
        """Let the script begin. Raise NotStarted if the system refuses to run it."""
        os.write(self._gate, b"!")
        os.close(self._gate)
        answer = os.read(self._status, 65536)
        os.close(self._status)
        if answer:
            self.abandon()
            raise NotStarted(decoded(answer))


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
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(outputs[0], 1)
        os.dup2(outputs[1], 2)
        if events >= 0:
            os.set_inheritable(events, True)
        change_folder(cwd)
        program = find_program(os.fsdecode(argv[0]), os.fsdecode(env.get(b"PATH", b"")))
        check_program(program)
        os.write(status, b"ready")
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
