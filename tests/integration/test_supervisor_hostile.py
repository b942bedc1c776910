"""Hostile or careless scripts use bounded memory, get the right outcome, and leave nothing behind."""

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.adapters.runs.directory import RunDirectory
from deploy.adapters.runs.start import DeployUser, supervisor_program
from tests.integration.supervised_runs import (
    PYTHON,
    Run,
    Runs,
    processes_with,
    running,
    supervised_runs,
    wait_until,
)

MEBIBYTE = 1024 * 1024
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can")


# The tests in test_supervisor.py already run both ways in the first tier.
@pytest.fixture(params=[pytest.param("directly", marks=pytest.mark.slow), "forked"])
def runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    with supervised_runs(request.param) as started:
        yield started


def peak_memory(run: Run) -> int:
    """Return the supervisor's peak memory in bytes. The supervisor must be alive."""
    status = Path(f"/proc/{run.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


class TestOutput:
    @pytest.mark.parametrize("count", [50_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
    def test_a_flood_of_lines_is_complete_in_order_in_bounded_memory(self, runs: Runs, count: int) -> None:
        os.mkfifo(runs.folder / "go")
        run = runs.sh(f"seq 1 {count}; read -r _ < go")
        wait_until(lambda: f'"{count}"'.encode() in tail_of(run))
        assert peak_memory(run) < 40 * MEBIBYTE
        (runs.folder / "go").write_text("\n")
        assert run.outcome()["code"] == 0
        records = run.records()
        assert [record.data for record in records[1:-1]] == [str(number) for number in range(1, count + 1)]
        assert [record.number for record in records] == list(range(1, count + 3))

    def test_a_line_of_a_megabyte_is_one_record(self, runs: Runs) -> None:
        run = runs.sh("head -c 1048576 /dev/zero | tr '\\0' x; echo")
        run.outcome()
        assert run.kinds() == ["start", "out", "exit"]
        assert run.lines() == ["x" * MEBIBYTE]

    @pytest.mark.parametrize("size", [2_500_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
    @pytest.mark.parametrize("byte", ["x", "\\0", "\\377"])
    def test_megabytes_without_a_newline_are_split_in_bounded_memory(self, runs: Runs, byte: str, size: int) -> None:
        os.mkfifo(runs.folder / "go")
        run = runs.sh(f"head -c {size} /dev/zero | tr '\\0' '{byte}'; read -r _ < go; echo end")
        wait_until(lambda: run.kinds().count("part") == size // MEBIBYTE)
        assert peak_memory(run) < 64 * MEBIBYTE
        (runs.folder / "go").write_text("\n")
        assert run.outcome()["code"] == 0
        shown = {"x": "x", "\\0": "\0", "\\377": "\\xff"}[byte]
        assert run.lines() == [shown * size + "end"]

    def test_binary_output_becomes_text_without_losing_bytes(self, runs: Runs) -> None:
        data = bytes(range(256)) * 64 + "€".encode()[:2] + b"\n" + "€".encode()
        (runs.folder / "data").write_bytes(data)
        run = runs.sh("cat data")
        assert run.outcome()["code"] == 0
        assert "\n".join(run.lines()) == data.decode("utf-8", "backslashreplace")

    def test_a_character_written_in_halves_is_joined(self, runs: Runs) -> None:
        run = runs.start(
            runs.python(
                "import os, time\nfor byte in '🚀€\\n'.encode(): os.write(1, bytes([byte])); time.sleep(0.01)\n"
            )
        )
        run.outcome()
        assert run.lines() == ["🚀€"]

    def test_the_last_line_does_not_need_a_newline(self, runs: Runs) -> None:
        run = runs.sh("printf 'one\\ntwo'")
        run.outcome()
        assert run.lines() == ["one", "two"]

    def test_a_flood_on_both_descriptors_is_complete(self, runs: Runs) -> None:
        run = runs.start(
            runs.python(
                "import os\n"
                "fd = 2 if os.fork() else 1\n"
                "for number in range(30000): os.write(fd, b'%d %d\\n' % (fd, number))\n"
                "if fd == 2: os.wait()\n"
            )
        )
        assert run.outcome()["code"] == 0
        for fd in ("1", "2"):
            numbers = [number for reported, number in (line.split() for line in run.lines()) if reported == fd]
            assert numbers == [str(number) for number in range(30_000)]

    def test_reports_beyond_the_limit_are_kept_and_the_script_continues(self, runs: Runs) -> None:
        script = 'seq 1 100000; echo \'{"name": "Step", "state": "success"}\'; seq 1 100000; exit 5'
        run = runs.sh(script, output_limit=10_000)
        assert run.outcome()["code"] == 5
        assert len(run.notes()) == 1
        assert run.lines()[-1] == '{"name": "Step", "state": "success"}'
        assert run.directory.spool.stat().st_size < 10 * 10_000

    def test_a_flood_of_reports_ends_at_twice_the_limit(self, runs: Runs) -> None:
        run = runs.sh('yes \'{"name": "x", "state": "success"}\' | head -n 100000', output_limit=10_000)
        assert run.outcome()["code"] == 0
        assert len(run.notes()) == 2
        assert 18_000 < sum(len(line) + 1 for line in run.lines()) <= 20_000

    def test_an_event_that_is_too_long_is_dropped(self, runs: Runs) -> None:
        script = "{ echo '{\"n\":1}'; head -c 5000 /dev/zero | tr '\\0' x; echo; echo '{\"n\":2}'; } >&$FASTDEPLOY_EVENTS_FD"
        run = runs.sh(script, events=True, line_limit=1000)
        run.outcome()
        assert [record.data for record in run.records() if record.kind == "event"] == ['{"n":1}', '{"n":2}']
        assert run.notes() == ["An event of more than 1000 bytes was discarded."]

    def test_printing_a_record_does_not_forge_one(self, runs: Runs) -> None:
        forged = '[1,0.0,"exit",{"code":0}]'
        run = runs.sh(f"echo '{forged}'; printf '\\\\n{forged}\\\\n\\n'; exit 9")
        assert run.outcome()["code"] == 9
        assert run.kinds()[0] == "start"
        assert run.kinds().count("exit") == 1
        assert run.lines()[0] == forged


class TestUnfinishedLines:
    REPORT = '{"name": "Unpack", "state": "failure"}'

    def test_a_report_after_unfinished_text_is_a_line_of_its_own(self, runs: Runs) -> None:
        run = runs.sh(f"printf 'unpacking ...' >&2; echo '{self.REPORT}'; printf ' 50 %%' >&2; echo done")
        run.outcome()
        assert run.lines() == ["unpacking ...", self.REPORT, " 50 %done"]

    def test_a_report_within_a_line_is_not_split_off(self, runs: Runs) -> None:
        run = runs.sh(f"echo 'INFO {self.REPORT}'; printf 'a %s\\n' '{{x}}'")
        run.outcome()
        assert run.lines() == [f"INFO {self.REPORT}", "a {x}"]

    @pytest.mark.parametrize("size", [4_096, 8_192, 65_536])
    def test_a_long_line_that_is_written_in_one_piece_stays_whole(self, runs: Runs, size: int) -> None:
        """The kernel delivers it in pages, and the second page looks like a report."""
        run = runs.start(runs.python(f"import os; os.write(1, b'x' * {size} + b'{self.REPORT}\\n')"))
        run.outcome()
        assert run.lines() == ["x" * size + self.REPORT]

    def test_several_lines_in_one_piece_after_unfinished_text(self, runs: Runs) -> None:
        text = f"{self.REPORT}\n{self.REPORT}\n"
        run = runs.start(runs.python(f"import os; os.write(2, b'...'); os.write(1, {text.encode()!r})"))
        run.outcome()
        assert run.lines() == ["...", self.REPORT, self.REPORT]


class TestPipes:
    def test_the_supervisor_waits_for_a_script_that_closes_its_output(self, runs: Runs) -> None:
        os.mkfifo(runs.folder / "go")
        run = runs.sh("echo bye; exec >&- 2>&-; read -r code < go; exit $code")
        run.wait_for("bye")
        (runs.folder / "go").write_text("6\n")
        assert run.outcome()["code"] == 6

    def test_a_script_that_closed_its_output_can_be_cancelled(self, runs: Runs) -> None:
        run = runs.sh("echo bye; exec >&- 2>&- <&- sleep 600")
        run.wait_for("bye")
        run.cancel()
        assert run.outcome()["cause"] == "cancelled"

    def test_a_process_left_running_with_the_output_open_is_named_and_survives(self, runs: Runs) -> None:
        run = runs.sh("sleep 600 & echo $!; exit 3")
        assert run.outcome()["code"] == 3
        pid = int(run.lines()[0])
        assert running(pid)
        assert run.notes() == [
            f"Some processes are still running, and their output is no longer recorded: sleep ({pid})."
        ]

    def test_output_of_daemons_before_the_wait_ends_is_recorded(self, runs: Runs) -> None:
        run = runs.sh("(sleep 0.2; echo later) & exit 0")
        assert run.outcome()["code"] == 0
        assert run.lines() == ["later"]
        assert run.notes() == []

    def test_a_process_that_is_about_to_exit_is_not_named(self, runs: Runs) -> None:
        # Some of them close their output before they exit.
        started = [runs.sh("(sleep 0.05; echo later) & exit 0") for _ in range(30)]
        for run in started:
            run.outcome()
        assert [run.notes() for run in started] == [[]] * 30

    def test_a_real_daemon_is_named_and_survives(self, runs: Runs) -> None:
        run = runs.sh("setsid sleep 600 >/dev/null 2>&1 </dev/null & echo $!; exit 0")
        assert run.outcome()["code"] == 0
        pid = int(run.lines()[0])
        assert running(pid)
        assert f"({pid})" in run.notes()[0]

    def test_a_flood_from_a_process_left_behind_also_ends(self, runs: Runs) -> None:
        run = runs.sh("echo first; yes & exit 0", output_limit=100_000)
        assert run.outcome()["code"] == 0
        assert run.lines()[0] == "first"
        assert run.directory.spool.stat().st_size < 50 * 100_000

    def test_a_process_left_running_can_print_after_the_run(self, runs: Runs) -> None:
        daemon = "while [ ! -e stop ]; do echo tick && echo wrote >> ticks; sleep 0.01; done; touch stopped"
        run = runs.sh(f"({daemon}) & exit 0")
        assert run.outcome()["code"] == 0
        ticks = runs.folder / "ticks"
        before = ticks.stat().st_size
        wait_until(lambda: ticks.stat().st_size > before + len("wrote\n") * 10)
        (runs.folder / "stop").touch()
        wait_until((runs.folder / "stopped").exists)

    def test_the_reader_of_a_process_left_running_ends_with_it(self, runs: Runs) -> None:
        run = runs.sh("echo $PPID; sleep 600 & echo $!; exit 0")
        assert run.outcome()["code"] == 0
        wait_until(lambda: not run.directory.alive())
        pid = int(run.lines()[1])
        wait_until(lambda: len(readers_of(pid)) == 1)
        (reader,) = readers_of(pid)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not running(reader))

    def test_all_script_output_is_recorded_while_others_hold_its_pipe(self, runs: Runs) -> None:
        run = runs.sh("sleep 600 & seq 1 100000")
        run.outcome()
        assert run.lines() == [str(number) for number in range(1, 100_001)]


# Each one prints the IDs of the processes it started, then "ready".
STUBBORN = """
import os, signal, sys, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)
def forked(then):
    if os.fork() == 0:
        then()
        time.sleep(600)
        os._exit(0)
def daemon():
    os.setsid()
    forked(hidden)
    os._exit(0)
def hidden():
    null = os.open('/dev/null', os.O_RDWR)
    print(os.getpid(), flush=True)
    for fd in (0, 1, 2): os.dup2(null, fd)
    os.chdir('/')
    os.execve('/bin/sh', ['renamed', '-c', "trap '' TERM INT HUP; while :; do sleep 1; done"], {})
"""


class TestProcesses:
    def cancel_and_check(self, run: Run, count: int) -> None:
        """Cancel once `count` processes have printed their IDs. None of them can be left."""
        wait_until(lambda: len(run.lines()) == count)
        run.cancel()
        assert run.outcome()["cause"] == "cancelled"
        assert [pid for pid in map(int, run.lines()) if running(pid)] == []
        assert run.notes() == []

    def test_cancel_kills_a_process_that_ignores_sigterm(self, runs: Runs) -> None:
        self.cancel_and_check(runs.start(runs.python(f"{STUBBORN}print(os.getpid(), flush=True)\ntime.sleep(600)")), 1)

    def test_cancel_kills_daemonized_children(self, runs: Runs) -> None:
        self.cancel_and_check(runs.start(runs.python(f"{STUBBORN}forked(daemon)\ntime.sleep(600)")), 1)

    def test_cancel_kills_many_processes_at_every_level(self, runs: Runs) -> None:
        program = f"{STUBBORN}for _ in range(5): forked(daemon); forked(hidden)\ntime.sleep(600)"
        self.cancel_and_check(runs.start(runs.python(program)), 10)

    def test_cancel_kills_leftovers_of_an_exited_script(self, runs: Runs) -> None:
        run = runs.sh("(trap '' TERM; sleep 600; sleep 600) & echo $!")
        self.cancel_and_check(run, 1)

    def test_cancel_kills_a_fork_bomb(self, runs: Runs) -> None:
        endless = "while True:\n    if os.fork(): os._exit(0)\n    time.sleep(0.001)\n"
        run = runs.start(runs.python(f"{STUBBORN}print(os.getpid(), flush=True)\n{endless}"))
        wait_until(run.lines)
        run.cancel()
        run.outcome()
        assert [pid for pid in processes_with(runs.mark) if running(pid)] == []

    def test_cancel_kills_a_process_that_starts_another_on_sigterm(self, runs: Runs) -> None:
        run = runs.sh("trap 'setsid sleep 600 & echo $!; wait' TERM; echo ready; while :; do sleep 0.01; done")
        run.wait_for("ready")
        run.cancel()
        assert run.outcome()["cause"] == "cancelled"
        assert [pid for pid in processes_with(runs.mark) if running(pid)] == []

    def test_cancel_kills_a_subreaper(self, runs: Runs) -> None:
        program = f"import ctypes\nctypes.CDLL(None).prctl(36, 1)\n{STUBBORN}forked(daemon)\ntime.sleep(600)"
        run = runs.start([PYTHON, "-I", *runs.python(program)[3:]])
        self.cancel_and_check(run, 1)

    def test_the_timeout_also_kills_all_of_them(self, runs: Runs) -> None:
        run = runs.start(runs.python(f"{STUBBORN}forked(daemon)\ntime.sleep(600)"), timeout=1.0)
        assert run.outcome()["cause"] == "timeout"
        assert [pid for pid in map(int, run.lines()) if running(pid)] == []

    @as_root
    def test_a_process_that_cannot_be_killed_is_named(self, runs: Runs) -> None:
        # A setuid program, like sudo. sudo itself is not installed everywhere.
        sudo = runs.folder / "like-sudo"
        sudo.write_bytes(Path("/usr/bin/setpriv").read_bytes())
        sudo.chmod(0o4755)
        script = "./like-sudo --reuid 0 --regid 0 --clear-groups sleep 600 & echo $!; wait"
        run = runs.sh(script, user=DeployUser.named("nobody"))
        wait_until(run.lines)
        pid = int(run.lines()[0])
        wait_until(lambda: "Uid:\t0\t0\t0\t0" in Path(f"/proc/{pid}/status").read_text())
        run.cancel()
        outcome = run.outcome()
        assert (outcome["cause"], outcome["signal"]) == ("cancelled", "SIGTERM")
        assert run.notes() == [f"Some processes could not be killed: sleep ({pid})."]
        os.kill(pid, signal.SIGKILL)

    def test_every_orphan_is_reaped(self, runs: Runs) -> None:
        run = runs.sh("for _ in 1 2 3 4 5; do (sleep 0 &) ; done; echo ready; exec sleep 600")
        run.wait_for("ready")
        start = run.records()[0].data
        keeper = int(start["keeper"].split()[0])
        wait_until(lambda: (children_of(run.process.pid), children_of(keeper)) == ([keeper], [start["pid"]]))


class TestDisk:
    def test_a_full_disk_blocks_the_script_and_loses_nothing(self, runs: Runs) -> None:
        run = runs.sh("echo ready; while [ ! -e full ]; do sleep 0.01; done; seq 1 200000; exit 4")
        run.wait_for("ready")
        limit_files(run, run.directory.spool.stat().st_size + 100_000)
        (runs.folder / "full").touch()
        full = run.directory.spool
        wait_until(lambda: full.stat().st_size >= 100_000)
        limit_files(run, resource.RLIM_INFINITY)
        assert run.outcome()["code"] == 4
        assert run.lines() == ["ready", *(str(number) for number in range(1, 200_001))]

    def test_a_run_can_be_cancelled_while_the_disk_is_full(self, runs: Runs) -> None:
        run = runs.sh("echo ready; while [ ! -e full ]; do sleep 0.01; done; yes")
        run.wait_for("ready")
        limit_files(run, 100_000)
        (runs.folder / "full").touch()
        wait_until(lambda: run.directory.spool.stat().st_size >= 100_000)
        run.cancel()
        wait_until(lambda: not [pid for pid in processes_with(runs.mark) if running(pid)])
        assert run.process.poll() is None
        limit_files(run, resource.RLIM_INFINITY)
        assert run.outcome()["cause"] == "cancelled"
        assert any("The output could not be written to the disk" in note for note in run.notes())

    def test_a_script_does_not_start_on_a_full_disk(self, runs: Runs) -> None:
        directory = RunDirectory.create(runs.root, 1)
        spec = runs.spec([runs.script("touch started\n")])
        before = runs.temporary.stat().st_mtime_ns
        control = os.open(directory.control, os.O_RDWR)
        os.write(control, spec.to_json().encode() + b"\n")
        command = ["prlimit", "--fsize=10:unlimited", PYTHON, *supervisor_program(None)]
        with directory.spool.open("ab") as spool:
            process = subprocess.Popen(command, stdin=control, stdout=spool, stderr=subprocess.DEVNULL)
        os.close(control)
        run = Run(directory, process)
        runs.started.append(run)
        # Its private folder was created and removed: the start failed, and it is waiting for space to report that.
        wait_until(lambda: runs.temporary.stat().st_mtime_ns != before and not list(runs.temporary.iterdir()))
        limit_files(run, resource.RLIM_INFINITY)
        outcome = run.outcome()
        assert outcome["cause"] == "not_started"
        assert "The disk that stores the output of runs is full" in outcome["message"]
        assert not (runs.folder / "started").exists()


class TestFaults:
    def test_a_supervisor_that_cannot_read_its_settings_reports_it(self, runs: Runs) -> None:
        directory = RunDirectory.create(runs.root, 1)
        command = [PYTHON, *supervisor_program(None)]
        unreadable = os.open(os.devnull, os.O_WRONLY)
        with directory.spool.open("ab") as spool:
            process = subprocess.Popen(command, stdin=unreadable, stdout=spool, stderr=subprocess.DEVNULL)
        os.close(unreadable)
        run = Run(directory, process)
        runs.started.append(run)
        outcome = run.outcome()
        assert outcome["cause"] == "not_started"
        assert outcome["message"].startswith("The run's supervisor failed and stopped the run: ")

    def test_a_failing_supervisor_stops_the_script_and_reports_it(self, runs: Runs) -> None:
        run = runs.sh("trap '' TERM; echo ready; while :; do sleep 0.05; done")
        run.wait_for("ready")
        _, hard = resource.prlimit(run.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(run.process.pid, resource.RLIMIT_NOFILE, (0, hard))
        run.cancel()  # must fail, because the supervisor cannot even list the script's processes
        outcome = run.outcome()
        assert (outcome["code"], outcome["signal"]) == (None, None)
        assert outcome["message"].startswith("The run's supervisor failed and stopped the run: ")
        assert "Too many open files" in outcome["message"]
        wait_until(lambda: not [pid for pid in processes_with(runs.mark) if running(pid)])


def limit_files(run: Run, size: int) -> None:
    """Limit the supervisor's files to `size` bytes, which has the same effect as a full disk."""
    _, hard = resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, (size, hard))


def tail_of(run: Run) -> bytes:
    with open(run.directory.spool, "rb") as spool:
        spool.seek(max(0, run.directory.spool.stat().st_size - 200))
        return spool.read()


def readers_of(pid: int) -> list[int]:
    """Return the other processes that have the standard output of a process open, among those we may look at."""
    pipe = os.readlink(f"/proc/{pid}/fd/1")
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != pid:
            with contextlib.suppress(OSError):
                fds = [os.readlink(f"/proc/{entry}/fd/{fd}") for fd in os.listdir(f"/proc/{entry}/fd")]
                found += [int(entry)] if pipe in fds else []
    return found


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
