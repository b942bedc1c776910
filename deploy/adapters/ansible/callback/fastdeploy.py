# SPDX-License-Identifier: GPL-3.0-or-later
# Ansible loads this file into its own process, and Ansible is licensed under the GPL. The plugin is a single file
# because Ansible treats every file in a plugin folder as a plugin.
"""Send Ansible's default output and events as JSON lines through a single pipe, which keeps them in order.

The environment variable FASTDEPLOY_EVENTS_FD contains the pipe's file descriptor number. If it is not set, the plugin
prints the default output.

Each line is one object (each `task` identifier starts once and ends once):

    {"text": str, "part"?: true, "host"?: str}   output without the last newline; part: the line continues; host: it
        belongs to this host's next result
    {"event": "play_start", "name", "hosts": int}
    {"event": "task_start", "task", "name", "play", "path": "site.yml:12", "templated"?: true}
        templated: the name contains values of this run
    {"event": "host_result", "task", "host", "outcome", "duration": seconds, "message", "diff"?}
        outcome: ok, changed, skipped, failed, unreachable, ignored, rescued; a later one replaces an earlier one
    {"event": "waiting", "task", "name", "hosts": [str], "count": int}   a task still waits for these and other hosts
    {"event": "task_end", "task", "name", "state": success, failure or skipped, "message", "outcome"?}
        outcome: ignored or rescued, if that happened to a failure on a host and no failure counts
    {"event": "errors_cleared"}    failures before this point no longer count (`meta: clear_host_errors`)
    {"event": "no_hosts", "patterns": [str]}   no play matched a host; Ansible exits with 0
    {"event": "playbook_end", "stats": {host: {ok, changed, unreachable, failed, skipped, rescued, ignored}}}

A message or diff that is too long contains, where it was cut off, the control character U+001A, its full size in bytes,
and a semicolon.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import gc
import glob
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter

from ansible import constants as C  # noqa: N812 - its name everywhere in Ansible
from ansible.executor.stats import AggregateStats
from ansible.playbook.task_include import TaskInclude
from ansible.plugins.callback.default import CallbackModule as DefaultCallback
from ansible.utils.color import stringc

DOCUMENTATION = """
    name: fastdeploy
    type: stdout
    short_description: default output and events through one pipe
    description:
        - Writes the output of the default callback, and events, as JSON lines to the pipe whose number
          is in the environment variable FASTDEPLOY_EVENTS_FD.
    extends_documentation_fragment:
      - default_callback
      - result_format_callback
    requirements:
      - set as stdout in configuration
"""

TEXT_LIMIT = 64 * 1024  # characters per object, at most 12 bytes each in JSON; stays below 1 MiB
MESSAGE_LIMIT = 64 * 1024  # bytes of UTF-8
TASK_MESSAGE_LIMIT = 8 * 1024  # also sent to clients that only follow the task's state
# A task's message names this many hosts that failed, each with the beginning of its message.
NAMED_HOSTS, NAMED_MESSAGE_LIMIT = 10, 500
CUT = "\x1a"  # marks where a message or diff was cut off; fastDeploy shows a note there
DIFF_LIMIT = 256 * 1024

COLORS = re.compile(r"\x1b\[[0-9;]*m")
# Replaced with Unicode control pictures, so that terminal sequences never reach the page and NUL never reaches the
# database.
CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n\r"} | {0x7F: 0x2421}
UNDECODABLE_BYTES = re.compile("[\udc80-\udcff]")

BAD = ("failed", "unreachable")
NAMED_HOSTS = 10  # of those that a task waits for
LOCAL = ("localhost", "127.0.0.1", "::1")
OUTCOME_PREFIXES = {"ignored": "Failed (ignored): ", "rescued": "Failed (rescued): "}
# Result fields that describe the result itself rather than the host.
DEBUG_KEYS = ("changed", "failed", "skipped", "invocation", "warnings", "deprecations", "exception", "attempts")


def readable(text: str) -> str:
    """Return the text as valid Unicode. Ansible represents undecodable bytes as lone surrogates."""
    if text.isascii():
        return text
    text = UNDECODABLE_BYTES.sub(lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", text)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def clipped(text: str, limit: int) -> str:
    """Return plain text of at most about `limit` bytes."""
    if text.isascii() and text.isprintable() and len(text) <= limit:
        return text
    return cut_off(readable(COLORS.sub("", text)).translate(CONTROLS).strip("\n"), limit)


def cut_off(text: str, limit: int) -> str:
    """Return at most about `limit` bytes of clipped text."""
    data = text.encode("utf-8")
    if len(data) <= limit:
        return text
    return f"{data[:limit].decode('utf-8', 'ignore')}{CUT}{len(data)};"


class Pipe:
    """Writes whole JSON lines from any thread. If the reader is gone, the playbook continues without it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.lock = threading.Lock()
        self.is_interrupted = False
        # Otherwise every command that the playbook starts would keep the pipe open, even after Ansible exits.
        os.set_inheritable(fd, False)

    def write(self, **fields: object) -> None:
        data = json.dumps(fields, separators=(",", ":"), default=str).encode() + b"\n"
        with self.lock:
            if self.is_interrupted:  # an exception in a signal handler interrupted a line
                data = b"\n" + data
            self.is_interrupted = True
            try:
                while data:
                    data = data[os.write(self.fd, data) :]
            except BrokenPipeError:
                return
            self.is_interrupted = False

    def text(self, text: str, *, part: bool = False, host: str = "") -> None:
        """Send lines, which may belong to the result of a host. If `part` is true, the last line continues in the next call."""
        text = readable(text)
        about = {"host": host} if host else {}
        while len(text) > TEXT_LIMIT:
            newline = text.rfind("\n", 0, TEXT_LIMIT)
            if newline >= 0:
                self.write(text=text[:newline], **about)
                text = text[newline + 1 :]
            else:
                self.write(text=text[:TEXT_LIMIT], part=True, **about)
                text = text[TEXT_LIMIT:]
        if part:
            self.write(text=text, part=True, **about)
        else:
            self.write(text=text, **about)


def events_pipe() -> Pipe | None:
    """Return the pipe named in the environment, or None if that descriptor is not open."""
    # Remove the variable: a nested ansible-playbook inherits the environment but not the pipe.
    number = os.environ.pop("FASTDEPLOY_EVENTS_FD", "")
    if not number.isdecimal():
        return None
    try:
        return Pipe(int(number))
    except OSError:
        return None


class Items:
    """The results of a loop's items on one host: all outcomes, and the first messages."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.lines: list[str] = []
        self.size = 0

    def note(self, outcome: str, line: str) -> None:
        self.outcomes[outcome] += 1
        if line and self.size <= MESSAGE_LIMIT:
            self.lines.append(line)
            self.size += len(line)

    def summary(self) -> str:
        count = sum(self.outcomes.values())
        return "\n".join([f"{count} {'item' if count == 1 else 'items'}: {counted(self.outcomes)}", *self.lines])


class RunningTask:
    """One run of a task, with the host results received so far."""

    def __init__(self, identifier: str, task, *, names_hosts: bool) -> None:
        self.id = identifier
        self.began = time.monotonic()
        self.names_hosts = names_hosts  # the play has several hosts, even if this run of the task only has one
        self.name = readable(task.get_name().strip())
        self.uuid = task._uuid
        self.is_meta = task.action in C._ACTION_META
        self.is_include = isinstance(task, TaskInclude)
        self.started: dict[str, float] = {}
        self.outcomes: dict[str, str] = {}
        self.messages: dict[str, str] = {}
        self.diffs: dict[str, list[str]] = {}
        self.items: dict[str, Items] = {}

    def awaited(self) -> list[str]:
        """Return the hosts that have not reported. A playbook that only runs locally waits for no other host."""
        hosts = [host for host in list(self.started) if host not in self.outcomes]
        return hosts if self.names_hosts or any(host not in LOCAL for host in hosts) else []

    def mended(self) -> str:
        """Return `rescued` or `ignored` if that happened to a failure, and no failure counts."""
        outcomes = set(self.outcomes.values())
        if outcomes.intersection(BAD):
            return ""
        return next((outcome for outcome in OUTCOME_PREFIXES if outcome in outcomes), "")

    def all_reported(self) -> bool:
        return bool(self.outcomes) and self.started.keys() <= self.outcomes.keys()

    def state(self) -> str:
        outcomes = set(self.outcomes.values())
        if outcomes.intersection(BAD):
            return "failure"
        return "skipped" if outcomes == {"skipped"} else "success"

    def summary(self) -> str:
        """Return the only host's message, the failures if there are any, or the number of hosts per outcome.

        A failure includes the host's name, unless the play has only one.
        """
        if len(self.outcomes) == 1 and not (self.names_hosts and self.state() == "failure"):
            [(host, outcome)] = self.outcomes.items()
            return OUTCOME_PREFIXES.get(outcome, "") + self.messages[host]
        bad = [host for host, outcome in self.outcomes.items() if outcome in BAD]
        lines = [f"{host}: {cut_off(self.messages[host], NAMED_MESSAGE_LIMIT)}" for host in bad[:NAMED_HOSTS]]
        if len(bad) > NAMED_HOSTS:
            lines.append(f"and {len(bad) - NAMED_HOSTS} more hosts")
        return "\n".join(lines) or counted(Counter(self.outcomes.values()))


def use_every_processor() -> None:
    """Keep Mitogen from pinning its processes to CPUs. Must be called before its strategy starts.

    Mitogen pins Ansible and its workers to one CPU and its broker to another. It picks the same two CPUs in every run,
    so all deployments would share them, and local commands would see fewer CPUs.
    """
    # Does nothing if Mitogen cannot be imported here or if this version does not have the policy.
    with contextlib.suppress(ImportError, AttributeError):
        from ansible_mitogen import affinity  # noqa: PLC0415 - only where mitogen is used

        affinity.policy = affinity.Policy()


def last_counts() -> dict[str, str]:
    """From now on, keep the name of the last statistic that Ansible incremented for each host. Return this dictionary.

    Ansible counts a failure as `rescued` or `failures` right before it calls the callbacks, but does not pass on which.
    The structure of blocks does not tell: handlers, for example, can be flushed within a block.
    """
    counts: dict[str, str] = {}
    increment = AggregateStats.increment

    def increment_and_keep(self, what, host):
        counts[host] = what
        return increment(self, what, host)

    AggregateStats.increment = increment_and_keep
    return counts


def counted(outcomes: Counter[str]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())


class CallbackModule(DefaultCallback):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "fastdeploy"

    def __init__(self) -> None:
        super().__init__()
        self._running: dict[str, RunningTask] = {}  # keyed by the task's uuid
        self._runs: Counter[str] = Counter()  # number of times each task started
        self._captured_diffs: list[str] = []
        self._shown_host = ""  # the host whose result is being shown
        self._hosts_in_play = self._hosts_in_all_batches = 0
        self._free = False
        self._plays = 0
        self._unmatched: list[str] = []  # the host patterns of plays that match no host
        self._last_counts = last_counts()
        self._ending = threading.Lock()
        self._pid = os.getpid()
        self._pipe = events_pipe()
        if self._pipe is not None:
            self._redirect_display()
            atexit.register(self._at_exit)
            seconds = os.environ.pop("FASTDEPLOY_WAITING_SECONDS", "")
            if seconds:
                threading.Thread(target=self._report_awaited, args=[float(seconds)], daemon=True).start()

    def _send(self, event: str, **fields: object) -> None:
        if self._pipe is not None:
            self._pipe.write(event=event, **fields)

    def _report_awaited(self, seconds: float) -> None:
        """Every `seconds`, report the hosts that running tasks still wait for, if they have changed."""
        reported: dict[str, list[str]] = {}
        while True:
            time.sleep(seconds)
            running_tasks = list(self._running.values())
            reported = {task.id: reported.get(task.id, []) for task in running_tasks}
            for task in running_tasks:
                hosts = task.awaited()
                if hosts and hosts != reported[task.id] and time.monotonic() - task.began >= seconds:
                    reported[task.id] = hosts
                    self._send_awaited(task, hosts)

    def _send_awaited(self, running: RunningTask, hosts: list[str]) -> None:
        with self._ending:  # nothing is reported about a task that has ended
            if self._running.get(running.uuid) is running:
                named = [readable(host) for host in hosts[:NAMED_HOSTS]]
                self._send("waiting", task=running.id, name=running.name, hosts=named, count=len(hosts))

    # ---- text ------------------------------------------------------------------------------------------------

    def _redirect_display(self) -> None:
        # Replace the display for the whole process: warnings, errors, and -v output come from everywhere in Ansible
        # and belong between the lines of the tasks they refer to.
        sys.stdout.flush()
        sys.stderr.flush()
        self._original_display = self._display.display
        self._display.display = self._show

    def _show(
        self,
        msg: str,
        color: str | None = None,
        stderr: bool = False,
        screen_only: bool = False,
        log_only: bool = False,
        newline: bool = True,
        **others: object,
    ) -> None:
        if os.getpid() != self._pid:
            # In a forked worker, the original display sends the message to the main process, which calls this method
            # again.
            self._original_display(msg, color, stderr, screen_only, log_only, newline, **others)
            return
        if not log_only:
            text = msg.replace("\r\n", "\n")
            ends = text.endswith("\n")
            text = text[:-1] if ends else text
            shown = stringc(text, color) if color else text
            self._pipe.text(shown, part=not (ends or newline), host=self._shown_host)
        # Writes to the file in `log_path` if that option is set.
        self._original_display(msg, color, stderr, screen_only, True, newline, **others)

    # ---- plays and tasks -------------------------------------------------------------------------------------

    def v2_playbook_on_play_start(self, play) -> None:
        self._end_tasks()
        self._plays += 1
        self._hosts_in_play = count_hosts(play) if self._pipe is not None else 0
        self._hosts_in_all_batches = count_hosts(play, all_batches=True) if self._pipe is not None else 0
        self._free = str(play.strategy).endswith(("free", "host_pinned"))
        self._send("play_start", name=readable(play.get_name().strip()), hosts=self._hosts_in_play)
        super().v2_playbook_on_play_start(play)
        if str(play.strategy).startswith("mitogen"):
            use_every_processor()
        # Ansible forks once per task and host. Garbage collection in the child would write to every existing object
        # and copy its memory pages; frozen objects are skipped.
        gc.freeze()

    def v2_playbook_on_no_hosts_matched(self) -> None:
        self._unmatched.append(patterns_of(self._play))
        super().v2_playbook_on_no_hosts_matched()

    def v2_playbook_on_task_start(self, task, is_conditional) -> None:
        if task.action in C._ACTION_META and task.args.get("_raw_params") == "clear_host_errors":
            self._end_tasks()
            self._send("errors_cleared")
        self._start(task)
        super().v2_playbook_on_task_start(task, is_conditional)

    def v2_playbook_on_handler_task_start(self, task) -> None:
        self._start(task)
        super().v2_playbook_on_handler_task_start(task)

    def v2_runner_on_start(self, host, task) -> None:
        self._running_task(task).started[host.get_name()] = time.monotonic()
        super().v2_runner_on_start(host, task)

    def v2_playbook_on_stats(self, stats) -> None:
        self._end_tasks()
        super().v2_playbook_on_stats(stats)
        if self._unmatched and len(self._unmatched) == self._plays:
            self._send("no_hosts", patterns=self._unmatched)
        self._send("playbook_end", stats={host: recap(stats.summarize(host)) for host in sorted(stats.processed)})

    def _start(self, task) -> None:
        running = self._running.get(task._uuid)
        if running is not None and (self._free or running.is_meta or not running.outcomes):
            return  # the same task, announced again for another host
        if not self._free:
            self._end_tasks()
        self._open(task)

    def _open(self, task) -> RunningTask:
        # A task starts again for the next batch of hosts, or as a handler that is notified a second time.
        self._runs[task._uuid] += 1
        count = self._runs[task._uuid]
        identifier = task._uuid if count == 1 else f"{task._uuid}#{count}"
        running = RunningTask(identifier, task, names_hosts=self._hosts_in_all_batches > 1)
        self._running[task._uuid] = running
        play = readable(self._play.get_name().strip()) if self._play else ""
        templated = {"templated": True} if has_template_in_name(task) else {}
        self._send("task_start", task=running.id, name=running.name, play=play, path=path_of(task), **templated)
        return running

    def _running_task(self, task) -> RunningTask:
        return self._running.get(task._uuid) or self._open(task)

    def _end_tasks(self, tasks: list[RunningTask] | None = None) -> None:
        for running in list(self._running.values()) if tasks is None else tasks:
            with self._ending:
                del self._running[running.uuid]
            message = cut_off(running.summary(), TASK_MESSAGE_LIMIT)
            mended = {"outcome": running.mended()} if running.mended() else {}
            self._send(
                "task_end", task=running.id, name=running.name, state=running.state(), message=message, **mended
            )

    # ---- results ---------------------------------------------------------------------------------------------
    # Read messages first, because the default callback removes parts of the result.

    def v2_runner_on_ok(self, result) -> None:
        message = self._message(result)
        with self._showing(result):
            super().v2_runner_on_ok(result)
        self._report(result, "changed" if result.is_changed() else "ok", message)

    def v2_runner_on_failed(self, result, ignore_errors=False) -> None:
        message = self._message(result, bad=True)
        with self._showing(result):
            super().v2_runner_on_failed(result, ignore_errors)
        outcome = "rescued" if self._last_counts.get(parts(result)[0].get_name()) == "rescued" else "failed"
        self._report(result, "ignored" if ignore_errors else outcome, message)

    def v2_runner_on_skipped(self, result) -> None:
        message = self._message(result)
        with self._showing(result):
            super().v2_runner_on_skipped(result)
        self._report(result, "skipped", message)

    def v2_runner_on_unreachable(self, result) -> None:
        message = self._message(result, bad=True)
        with self._showing(result):
            super().v2_runner_on_unreachable(result)
        self._report(result, "ignored" if parts(result)[1].ignore_unreachable else "unreachable", message)

    def v2_on_file_diff(self, result) -> None:
        self._captured_diffs = []
        with self._showing(result):
            super().v2_on_file_diff(result)
        host, task, _ = parts(result)
        self._running_task(task).diffs.setdefault(host.get_name(), []).extend(self._captured_diffs)

    def _get_diff(self, difflist) -> str:
        diff = super()._get_diff(difflist)
        self._captured_diffs.append(diff)
        return diff

    def _report(self, result, outcome: str, message: str) -> None:
        host, task, _ = parts(result)
        name = host.get_name()
        running = self._running_task(task)
        running.outcomes[name] = outcome
        running.messages[name] = message
        now = time.monotonic()
        fields = {"duration": round(now - running.started.get(name, now), 6), "message": message}
        diff = clipped("".join(running.diffs.pop(name, [])), DIFF_LIMIT)
        if diff:
            fields["diff"] = diff
        self._send("host_result", task=running.id, host=name, outcome=outcome, **fields)
        # With free strategies, no callback reports that a task has ended. An include can still fail after it was ok.
        if self._free and not running.is_include and len(running.outcomes) >= self._hosts_in_play:
            self._end_tasks([running])

    def v2_runner_retry(self, result) -> None:
        with self._showing(result):
            super().v2_runner_retry(result)

    @contextlib.contextmanager
    def _showing(self, result):
        """Mark the lines that are shown inside as lines about the result's host."""
        self._shown_host = readable(parts(result)[0].get_name())
        try:
            yield
        finally:
            self._shown_host = ""

    # The result of a loop does not tell its items apart, so record each item as it arrives.

    def v2_runner_item_on_ok(self, result) -> None:
        self._note_item(result, "changed" if result.is_changed() else "ok")
        with self._showing(result):
            super().v2_runner_item_on_ok(result)

    def v2_runner_item_on_failed(self, result) -> None:
        self._note_item(result, "failed")
        with self._showing(result):
            super().v2_runner_item_on_failed(result)

    def v2_runner_item_on_skipped(self, result) -> None:
        self._note_item(result, "skipped")
        with self._showing(result):
            super().v2_runner_item_on_skipped(result)

    def _note_item(self, result, outcome: str) -> None:
        host, task, fields = parts(result)
        text = "" if outcome == "skipped" or is_hidden(fields) else described(fields, task, bad=outcome == "failed")
        line = clipped(f"{as_text(self._get_item_label(fields))}: {text}", MESSAGE_LIMIT) if text else ""
        self._running_task(task).items.setdefault(host.get_name(), Items()).note(outcome, line)

    def _message(self, result, *, bad: bool = False) -> str:
        host, task, fields = parts(result)
        items = self._running_task(task).items.pop(host.get_name(), None)
        if is_hidden(fields):
            return "The output is hidden (no_log)."
        if items:
            return cut_off(items.summary(), MESSAGE_LIMIT)
        return clipped(described(fields, task, bad=bad), MESSAGE_LIMIT)

    def _at_exit(self) -> None:
        """End finished tasks, because Ansible can exit without calling its last callback."""
        if os.getpid() == self._pid:
            self._end_tasks([running for running in self._running.values() if running.all_reported()])
            close_connections(os.environ.get("ANSIBLE_SSH_CONTROL_PATH_DIR", ""))


def parts(result):
    """Return the host, task, and fields of a result. Up to ansible-core 2.18, they have no public names."""
    if hasattr(result, "task"):
        return result.host, result.task, result.result
    return result._host, result._task, result._result


def count_hosts(play, *, all_batches: bool = False) -> int:
    """Return the number of hosts in the current batch, or in all batches."""
    # The inventory is restricted to the current batch, and no public API returns the number of hosts in it.
    inventory = getattr(play.get_variable_manager(), "_inventory", None)
    if inventory is None or not play.hosts:
        return 0
    return len(inventory.get_hosts(play.hosts, ignore_restrictions=all_batches))


def patterns_of(play) -> str:
    """Return the `hosts` of a play as text."""
    hosts = play.hosts if play is not None else ""
    return readable(", ".join(map(str, hosts)) if isinstance(hosts, list | tuple) else str(hosts))


def path_of(task) -> str:
    """Return the file and line. The path is relative to the working directory if the file is below it."""
    return readable((task.get_path() or "").removeprefix(os.getcwd() + os.sep))


def has_template_in_name(task) -> bool:
    written = task.get_ds()
    name = str(written.get("name") or "") if isinstance(written, dict) else ""
    return "{{" in name or "{%" in name


def recap(summary: dict[str, int]) -> dict[str, int]:
    names = ("ok", "changed", "unreachable", "skipped", "rescued", "ignored")
    return {**{name: summary[name] for name in names}, "failed": summary["failures"]}


def is_hidden(fields) -> bool:
    return "censored" in fields or bool(fields.get("_ansible_no_log"))


def described(fields, task, *, bad: bool) -> str:
    """Return the text to show users for a result or for the result of a single item."""
    text = main_text(fields, task)
    if bad:
        text = changed_host_key(text) or with_output(text, fields)
    attempts = fields.get("attempts", 1)
    return f"{text} (after {attempts} attempts)".strip() if attempts > 1 else text


def changed_host_key(text: str) -> str:
    """Return a sentence with both fingerprints if ssh rejected a host's key because it has changed, or an empty string."""
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" not in text:
        return ""
    received = re.search(r"The fingerprint for the (\S+) key sent by the remote host is\s+(\S+?)\.?\s", text)
    known = re.search(r"Offending (\S+) key in (.+?):(\d+)", text)
    sentence = "The host key has changed. Someone could be intercepting the connection, or the host was reinstalled."
    if received:
        sentence += f" Received: {received[1]} {received[2]}."
    if known:
        kind, file, line = known.groups()
        sentence += f" Known: {kind} {fingerprint(file, int(line))} ({file}:{line})."
    return f"{sentence} If the new key is right, remove the known one: ssh-keygen -R HOST"


def fingerprint(file: str, number: int) -> str:
    """Return the fingerprint of the key on a line of a known_hosts file, as ssh prints it."""
    try:
        with open(file, encoding="utf-8", errors="replace") as lines:
            line = lines.readlines()[number - 1]
        key = next(word for word in line.split() if word.startswith("AAAA"))
        digest = hashlib.sha256(base64.b64decode(key)).digest()
    except (OSError, IndexError, StopIteration, ValueError):
        return "(unreadable)"
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def main_text(fields, task) -> str:
    for key in ("msg", "reason", "skip_reason", "skipped_reason"):
        if fields.get(key) not in (None, ""):
            condition = fields.get("false_condition") if key == "skip_reason" else None
            return as_text(fields[key]) + (f": {condition}" if condition else "")
    if task.action in C._ACTION_DEBUG:
        values = {key: fields[key] for key in fields if key not in DEBUG_KEYS and not key.startswith("_ansible")}
        return "\n".join(f"{key}: {as_text(value)}" for key, value in values.items())
    return ""


def with_output(text: str, fields) -> str:
    """Return a failure message that includes the output of the command or module, preferably standard error."""
    if fields.get("rc"):
        text = f"{text} (exit code {fields['rc']})"
    for key in ("stderr", "module_stderr", "stdout", "module_stdout"):
        output = fields.get(key)
        if isinstance(output, str) and output.strip():
            return f"{text}\n{output.strip()}" if output.strip() not in text else text
    return text


def as_text(value: object) -> str:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    return json.dumps(value, default=str, ensure_ascii=False)


def close_connections(folder: str) -> None:
    """Close this run's shared SSH connections, which Ansible would otherwise leave open for a minute."""
    if not folder:
        return
    sockets = glob.glob(os.path.join(glob.escape(folder), "*"))
    # ssh requires a host name but does not use it: the socket identifies the connection.
    arguments = [["ssh", "-F", "none", "-O", "exit", "-o", f"ControlPath={socket}", "host"] for socket in sockets]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        for process in [subprocess.Popen(argv, **quiet) for argv in arguments]:
            process.wait(timeout=2)
    except (OSError, subprocess.TimeoutExpired):
        return
