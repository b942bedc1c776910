"""Run a small program for its output, with limits on time and size, and kill every process that it started.

This is a separate program, like the supervisor. It runs as the deploy user, who is allowed to kill the program's
processes. Descriptor 0 delivers one line of JSON (a run's settings) and closes when the caller is gone. Descriptor 1
receives one object, ``{"code", "signal", "cause", "message", "out", "err"}``, where `cause` is null, `timeout`,
`too_much`, or `not_started`.
"""

from __future__ import annotations

import os
import select
import time

from .child import Child
from .framing import decoded
from .plain_json import from_json, to_json
from .private_folder import PrivateFolder
from .processes import kill_tree
from .spec import NotStarted, Spec
from .system import PR_SET_CHILD_SUBREAPER, PR_SET_DUMPABLE, prctl, signal, signal_name

CHUNK = 64 * 1024
SPEC_LIMIT = 1 << 20
REAP_TIMEOUT = 1.0  # seconds
ERROR_TAIL = 4096  # bytes of standard error to return


class RunningProgram:
    """A started program and its output so far."""

    def __init__(self, spec: Spec, child: Child) -> None:
        self._limit = spec.output_limit
        self._deadline = time.monotonic() + (spec.timeout or 0.0)
        self._child = child
        self._poll = select.poll()
        for fd in (0, child.output, child.errors):
            self._poll.register(fd, select.POLLIN)
        self._open = {child.output, child.errors}
        self.out, self.err = b"", b""
        self.cause: str | None = None

    def read_output(self) -> None:
        """Read its output until it closes both streams or must be stopped."""
        while self._open and self.cause is None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                self.cause = "timeout"
                return
            for fd, _ in self._poll.poll(left * 1000 + 1):
                self._read(fd)

    def _read(self, fd: int) -> None:
        data = os.read(fd, CHUNK)
        if fd == 0:
            if not data:
                self.cause = "timeout"  # the caller is gone
        elif not data:
            self._poll.unregister(fd)
            self._open.discard(fd)
        elif fd == self._child.errors:
            self.err = (self.err + data)[-ERROR_TAIL:]
        else:
            self.out += data
            if len(self.out) > self._limit:
                self.cause = "too_much"

    def wait(self) -> int | None:
        """Wait for the program to exit within the timeout. Return its exit code, or None if it must be stopped."""
        while self.cause is None:
            pid, status = os.waitpid(self._child.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() >= self._deadline:
                self.cause = "timeout"
            time.sleep(0.002)
        return None


def run(spec: Spec) -> dict[str, str | int | None]:
    """Run the program described in the settings and return the result."""
    base = spec.env.get("TMPDIR") or "/tmp"  # noqa: S108
    folder = PrivateFolder(base)
    try:
        argv, env = spec.for_folder(folder.path)
        child = Child(argv, env, spec.cwd, events=False, split=True)
        child.go()
        program = RunningProgram(spec, child)
        program.read_output()
        status = program.wait()
        return {
            "code": status if status is not None and status >= 0 else None,
            "signal": signal_name(-status) if status is not None and status < 0 else None,
            "cause": program.cause,
            "message": "",
            "out": decoded(program.out) if program.cause is None else "",
            "err": decoded(program.err),
        }
    finally:
        # Includes processes that the program left running.
        kill_tree()
        reap()
        folder.remove()


def reap() -> None:
    """Reap killed processes for up to REAP_TIMEOUT."""
    give_up = time.monotonic() + REAP_TIMEOUT
    while time.monotonic() < give_up:
        try:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                time.sleep(0.002)
        except ChildProcessError:
            return


def read_spec() -> Spec:
    data = b""
    while not data.endswith(b"\n") and len(data) < SPEC_LIMIT:
        chunk = os.read(0, CHUNK)
        if not chunk:
            break
        data += chunk
    return Spec(from_json(decoded(data)))


def main() -> int:
    """Run the requested program and write its result."""
    os.closerange(3, 256)
    os.chdir("/")
    prctl(PR_SET_DUMPABLE, 0)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        result = run(read_spec())
    except (NotStarted, OSError, ValueError, KeyError, TypeError) as error:
        result = {"code": None, "signal": None, "cause": "not_started", "message": str(error), "out": "", "err": ""}
    data = to_json(result).encode("ascii")
    while data:
        data = data[os.write(1, data) :]
    return 0
