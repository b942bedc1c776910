"""Run the phases of the test suite: `python scripts/run_phases.py`, or with `--all` to include the second tier.

The first phases install and build what the others need. The other phases form two lanes that run in parallel: the
Python suite, which takes longest, and everything else. A lane that has nothing left takes over the last phase of the
other, so that both end at the same time. The output of a phase is printed when the phase ends. A failed phase does not
stop the others. The exit code is 1 if any phase failed.

A phase that exceeds its time limit is stopped and counts as failed, so that a hung test cannot use up the time limit
of a CI job without showing any output.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
GRACE_SECONDS = 15
# Makes the processor time of a phase include daemons that outlive their parents.
WITH_ORPHANS = [sys.executable, str(Path(__file__).with_name("with_orphans.py"))]


@dataclass
class Phase:
    """A command, its time limit in minutes, and its outcome."""

    title: str
    command: list[str]
    minutes: float
    outcome: str = "not run"
    seconds: float = 0
    cpu_seconds: float = 0

    @property
    def succeeded(self) -> bool:
        return self.outcome == "ok"


@dataclass
class Plan:
    """Setup phases, which run one after the other, and then the lanes, which run in parallel and share their work."""

    setup: list[Phase]
    lanes: list[list[Phase]]

    @property
    def phases(self) -> list[Phase]:
        return [*self.setup, *(phase for lane in self.lanes for phase in lane)]


def plan_for(everything: bool, factor: float) -> Plan:
    """Return the phases of the first tier, or of both tiers, with their time limits multiplied by `factor`.

    Each limit is at least twice the time that the phase takes on two otherwise idle processors.
    """
    suffix = "-all" if everything else ""
    factor = 4 * factor if everything else factor
    return Plan(
        setup=[
            Phase("programs for the tests", ["scripts/system-packages"], 10 * factor),
            # Two lanes must not install the same packages at the same time.
            Phase("packages and page", ["just", "prepare-test"], 10 * factor),
        ],
        lanes=[
            [
                Phase("Python", ["just", f"test-python{suffix}"], 60 * factor),
            ],
            # Phases that use one processor run first, while the Python tests use the other in any case.
            [
                Phase("types", ["just", f"typecheck{suffix}"], 15 * factor),
                Phase("style and docs", ["just", "lint"], 10 * factor),
                Phase("wheel", ["just", "package"], 10 * factor),
                Phase("page, units", ["just", "test-js"], 10 * factor),
                Phase("page, browser", ["just", f"test-e2e{suffix}"], 25 * factor),
                Phase("Python 3.10", ["just", f"test-py310{suffix}"], 15 * factor),
            ],
        ],
    )


@dataclass
class Runner:
    """Runs phases. When this process is stopped, stops the running phases."""

    stopped_by: int | None = None
    console: threading.Lock = field(default_factory=threading.Lock)
    choice: threading.Lock = field(default_factory=threading.Lock)

    def run(self, plan: Plan) -> int:
        """Run all phases, print a summary, and return the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self.on_signal)
        self.run_lane(list(plan.setup), [])
        waiting = [list(lane) for lane in plan.lanes]
        threads = [threading.Thread(target=self.run_lane, args=[lane, waiting]) for lane in waiting]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            # Wait briefly and repeatedly: some Python versions do not handle signals during a long wait.
            threads[0].join(0.2)
            time.sleep(0.05)
        for phase in plan.phases:
            self.say(f"=== {phase.title}: {result_of(phase)}\n")
        self.say(f"=== all phases: {sum(phase.cpu_seconds for phase in plan.phases):.0f} s of processor time\n")
        if self.stopped_by is not None:
            return 128 + self.stopped_by
        return int(not all(phase.succeeded for phase in plan.phases))

    def on_signal(self, number: int, _frame: object) -> None:
        """Stop the running phases and do not start any others."""
        self.stopped_by = number

    def run_lane(self, own: list[Phase], waiting: list[list[Phase]]) -> None:
        """Run the phases of a lane one after the other, and then the last ones of the lanes that still have some."""
        while self.stopped_by is None and (phase := self.next_phase(own, waiting)) is not None:
            self.run_phase(phase)

    def next_phase(self, own: list[Phase], waiting: list[list[Phase]]) -> Phase | None:
        """Remove and return the next phase for a lane. Return None if none is left."""
        with self.choice:
            if own:
                return own.pop(0)
            return next((lane.pop() for lane in waiting if lane), None)

    def run_phase(self, phase: Phase) -> None:
        """Run a phase and print its output."""
        self.say(f"=== {phase.title}: started ({' '.join(phase.command)})\n")
        began = time.monotonic()
        with tempfile.TemporaryFile() as output:
            try:
                self.wait_for(phase, start(phase.command, output), began)
            except OSError as error:
                phase.outcome = f"FAILED ({error})"
            phase.seconds = time.monotonic() - began
            output.seek(0)
            text = output.read().decode(errors="replace").rstrip()
        self.say(f"\n=== {phase.title}: output\n{text}\n=== {phase.title}: {result_of(phase)}\n\n")

    def wait_for(self, phase: Phase, process: subprocess.Popen[bytes], began: float) -> None:
        """Wait until the process of a phase ends, its time limit is exceeded, or this process is stopped."""
        deadline = began + phase.minutes * 60
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            if self.stopped_by is not None or time.monotonic() > deadline:
                phase.outcome = "STOPPED" if self.stopped_by else f"FAILED (stopped after {phase.minutes:g} min)"
                ended = stop(process)
                break
            time.sleep(0.1)
        _, status, usage = ended
        phase.cpu_seconds = usage.ru_utime + usage.ru_stime
        process.returncode = os.waitstatus_to_exitcode(status)
        if phase.outcome == "not run":
            phase.outcome = "ok" if process.returncode == 0 else f"FAILED ({process.returncode})"

    def say(self, text: str) -> None:
        """Print without interleaving with the output of another lane."""
        with self.console:
            sys.stdout.write(text)
            sys.stdout.flush()


def start(command: list[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a command in its own process group, which can be stopped as a whole."""
    return subprocess.Popen(
        [*WITH_ORPHANS, *command],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def stop(process: subprocess.Popen[bytes]) -> tuple[int, int, os.struct_rusage]:
    """Stop the process group of a phase. Return the result of `os.wait4` for its first process."""
    os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0] and time.monotonic() < deadline:
        time.sleep(0.1)
    # Kill the rest of the group, whether or not its first process has ended.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return ended if ended[0] else os.wait4(process.pid, 0)


def result_of(phase: Phase) -> str:
    """Return the outcome of a phase with its duration and processor time."""
    return f"{phase.outcome} after {phase.seconds:.0f} s ({phase.cpu_seconds:.0f} s of processor time)"


def main() -> int:
    """Run the phases that the arguments select. Return the exit code."""
    parser = argparse.ArgumentParser(description="Run all tests of the first tier.")
    parser.add_argument("--all", action="store_true", help="include the second tier")
    parser.add_argument(
        "--limit-factor", type=float, default=1, help="multiply the time limits by this, for a slow machine"
    )
    given = parser.parse_args()
    return Runner().run(plan_for(given.all, given.limit_factor))


if __name__ == "__main__":
    sys.exit(main())
