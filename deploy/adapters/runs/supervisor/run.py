"""Supervise a run from its settings to its last record."""

from __future__ import annotations

import os
import select
import time

from .child import Child
from .control import Control, Signals
from .drain import leave_reader
from .output import OutputLimit, Stream
from .plain_json import quoted, to_json
from .private_folder import PrivateFolder
from .processes import kill, left_running, read_stat
from .records import SPOOL_INTERVAL, Spool
from .spec import NotStarted, Spec
from .stopping import Stopping
from .system import signal, signal_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_WAIT = 86400.0  # seconds per poll, which accepts at most 2**31 - 1 milliseconds
SPEC_TIMEOUT = 10.0  # seconds to wait for the settings of the run
DRAIN_TIMEOUT = 2.0  # seconds to read output of processes that outlive the script
OPEN_INTERVAL = 0.25  # seconds between records of a line that has not ended yet
LOST = (
    "The run was lost: its supervisor died before reporting a result (a part of it was killed). "
    "Check what the deployment has done so far, then retry it."
)
SPOOL_TIMEOUT = 600.0  # seconds to keep retrying writes to a full disk after the script has ended


class Supervisor:
    """Supervises a run from its settings to its `exit` record."""

    def __init__(self, spool: Spool, control: Control, signals: Signals) -> None:
        self.spool = spool
        self.control = control
        self.signals = signals
        self.poll = select.poll()
        self.poll.register(control.fd, select.POLLIN)
        self.poll.register(signals.fd, select.POLLIN)
        self.spec: Spec | None = None
        self.folder: PrivateFolder | None = None
        self.streams: dict[int, Stream] = {}
        self.limit = OutputLimit(0)
        self.reading = True
        self.pid = 0
        self.child: Child | None = None
        self.status: int | None = None  # of the script: its exit code, or the negative signal number
        self.childless = False  # no processes are left below this one
        self.stopping = Stopping()
        self.deadline = float("inf")
        self.drain_until = 0.0
        self.open_due = float("inf")
        self.open_line = ""

    def run(self) -> None:
        try:
            self.spec = self.wait_for_spec()
            if self.stopping.cause is None:
                self.start(self.spec)
        except NotStarted as error:
            self.stopping.cause, self.stopping.reason = "not_started", ("{}", str(error))
        while self.pid and not self.is_over():
            self.run_once()
        self.finish()

    # starting

    def wait_for_spec(self) -> Spec:
        give_up = time.monotonic() + SPEC_TIMEOUT
        self.handle_commands()  # settings that were passed in a file are already available
        while self.spec is None and not self.control.ended and time.monotonic() < give_up:
            self.poll.poll(max(0.0, give_up - time.monotonic()) * 1000)
            self.handle_signals()
            self.handle_commands()
        if self.spec is None:
            raise NotStarted("The run received no settings. Start a new deployment.")
        return self.spec

    def handle_commands(self) -> None:
        """Execute the commands in the control FIFO."""
        for command in self.control.read():
            if "argv" in command and self.spec is None:
                self.accept(command)
            elif isinstance(command.get("cancel"), str):
                self.stop("cancelled", command["cancel"])
            elif self.pid:
                self.spool.note("The run's supervisor ignored an unknown command.")
        if self.control.ended:
            self.unregister(self.control.fd)

    def handle_signals(self) -> None:
        self.signals.clear()
        if self.signals.stop_requested:
            self.stop("cancelled", "The run's supervisor was stopped by SIGTERM.")
        if self.pid:
            self.reap()

    def accept(self, command: dict[str, Any]) -> None:
        try:
            self.spec = Spec(command)
        except (KeyError, TypeError, ValueError) as error:
            raise NotStarted(f"The settings of the run are incomplete: {error!r}.") from error

    def start(self, spec: Spec) -> None:
        base = spec.env.get("TMPDIR") or "/tmp"  # noqa: S108
        try:
            self.folder = PrivateFolder(base)
            self.folder.write(spec.files)
            argv, env = spec.for_folder(self.folder.path)
            child = Child(argv, env, spec.cwd, events=spec.events, kept=True)
        except (OSError, ValueError) as error:
            raise NotStarted(f"The run could not be prepared: {error}.") from error
        if spec.timeout is not None:
            self.deadline = time.monotonic() + spec.timeout
        self.spool.append("start", self.identity(child, spec))
        if self.spool.blocked:
            child.abandon()
            raise NotStarted(
                "The disk that stores the output of runs is full. Free up space, then start a new deployment."
            )
        # Sync before the script begins: a run that has started must not start again, even after a power failure.
        self.spool.sync()
        child.go()
        self.pid, self.child = child.pid, child
        self.limit = OutputLimit(spec.output_limit)
        self.add_stream(Stream(child.output, spec.line_limit))
        if spec.events:
            self.add_stream(Stream(child.events, spec.line_limit, events=True))

    def identity(self, child: Child, spec: Spec) -> str:
        """Return what the worker needs to end the run if this supervisor cannot (`RunProcesses` in ../processes.py).

        A process is its ID and its start time. `deadline` is a monotonic time, and `stop_seconds` a duration.
        """
        fields: dict[str, str | None] = {"folder": self.folder.path if self.folder else None}
        for name, pid in (("supervisor", os.getpid()), ("keeper", child.keeper), ("script", child.pid)):
            stat = read_stat(pid)
            fields[name] = f"{pid} {stat[1]}" if stat else None
        if spec.timeout is not None:
            fields |= {"timeout": f"{spec.timeout:g}", "deadline": f"{self.deadline:.3f}"}
        fields["stop_seconds"] = f"{Stopping.duration(spec.grace, interrupt=spec.interrupt):.3f}"
        return to_json({"pid": child.pid, **fields})

    def add_stream(self, stream: Stream) -> None:
        self.streams[stream.fd] = stream
        self.poll.register(stream.fd, select.POLLIN)

    # the loop

    def run_once(self) -> None:
        self.wait_for_disk()
        for fd, _ in self.poll.poll(self.poll_timeout()):
            stream = self.streams.get(fd)
            if stream is not None:
                self.read_stream(stream)
            elif fd == self.control.fd:
                self.handle_commands()
            else:
                self.handle_signals()
        self.check_deadlines()
        self.record_open_line()

    def poll_timeout(self) -> float:
        """Return the number of milliseconds until the next action is due."""
        due = [self.stopping.due, self.open_due]
        if self.status is None and self.stopping.cause is None:
            due.append(self.deadline)
        if self.drain_until > time.monotonic():
            due.append(self.drain_until)
        if self.spool.blocked:
            due.append(self.spool.retry_at)
        return min(max(0.0, min(due) - time.monotonic()), MAX_WAIT) * 1000 + 1

    def wait_for_disk(self) -> None:
        """While the script's output cannot be stored, stop reading it so that the script blocks."""
        if self.reading == (not self.spool.blocked):
            return
        self.reading = not self.reading
        for fd in self.streams:
            if self.reading:
                self.poll.register(fd, select.POLLIN)
            else:
                self.poll.unregister(fd)

    def read_stream(self, stream: Stream) -> None:
        pieces, size = stream.read()
        self.store(pieces, size)
        if pieces:
            self.open_line = ""  # the line can have another number now
        self.open_due = min(self.open_due, time.monotonic() + OPEN_INTERVAL)
        if stream.ended:
            del self.streams[stream.fd]
            self.unregister(stream.fd)
            os.close(stream.fd)

    def store(self, pieces: list[tuple[str, str]], size: int) -> None:
        kept = self.limit.keep(pieces, size)
        if self.spec is not None and self.spec.events:  # only events report steps
            kept = [("log" if kind == "out" else kind, text) for kind, text in kept]
        self.spool.extend(kept)

    def record_open_line(self) -> None:
        """Record a line that has not ended yet, so that people see progress. It is never stored."""
        if time.monotonic() < self.open_due:
            return
        self.open_due = float("inf")
        text = next(filter(None, (stream.open_line() for stream in self.streams.values())), "")
        if text != self.open_line and text and not self.spool.blocked and not self.limit.is_reached:
            self.spool.append("open", quoted(text))
        self.open_line = text

    def unregister(self, fd: int) -> None:
        try:
            self.poll.unregister(fd)
        except KeyError:
            pass  # while the disk is full

    def reap(self) -> None:
        while not self.childless:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                self.childless = True
                self.stopping.clear()
                return
            if not pid:
                return
            self.handle_child(pid, status)

    def handle_child(self, pid: int, status: int) -> None:
        is_keeper = self.child is not None and pid == self.child.keeper
        if os.WIFSTOPPED(status):
            if is_keeper:
                kill(pid, signal.SIGCONT)  # otherwise, a script could prevent its own end from being reported
        elif is_keeper and self.child is not None:
            reported = self.child.wait_status()
            if reported is not None:
                self.script_ended(reported)
            else:
                self.stop("lost", LOST)  # its children are now ours
        elif pid == self.pid:
            self.script_ended(status)

    def script_ended(self, status: int) -> None:
        self.status = os.waitstatus_to_exitcode(status)
        for stream in self.streams.values():
            stream.count_unread()
        self.stopping.expedite()

    # ending

    def stop(self, cause: str, reason: str) -> None:
        """Begin to stop the script and all its processes. If called again, keep the first cause."""
        if self.stopping.cause is not None:
            return
        self.stopping.cause, self.stopping.reason = cause, (reason,)
        self.drain_until = 0.0
        if self.spec is not None and self.pid:
            self.stopping.begin(self.spec.grace, interrupt=self.spec.interrupt and self.status is None)

    def check_deadlines(self) -> None:
        now = time.monotonic()
        if self.spool.blocked and now >= self.spool.retry_at:
            self.spool.flush()
        if now >= self.deadline and self.status is None and self.spec is not None:
            self.stop("timeout", f"The run was stopped after its timeout of {self.spec.timeout:g} s.")
        self.stopping.send_due_signals(now, self.pid)

    def is_over(self) -> bool:
        ended = self.stopping.gave_up or (self.status is not None and (self.stopping.cause is None or self.childless))
        if not ended:
            return False
        if not self.streams:
            return True
        now = time.monotonic()
        self.drain_until = self.drain_until or now + DRAIN_TIMEOUT
        return now >= self.drain_until and all(stream.unread <= 0 for stream in self.streams.values())

    def finish(self) -> None:
        for stream in self.streams.values():
            self.store(stream.rest(), 0)
        self.reap()
        names = "" if self.childless or not self.pid else left_running()
        if names:
            how = (
                "could not be killed"
                if self.stopping.cause
                else "are still running, and their output is no longer recorded"
            )
            self.spool.note("Some processes " + how + ": {}.", names)
        if self.folder is not None:
            self.folder.remove()
        self.spool.append("exit", self.outcome())
        give_up = time.monotonic() + SPOOL_TIMEOUT
        while self.spool.blocked and time.monotonic() < give_up:
            time.sleep(SPOOL_INTERVAL)
            self.spool.flush()
        leave_reader(list(self.streams))
        if self.folder is not None:
            self.folder.remove_stale()

    def outcome(self) -> str:
        code = self.status if self.status is not None and self.status >= 0 else None
        name = signal_name(-self.status) if self.status is not None and self.status < 0 else None
        message = self.stopping.reason
        if self.stopping.cause is None and self.status and self.spec is not None:
            how = f"was ended by {name}" if name else f"ended with exit code {code}"
            message = ("{} " + how + ".", os.path.basename(self.spec.argv[0]))
        outcome: dict[str, str | int | tuple[str, ...] | None] = {
            "code": code,
            "signal": name,
            "cause": self.stopping.cause,
            "message": message,
        }
        if self.spec is not None and self.spec.events:
            outcome["events"] = 1
        return to_json(outcome)
