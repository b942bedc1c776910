"""The run supervisor: starts one script, owns everything it starts, and writes down all that happens.

It is a program of its own (``python -I -S supervisor.py``) that outlives whoever started it. It talks through the
three descriptors that even sudo leaves open:

- 0, a FIFO: a line of JSON with the settings of the run, then one line of JSON for each command (``{"cancel": why}``);
- 1, the spool: one JSON array a line, ``[number, seconds since the epoch, kind, data]``, `exit` being the last;
- 2, a FIFO: one byte after each write to the spool, so that a reader need not poll.

The lock on the spool's open file is inherited, and never touched here: it is free as soon as no supervisor lives.
The first record is `start`, written before the script begins, or `exit`: a spool without either belongs to a script
that has never been started.
"""

from __future__ import annotations

# Starting has to take milliseconds: `json`, `signal` and `ctypes` would double it (they bring `re` and `enum`), so the
# C modules behind them are used; nor are `contextlib` and `pwd` here before they are needed. Nothing is from outside the
# standard library: the supervisor runs as another user, who may not reach our packages.
import _ctypes
import fcntl
import os
import select
import sys
import time
from _json import encode_basestring_ascii, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from typing import Any, NoReturn
else:
    import _signal as signal

CHUNK = 256 * 1024
PIPE_SIZE = 256 * 1024  # a user may only have so many pages in pipes larger than usual
SPEC_LIMIT = 2 * 1024 * 1024
SPEC_PATIENCE = 10.0  # seconds until a supervisor without a run gives up
DRAIN_PATIENCE = 2.0  # seconds for output of those who outlive the script
KILL_PATIENCE = 5.0  # seconds until processes that SIGKILL cannot end are left
KILL_INTERVAL = 0.05
SPOOL_INTERVAL = 0.25  # seconds between attempts to write to a full disk
SPOOL_PATIENCE = 600.0  # seconds after the end of the script until a full disk is given up
STOP_PASSES = 50  # how often a tree that grows while it is being stopped is read again
FOLDER_PREFIX = "fastdeploy-run-"
STALE_AFTER = 60.0

F_SETPIPE_SZ = 1031
FIONREAD = 0x541B
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36


# --- JSON, signals, prctl ------------------------------------------------------------------------------------------


quoted = encode_basestring_ascii


class _Decoding:
    strict = False
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def from_json(text: str) -> Any:
    """The value of `text`; ValueError when it is not JSON."""
    text = text.strip()
    try:
        value, end = make_scanner(_Decoding)(text, 0)  # type: ignore[arg-type]
    except StopIteration:
        raise ValueError("not JSON") from None
    if end != len(text):
        raise ValueError("more than one JSON value")
    return value


def to_json(value: dict[str, str | int | None]) -> str:
    fields = []
    for key, item in value.items():
        text = "null" if item is None else str(item) if isinstance(item, int) else quoted(item)
        fields.append(f"{quoted(key)}:{text}")
    return "{" + ",".join(fields) + "}"


def signal_name(number: int) -> str:
    aliases = {"SIGCLD", "SIGIOT", "SIGPOLL", "SIGRTMIN", "SIGRTMAX"}
    for name in dir(signal):
        if name.startswith("SIG") and name[3] != "_" and name not in aliases and getattr(signal, name) == number:
            return name
    return f"SIG{number}"


def prctl(option: int, value: int) -> None:
    """Set a property of this process; OSError when the kernel does not know it."""
    function = _ctypes.dlsym(_ctypes.dlopen(None, os.RTLD_NOW), "prctl")  # type: ignore[arg-type]
    if _ctypes.call_function(function, (option, value, 0, 0, 0)):
        raise OSError(f"prctl({option}) is not available")


# --- lines -----------------------------------------------------------------------------------------------------------


def decoded(data: bytes) -> str:
    r"""Text of `data`: UTF-8; bytes that are none show as ``\xff``."""
    return data.decode("utf-8", "backslashreplace")


def cut_point(data: bytes | bytearray, limit: int) -> int:
    """Where to cut `data`, which is longer than `limit`, so that no character is divided."""
    if data[limit] & 0xC0 != 0x80:
        return limit
    for back in (1, 2, 3):
        byte = data[limit - back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return limit - back if length > back else limit
        if byte < 0x80:
            break
    return limit


class LineFramer:
    r"""Cuts a stream of bytes into lines, whatever the chunks it comes in.

    A line is one `out`; of a line longer than `limit` bytes all pieces but the last are `part`. ``\r\n`` ends a line as
    ``\n`` does.
    """

    def __init__(self, limit: int) -> None:
        self._limit = max(limit, 4)
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[tuple[str, str]]:
        """What `data` completes, as (kind, text)."""
        end = data.rfind(b"\n") + 1
        pieces: list[tuple[str, str]] = []
        if end:
            block = bytes(self._rest) + data[:end] if self._rest else data[:end]
            self._rest = bytearray(data[end:])
            pieces = self._lines(block)
        else:
            self._rest += data
        self._cut(self._rest, pieces)
        return pieces

    def close(self) -> list[tuple[str, str]]:
        """The last line, when the stream ended without a newline."""
        rest, self._rest = decoded(bytes(self._rest)), bytearray()
        return [("out", rest)] if rest else []

    def _lines(self, block: bytes) -> list[tuple[str, str]]:
        if len(block) <= self._limit + 1:
            lines = decoded(block).replace("\r\n", "\n").split("\n")
            lines.pop()
            return [("out", line) for line in lines]
        pieces: list[tuple[str, str]] = []
        for line in block[:-1].split(b"\n"):
            if len(line) > self._limit:
                rest = bytearray(line)
                self._cut(rest, pieces)
                line = bytes(rest)  # noqa: PLW2901
            pieces.append(("out", decoded(line[:-1] if line.endswith(b"\r") else line)))
        return pieces

    def _cut(self, rest: bytearray, pieces: list[tuple[str, str]]) -> None:
        """Move whole pieces from the beginning of `rest`, a line that may go on, to `pieces`."""
        while len(rest) > self._limit:
            cut = cut_point(rest, self._limit)
            pieces.append(("part", decoded(bytes(rest[:cut]))))
            del rest[:cut]


class OutputLimit:
    """Keeps about `limit` bytes of output, then only what may be reports (it starts with ``{``), up to the double."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = 0
        self._stage = 0  # 0: everything is kept, 1: reports are, 2: nothing is
        self._line = "new"  # of the output's current line, after a `part`: "kept" or "dropped"

    def keep(self, pieces: list[tuple[str, str]], size: int) -> list[tuple[str, str]]:
        """Those of `pieces` (of `size` bytes in all) that go into the spool, and a note where that changes."""
        if self._stage == 0 and self._kept + size <= self._limit:
            self._kept += size
            if pieces and pieces[-1][0] != "event":
                self._line = "kept" if pieces[-1][0] == "part" else "new"
            return pieces
        kept: list[tuple[str, str]] = []
        for kind, text in pieces:
            self._piece(kind, text, kept)
        return kept

    def _piece(self, kind: str, text: str, kept: list[tuple[str, str]]) -> None:
        state = "dropped"
        if (kind == "event" or self._line != "dropped") and self._fits(kind, text, kept):
            self._kept += len(text) + 1
            kept.append((kind, text))
            state = "kept"
        if kind != "event":
            self._line = state if kind == "part" else "new"

    def _fits(self, kind: str, text: str, kept: list[tuple[str, str]]) -> bool:
        after = self._kept + len(text) + 1
        if self._stage == 0:
            if after <= self._limit:
                return True
            self._next_stage(
                kept,
                f"The output is longer than {self._limit} bytes: what follows is kept only where it reports a step.",
            )
        report = text.startswith("{") and (kind == "event" or self._line == "new")
        if self._stage != 1 or not report:
            return False
        if after <= 2 * self._limit:
            return True
        self._next_stage(kept, "The output is longer than twice what is kept: nothing that follows is.")
        return False

    def _next_stage(self, kept: list[tuple[str, str]], note: str) -> None:
        self._stage += 1
        if self._line == "kept":
            kept.append(("out", ""))
            self._line = "dropped"
        kept.append(("note", note))


# --- what is written down --------------------------------------------------------------------------------------------


class Spool:
    """Numbers, stamps and appends records; keeps what a full disk does not take, and tries again."""

    def __init__(self, spool: int, wake: int) -> None:
        self._spool = spool
        self._wake = wake
        self._number = 0
        self._pending = b""
        self._blocked_since = 0.0
        self.complete = False  # the last record is written
        self.retry_at = 0.0  # monotonic; only meaningful while blocked

    @property
    def blocked(self) -> bool:
        return bool(self._pending)

    def append(self, kind: str, data: str) -> None:
        """Write one record; `data` is its JSON."""
        self._number += 1
        self.complete = kind == "exit"
        self._write(f'[{self._number},{time.time():.6f},"{kind}",{data}]\n')

    def extend(self, pieces: list[tuple[str, str]]) -> None:
        """Write texts that were read together, as (kind, text)."""
        if not pieces:
            return
        at = f"{time.time():.6f}"
        first = self._number + 1
        self._number += len(pieces)
        self._write(
            "".join(
                [f'[{number},{at},"{kind}",{quoted(text)}]\n' for number, (kind, text) in enumerate(pieces, first)]
            )
        )

    def note(self, sentence: str) -> None:
        self.append("note", quoted(sentence))

    def flush(self) -> None:
        """Write what is left of earlier records. An error (a full disk, a quota) leaves it for the next attempt."""
        written = False
        while self._pending:
            try:
                self._pending = self._pending[os.write(self._spool, self._pending) :]
            except OSError:
                self.retry_at = time.monotonic() + SPOOL_INTERVAL
                self._blocked_since = self._blocked_since or time.monotonic()
                break
            written = True
        if written:
            self._knock()
        if self._blocked_since and not self._pending:
            seconds, self._blocked_since = time.monotonic() - self._blocked_since, 0.0
            if not self.complete:
                self.note(f"The disk took no output for {seconds:.0f} s; the run waited for it.")

    def sync(self) -> None:
        """Bring the spool to the disk itself; where it does not allow that, it has to do without."""
        try:
            os.fdatasync(self._spool)
        except OSError:
            pass

    def _write(self, records: str) -> None:
        self._pending += records.encode("ascii")
        self.flush()

    def _knock(self) -> None:
        try:
            os.write(self._wake, b"\n")
        except OSError:
            pass  # full: the reader has not yet looked, and will see this too


# --- processes -------------------------------------------------------------------------------------------------------


def read_stat(pid: int) -> tuple[int, int, str] | None:
    """Parent, start time (clock ticks since boot) and name of a process; None when it is gone or dead."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        data = os.read(fd, 1024)
    except OSError:
        return None
    finally:
        os.close(fd)
    name, _, rest = data.rpartition(b")")
    fields = rest.split()
    if fields[0] in b"ZX" and fields[17] == b"1":
        return None  # with other threads it may well be running
    return int(fields[1]), int(fields[19]), decoded(name.partition(b"(")[2])


def descendants(root: int) -> dict[int, int]:
    """Start times by process id of everything that `root` and its descendants have started."""
    children: dict[int, list[tuple[int, int]]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            stat = read_stat(int(entry))
            if stat is not None:
                children.setdefault(stat[0], []).append((int(entry), stat[1]))
    found: dict[int, int] = {}
    ahead = [root]
    while ahead:
        for pid, started in children.pop(ahead.pop(), []):
            found[pid] = started
            ahead.append(pid)
    return found


def send_signal(pid: int, started: int, number: int) -> None:
    """Signal the process that had this id at that start time, and no later one. PermissionError if that is refused."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):  # a kernel before 5.3
        _kill(pid, number)
        return
    try:
        stat = read_stat(pid)
        if stat is not None and stat[1] == started:
            signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(fd)


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def signal_all(processes: dict[int, int], number: int) -> None:
    for pid, started in processes.items():
        try:
            send_signal(pid, started, number)
        except PermissionError:
            pass  # of another user (sudo): it is named when it is left


def terminate_tree() -> None:
    """Ask everything below this process to end, those that were stopped too."""
    asked: dict[int, int] = {}
    for _ in range(STOP_PASSES):
        found = {pid: at for pid, at in descendants(os.getpid()).items() if asked.get(pid) != at}
        if not found:
            return
        signal_all(found, signal.SIGTERM)
        signal_all(found, signal.SIGCONT)
        asked.update(found)


def kill_tree() -> None:
    """Stop everything below this process, so that it cannot grow, then kill it."""
    stopped: dict[int, int] = {}
    for _ in range(STOP_PASSES):
        found = {pid: at for pid, at in descendants(os.getpid()).items() if stopped.get(pid) != at}
        if not found:
            break
        signal_all(found, signal.SIGSTOP)
        stopped.update(found)
    signal_all(stopped, signal.SIGKILL)


def left_running() -> str:
    """The processes below this one, for a sentence; empty when there are none."""
    names = []
    for pid in sorted(descendants(os.getpid())):
        stat = read_stat(pid)
        if stat is not None:
            names.append(f"{stat[2]} ({pid})")
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


# --- the private folder of a run -------------------------------------------------------------------------------------


class PrivateFolder:
    """A temporary directory of this user alone, gone after the run. A lock on it tells it from a dead run's."""

    def __init__(self, base: str) -> None:
        self._base = base
        self.path = os.path.join(base, FOLDER_PREFIX + os.urandom(8).hex())
        os.mkdir(self.path, 0o700)
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def write(self, files: dict[str, str]) -> None:
        """Write texts by the name of their file. ValueError for a name that would lead elsewhere."""
        for name, text in files.items():
            if name in {"", ".", ".."} or "/" in name:
                raise ValueError(f"{name!r} is not the name of a file")
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._lock)
            with open(fd, "wb") as file:
                file.write(text.encode("utf-8"))

    def remove(self) -> None:
        remove_tree(self.path)
        os.close(self._lock)

    def remove_stale(self) -> None:
        """Remove what supervisors that were killed have left: it may hold a run's token."""
        try:
            for entry in os.scandir(self._base):
                if entry.name.startswith(FOLDER_PREFIX) and entry.is_dir(follow_symlinks=False):
                    info = entry.stat(follow_symlinks=False)
                    if info.st_uid == os.geteuid() and info.st_mtime < time.time() - STALE_AFTER:
                        remove_unlocked(entry.path)
        except OSError:
            pass  # somebody else was faster; a later run tries again


def remove_unlocked(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_tree(path)
    except BlockingIOError:
        pass  # its run lives
    finally:
        os.close(fd)


def remove_tree(path: str) -> None:
    """Remove a directory; what cannot be removed stays."""
    for folder, folders, files in os.walk(path, topdown=False):
        for name in files:
            _attempt(os.unlink, os.path.join(folder, name))
        for name in folders:
            child = os.path.join(folder, name)
            _attempt(os.unlink if os.path.islink(child) else os.rmdir, child)
    _attempt(os.rmdir, path)


def _attempt(remove: Callable[[str], None], path: str) -> None:
    try:
        remove(path)
    except OSError:
        pass


# --- starting the script ---------------------------------------------------------------------------------------------


class NotStarted(Exception):
    """The script cannot be started; the message says which file, why, and what to do."""


class Spec:
    """What to run; see `RunSpec` in spool.py for the meaning of each field."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.argv: list[str] = list(data["argv"])
        self.cwd: str = data["cwd"]
        self.env: dict[str, str] = dict(data["env"])
        self.files: dict[str, str] = dict(data.get("files") or {})
        self.timeout: float | None = data.get("timeout")
        self.grace: float = data.get("grace", 5.0)
        self.interrupt: bool = data.get("interrupt", False)
        self.events: bool = data.get("events", False)
        self.output_limit: int = data["output_limit"]
        self.line_limit: int = data["line_limit"]
        if not self.argv:
            raise ValueError("argv is empty")

    def for_folder(self, folder: str) -> tuple[list[bytes], dict[bytes, bytes]]:
        """Arguments and environment for the system, the private folder's path filled in."""

        def filled(text: str) -> bytes:
            data = os.fsencode(text.replace("%RUN_DIR%", folder))
            if b"\0" in data:
                raise ValueError("a NUL is in the arguments or the environment")
            return data

        return [filled(argument) for argument in self.argv], {
            filled(name): filled(value) for name, value in self.env.items()
        }


def new_pipe() -> tuple[int, int]:
    """A pipe as large as the system grants: the less often it is full, the less often the script has to wait."""
    ends = os.pipe()
    try:
        fcntl.fcntl(ends[1], F_SETPIPE_SZ, PIPE_SIZE)
    except OSError:
        pass
    return ends


class Child:
    """The script's process, which waits for `go` when the constructor returns. NotStarted if it cannot be started."""

    def __init__(self, argv: list[bytes], env: dict[bytes, bytes], cwd: str, *, events: bool) -> None:
        self.output, output = new_pipe()
        self.events, events_end = new_pipe() if events else (-1, -1)
        self._status, status = os.pipe()
        gate, self._gate = os.pipe()
        if events:
            env = {**env, b"FASTDEPLOY_EVENTS_FD": b"%d" % events_end}
        self.pid = os.fork()
        if not self.pid:
            os.close(self._gate)
            become(argv, env, cwd, output=output, events=events_end, status=status, gate=gate)
        for end in (output, events_end, status, gate):
            if end >= 0:
                os.close(end)
        answer = os.read(self._status, 65536)
        if answer != b"ready":
            self.abandon()
            raise NotStarted(decoded(answer) or "The process was killed before it could start.")

    def abandon(self) -> None:
        """End the process, which has not begun."""
        _kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def go(self) -> None:
        """Let the script begin. NotStarted if the system refuses it after all."""
        os.write(self._gate, b"!")
        os.close(self._gate)
        answer = os.read(self._status, 65536)
        os.close(self._status)
        if answer:
            self.abandon()
            raise NotStarted(decoded(answer))


def become(
    argv: list[bytes], env: dict[bytes, bytes], cwd: str, *, output: int, events: int, status: int, gate: int
) -> NoReturn:
    """Turn this process into the script: a session of its own, its descriptors, the default signals."""
    try:
        os.setsid()
        # A script whose supervisor is gone would run on unseen, and once more beside its own retry.
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        default_signals()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        if events >= 0:
            os.set_inheritable(events, True)
        enter(cwd)
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
                pass  # the C library keeps some to itself
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def enter(cwd: str) -> None:
    try:
        os.chdir(cwd)
    except OSError as error:
        raise NotStarted(f"The folder {cwd} cannot be entered by {user_name()}: {error.strerror}.") from error


def execute(program: str, argv: list[bytes], env: dict[bytes, bytes]) -> None:
    try:
        os.execve(program, argv, env)  # noqa: S606
    except OSError as error:
        raise NotStarted(f"{program} could not be started: {error.strerror}.") from error


def user_name() -> str:
    import pwd

    try:
        return f"the user {pwd.getpwuid(os.geteuid()).pw_name}"
    except KeyError:
        return f"the user with the id {os.geteuid()}"


def find_program(name: str, path: str) -> str:
    """The file that `name` means: looked up in `path`, as a shell does, unless it has a slash."""
    if "/" in name:
        return name
    for folder in path.split(":"):
        candidate = os.path.join(folder or ".", name)
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    raise NotStarted(f"There is no program {name} in PATH ({path}): install it, or add its folder to PATH_FOR_DEPLOY.")


def check_program(path: str) -> None:
    """Find out what the system would object to, while that can still be told from a script that failed."""
    try:
        os.stat(path)
    except FileNotFoundError:
        raise NotStarted(f"There is no file {path}: create it, or name another one in the service's config.") from None
    except OSError as error:
        raise NotStarted(
            f"{path} cannot be reached by {user_name()}: {error.strerror}. Every folder above it needs to be accessible."
        ) from error
    if os.path.isdir(path):
        raise NotStarted(f"{path} is a folder, not a script: name a file in the service's config.")
    if not os.access(path, os.X_OK):
        raise NotStarted(f"{path} is not executable for {user_name()}: run `chmod +x {path}`.")
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError:
        return  # programs may be executable without being readable
    check_head(path, head)


def check_head(path: str, head: bytes) -> None:
    if not head.startswith(b"#!"):
        if b"\0" not in head:
            raise NotStarted(f"{path} does not say what runs it: its first line must be `#!/bin/sh`, or the like.")
        return
    line = head[2:].partition(b"\n")[0]
    words = line.split()
    interpreter = os.fsdecode(words[0]) if words else ""
    if line.endswith(b"\r"):
        raise NotStarted(f"The lines of {path} end as on Windows (CRLF): save it with Unix line ends.")
    if not os.path.exists(interpreter):
        raise NotStarted(
            f"{path} asks for {interpreter or 'nothing'} in its first line, which is not there: "
            "install it, or correct the line."
        )
    if not os.access(interpreter, os.X_OK):
        raise NotStarted(f"{path} asks for {interpreter} in its first line, which is not executable.")


# --- supervising -----------------------------------------------------------------------------------------------------


class Control:
    """Lines of JSON from the control FIFO, whatever pieces they come in."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.ended = False
        self._rest = b""

    def read(self) -> list[dict[str, Any]]:
        """The commands that have come in whole; an unreadable one is an empty dict."""
        data = b""
        try:
            while len(data) < SPEC_LIMIT:
                chunk = os.read(self.fd, CHUNK)
                if not chunk:
                    self.ended = True
                    break
                data += chunk
        except BlockingIOError:
            pass
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > SPEC_LIMIT:
            self._rest = b""
        return [self._command(line) for line in lines]

    def _command(self, line: bytes) -> dict[str, Any]:
        try:
            command = from_json(decoded(line))
        except (ValueError, RecursionError):
            return {}
        return command if isinstance(command, dict) else {}


class Stream:
    """One of the script's pipes: its output, or the events of a callback plugin."""

    def __init__(self, fd: int, limit: int, *, events: bool = False) -> None:
        self.fd = fd
        self.owed = 0  # bytes to read before the stream may be left without its end
        self._framer = LineFramer(limit)
        self._limit = limit
        self._events = events
        self._too_long = False

    def read(self) -> tuple[list[tuple[str, str]], int]:
        """What the next chunk completes, and its size in bytes: 0 at the end of the stream."""
        data = os.read(self.fd, CHUNK)
        self.owed -= len(data)
        pieces = self._framer.feed(data) if data else self._framer.close()
        return self._as_events(pieces) if self._events else pieces, len(data)

    def rest(self) -> list[tuple[str, str]]:
        """The line that was being written when the stream was left."""
        pieces = self._framer.close()
        return self._as_events(pieces) if self._events else pieces

    def count_owed(self) -> None:
        size = fcntl.ioctl(self.fd, FIONREAD, b"\0\0\0\0")
        self.owed = int.from_bytes(size, sys.byteorder)

    def _as_events(self, pieces: list[tuple[str, str]]) -> list[tuple[str, str]]:
        events: list[tuple[str, str]] = []
        for kind, text in pieces:
            if kind == "part":
                self._too_long = True
            elif self._too_long:
                self._too_long = False
                events.append(("note", f"An event of more than {self._limit} bytes was left out."))
            elif text:
                events.append(("event", text))
        return events


class Signals:
    """Turns signals into something to poll for. None of those that can be caught ends this process."""

    def __init__(self) -> None:
        self.fd, self._end = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._end, False)
        self.told_to_stop = False
        ignored = (
            signal.SIGHUP,
            signal.SIGINT,
            signal.SIGQUIT,
            signal.SIGPIPE,
            signal.SIGALRM,
            signal.SIGUSR1,
            signal.SIGUSR2,
            signal.SIGTSTP,
            signal.SIGTTIN,
            signal.SIGTTOU,
            signal.SIGXFSZ,
        )
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(self._end, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def clear(self) -> None:
        try:
            os.read(self.fd, 65536)
        except BlockingIOError:
            pass

    def _stop(self, _number: int, _frame: object) -> None:
        self.told_to_stop = True


class Supervisor:
    """One run, from its settings to its `exit` record."""

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
        self.status: int | None = None  # of the script: its exit code, or the negative number of the signal
        self.childless = False  # nothing is left below this process
        self.cause: str | None = None
        self.reason = ""
        self.plan: list[tuple[float, int]] = []  # signals to send, and when
        self.deadline = float("inf")
        self.kill_until = float("inf")
        self.gave_up = False
        self.drain_until = 0.0

    def run(self) -> None:
        try:
            self.spec = self.wait_for_spec()
            if self.cause is None:
                self.start(self.spec)
        except NotStarted as error:
            self.cause, self.reason = "not_started", str(error)
        while self.pid and not self.is_over():
            self.step()
        self.finish()

    # starting

    def wait_for_spec(self) -> Spec:
        give_up = time.monotonic() + SPEC_PATIENCE
        while self.spec is None:
            self.poll.poll(max(0.0, give_up - time.monotonic()) * 1000)
            self.heed_signals()
            self.obey()
            if self.control.ended or time.monotonic() >= give_up:
                break
        if self.spec is None:
            raise NotStarted("The run has got no settings: start it again.")
        return self.spec

    def obey(self) -> None:
        """Carry out what the control FIFO asks for."""
        for command in self.control.read():
            if "argv" in command and self.spec is None:
                self.accept(command)
            elif isinstance(command.get("cancel"), str):
                self.stop("cancelled", command["cancel"])
            elif self.pid:
                self.spool.note("A command that the run's supervisor does not know was ignored.")
        if self.control.ended:
            self.unregister(self.control.fd)

    def heed_signals(self) -> None:
        self.signals.clear()
        if self.signals.told_to_stop:
            self.stop("cancelled", "The supervisor was told to stop.")
        if self.pid:
            self.reap()

    def accept(self, command: dict[str, Any]) -> None:
        try:
            self.spec = Spec(command)
        except (KeyError, TypeError, ValueError) as error:
            raise NotStarted(f"The settings of the run are not complete: {error!r}.") from error

    def start(self, spec: Spec) -> None:
        base = spec.env.get("TMPDIR") or "/tmp"  # noqa: S108
        try:
            self.folder = PrivateFolder(base)
            self.folder.write(spec.files)
            argv, env = spec.for_folder(self.folder.path)
            child = Child(argv, env, spec.cwd, events=spec.events)
        except (OSError, ValueError) as error:
            raise NotStarted(f"The run could not be prepared: {error}.") from error
        self.spool.append("start", to_json({"pid": child.pid}))
        if self.spool.blocked:
            child.abandon()
            raise NotStarted("The disk that keeps the output of runs is full: make room, and start it again.")
        # On the disk itself before the script begins: after a power failure, too, a started run must not start again.
        self.spool.sync()
        child.go()
        self.pid = child.pid
        if spec.timeout is not None:
            self.deadline = time.monotonic() + spec.timeout
        self.limit = OutputLimit(spec.output_limit)
        self.add_stream(Stream(child.output, spec.line_limit))
        if spec.events:
            self.add_stream(Stream(child.events, spec.line_limit, events=True))

    def add_stream(self, stream: Stream) -> None:
        self.streams[stream.fd] = stream
        self.poll.register(stream.fd, select.POLLIN)

    # the loop

    def step(self) -> None:
        self.wait_for_disk()
        for fd, _ in self.poll.poll(self.patience()):
            stream = self.streams.get(fd)
            if stream is not None:
                self.take(stream)
            elif fd == self.control.fd:
                self.obey()
            else:
                self.heed_signals()
        self.keep_time()

    def patience(self) -> float | None:
        """Milliseconds until something is due; None when nothing is."""
        due = [at for at, _ in self.plan[:1]]
        if self.status is None and self.cause is None:
            due.append(self.deadline)
        if self.drain_until > time.monotonic():
            due.append(self.drain_until)
        if self.spool.blocked:
            due.append(self.spool.retry_at)
        seconds = min(due, default=float("inf")) - time.monotonic()
        return None if seconds == float("inf") else max(0.0, seconds) * 1000 + 1

    def wait_for_disk(self) -> None:
        """Read the script's output only while it can be written down: until then the script waits for its reader."""
        if self.reading == (not self.spool.blocked):
            return
        self.reading = not self.reading
        for fd in self.streams:
            if self.reading:
                self.poll.register(fd, select.POLLIN)
            else:
                self.poll.unregister(fd)

    def take(self, stream: Stream) -> None:
        pieces, size = stream.read()
        self.spool.extend(self.limit.keep(pieces, size))
        if not size:
            del self.streams[stream.fd]
            self.unregister(stream.fd)
            os.close(stream.fd)

    def unregister(self, fd: int) -> None:
        try:
            self.poll.unregister(fd)
        except KeyError:
            pass  # while the disk is full

    def reap(self) -> None:
        while not self.childless:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.childless = True
                self.plan.clear()
                return
            if not pid:
                return
            if pid == self.pid:
                self.status = os.waitstatus_to_exitcode(status)
                for stream in self.streams.values():
                    stream.count_owed()
                self.hurry()

    # ending

    def stop(self, cause: str, reason: str) -> None:
        """Begin to end the script and everything it started; the first cause counts."""
        if self.cause is not None:
            return
        self.cause, self.reason = cause, reason
        self.drain_until = 0.0
        if self.spec is None or not self.pid:
            return
        numbers = [signal.SIGTERM, signal.SIGKILL]
        if self.spec.interrupt and self.status is None:
            numbers.insert(0, signal.SIGINT)
        now = time.monotonic()
        self.plan = [(now + self.spec.grace * step, number) for step, number in enumerate(numbers)]

    def hurry(self) -> None:
        """When the interrupted script has ended, those it left need not wait for their SIGTERM."""
        if self.plan and self.plan[0][1] == signal.SIGTERM:
            early = max(0.0, self.plan[0][0] - time.monotonic())
            self.plan = [(at - early, number) for at, number in self.plan]

    def keep_time(self) -> None:
        now = time.monotonic()
        if self.spool.blocked and now >= self.spool.retry_at:
            self.spool.flush()
        if now >= self.deadline and self.status is None and self.spec is not None:
            self.stop("timeout", f"The run took longer than the {self.spec.timeout:g} s it may take, and was stopped.")
        while self.plan and self.plan[0][0] <= now:
            _, number = self.plan.pop(0)
            if number == signal.SIGINT:
                _kill(self.pid, signal.SIGINT)
            elif number == signal.SIGTERM:
                terminate_tree()
            else:
                self.kill(now)

    def kill(self, now: float) -> None:
        """Kill all there is, again and again until nothing is left, or only what cannot be killed."""
        self.kill_until = min(self.kill_until, now + KILL_PATIENCE)
        kill_tree()
        if now < self.kill_until:
            self.plan.append((now + KILL_INTERVAL, signal.SIGKILL))
        else:
            self.gave_up = True

    def is_over(self) -> bool:
        ended = self.gave_up or (self.status is not None and (self.cause is None or self.childless))
        if not ended:
            return False
        if not self.streams:
            return True
        now = time.monotonic()
        self.drain_until = self.drain_until or now + DRAIN_PATIENCE
        return now >= self.drain_until and all(stream.owed <= 0 for stream in self.streams.values())

    def finish(self) -> None:
        for stream in self.streams.values():
            self.spool.extend(self.limit.keep(stream.rest(), 0))
        self.reap()
        left = "" if self.childless or not self.pid else left_running()
        if left:
            how = "could not be ended" if self.cause else "were left running; what they print is not recorded"
            self.spool.note(f"Processes that {how}: {left}.")
        if self.folder is not None:
            self.folder.remove()
        self.spool.append("exit", self.outcome())
        give_up = time.monotonic() + SPOOL_PATIENCE
        while self.spool.blocked and time.monotonic() < give_up:
            time.sleep(SPOOL_INTERVAL)
            self.spool.flush()
        if self.folder is not None:
            self.folder.remove_stale()

    def outcome(self) -> str:
        code = self.status if self.status is not None and self.status >= 0 else None
        name = signal_name(-self.status) if self.status is not None and self.status < 0 else None
        message = self.reason
        if self.cause is None and self.status and self.spec is not None:
            how = f"was ended by {name}" if name else f"ended with exit code {code}"
            message = f"{os.path.basename(self.spec.argv[0])} {how}."
        return to_json({"code": code, "signal": name, "cause": self.cause, "message": message})


def report_failure(spool: Spool, error: Exception, pid: int) -> None:
    """The last thing that a supervisor with a fault does: end the script `pid` and its tree, and say so."""
    try:
        if pid:
            _kill(-pid, signal.SIGKILL)
        kill_tree()
    finally:
        if not spool.complete:
            cause = None if pid else "not_started"
            message = f"The run's supervisor failed, and ended the run: {type(error).__name__}: {error}."
            spool.append("exit", to_json({"code": None, "signal": None, "cause": cause, "message": message}))


def main() -> int:
    """Supervise the run that the descriptors 0, 1 and 2 belong to."""
    spool = Spool(1, 2)
    supervisor = None
    try:
        os.closerange(3, 256)
        os.set_blocking(0, False)
        os.chdir("/")
        # The script may have the same user: it must not read this process, which knows the secrets of the run.
        prctl(PR_SET_DUMPABLE, 0)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        supervisor = Supervisor(spool, Control(0), Signals())
        supervisor.run()
    except Exception as error:  # noqa: BLE001 - nobody else could say what happened
        report_failure(spool, error, supervisor.pid if supervisor else 0)
        return 1
    return 0


if __name__ == "__main__":
    os._exit(main())  # nothing is left to tidy up, and the spool's lock is free a little sooner
