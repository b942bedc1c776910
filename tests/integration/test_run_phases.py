"""In `just test`, a phase that fails or hangs fails the run, and each phase shows its full output."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.integration.supervised_runs import running

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
RUN = """
import os, sys
from run_phases import Phase, Plan, Runner
def shell(title, script, minutes=1):
    return Phase(title, ["sh", "-c", script], minutes)
os.environ["RUNNER"] = str(os.getpid())
plan = Plan(setup=[%s], lanes=[[%s], [%s]])
sys.exit(Runner().run(plan))
"""


def run(*, setup: str = "", first: str = "", second: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", RUN % (setup, first, second)],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_failed_phase_fails_the_run_and_does_not_stop_the_others() -> None:
    done = run(setup='shell("one", "echo out; echo err >&2; exit 3")', first='shell("two", "echo second")')
    assert done.returncode == 1
    assert "=== one: output\nout\nerr\n=== one: FAILED (3) after" in done.stdout
    assert "=== two: output\nsecond\n=== two: ok after" in done.stdout


def test_a_run_succeeds_if_all_phases_succeed() -> None:
    assert run(setup='shell("one", "true")', second='shell("two", "true")').returncode == 0


def test_a_missing_program_fails_the_run() -> None:
    done = run(first='Phase("gone", ["/no/such/program"], 1)')
    assert done.returncode == 1
    assert "/no/such/program" in done.stdout


def test_lanes_run_in_parallel_and_their_output_does_not_mix(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    meet = "echo begin; touch {}; while [ ! -e {} ]; do sleep 0.01; done; echo end"
    first, second = meet.format(here, there), meet.format(there, here)
    done = run(first=f'shell("a", "{first}")', second=f'shell("b", "{second}")')
    assert done.returncode == 0
    for title in "ab":
        assert f"=== {title}: output\nbegin\nend\n=== {title}: ok" in done.stdout


def test_a_lane_without_phases_takes_over_those_of_the_other(tmp_path: Path) -> None:
    file = tmp_path / "file"
    waits = f"while [ ! -e {file} ]; do sleep 0.01; done"
    done = run(first=f'shell("waits", "{waits}"), shell("ends it", "touch {file}")', second='shell("short", "true")')
    assert done.returncode == 0
    assert done.stdout.count("=== ends it: started") == 1


def test_a_hanging_phase_is_stopped_with_its_children_and_shows_its_output() -> None:
    script = "echo before; sleep 600 & echo $!; wait"
    done = run(first=f'shell("hangs", "{script}", 0.02)', second='shell("other", "true")')
    assert done.returncode == 1
    output = done.stdout.partition("=== hangs: output\n")[2].splitlines()
    assert output[0] == "before"
    assert output[2].startswith("=== hangs: FAILED (stopped after 0.02 min)")
    assert not running(int(output[1]))


def test_a_terminated_run_stops_its_phases_and_shows_their_output() -> None:
    terminate = "echo before; kill -TERM $RUNNER; sleep 600"
    busy = 'shell("busy", "sleep 600")'  # does not take over the later phase
    done = run(first=f'shell("terminates", "{terminate}"), shell("later", "true")', second=busy)
    assert done.returncode == 128 + 15
    assert "=== terminates: output\nbefore\n=== terminates: STOPPED after" in done.stdout
    assert "=== later: not run" in done.stdout


def test_the_processor_time_of_a_phase_includes_daemons(tmp_path: Path) -> None:
    script, pid_file = tmp_path / "daemon.py", tmp_path / "pid"
    script.write_text("import time\nwhile time.process_time() < 2: pass\n")
    # The subshell ends at once, so that nothing but the phase is left to wait for the daemon.
    daemon = f"(setsid {sys.executable} {script} & echo $! >{pid_file})"
    done = run(first=f'shell("one", "{daemon}; while kill -0 $(cat {pid_file}); do sleep 0.05; done 2>&-")')
    assert done.returncode == 0
    (seconds,) = re.findall(r"=== one: ok after \d+ s \((\d+) s of processor time\)\n\n", done.stdout)
    assert int(seconds) >= 2
