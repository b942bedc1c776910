"""Test the supervisor's guarantees to the processes that start and follow a run."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.adapters.runs.directory import RunDirectory
from deploy.adapters.runs.start import DeployUser, supervisor_program
from tests.integration.supervised_runs import (
    PYTHON,
    ROOT,
    TIMEOUT,
    Runs,
    python_of,
    running,
    supervised_runs,
    wait_until,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a run as another user")


@pytest.fixture(params=[pytest.param("directly", marks=pytest.mark.slow), "forked"])
def runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    with supervised_runs(request.param) as started:
        yield started


class TestRecords:
    def test_records_are_start_lines_and_exit_with_numbers_and_times(self, runs: Runs) -> None:
        run = runs.sh("echo one; echo two >&2; echo three")
        assert run.outcome() == {"code": 0, "signal": None, "cause": None, "message": ""}
        records = run.records()
        assert [record.kind for record in records] == ["start", "out", "out", "out", "exit"]
        assert [record.number for record in records] == [1, 2, 3, 4, 5]
        assert [record.data for record in records[1:4]] == ["one", "two", "three"]
        stamps = [record.at for record in records]
        assert stamps == sorted(stamps)
        assert stamps[0] > 0

    def test_stdout_and_stderr_stay_in_order(self, runs: Runs) -> None:
        run = runs.sh("i=0; while [ $i -lt 200 ]; do echo $i; i=$((i+1)); echo $i >&2; i=$((i+1)); done")
        run.outcome()
        assert run.lines() == [str(number) for number in range(200)]

    def test_a_line_is_in_the_spool_while_the_script_runs(self, runs: Runs) -> None:
        run = runs.sh("echo ready; exec sleep 600")
        run.wait_for("ready")
        assert run.process.poll() is None

    def test_the_exit_code_is_also_reported_as_a_sentence(self, runs: Runs) -> None:
        run = runs.start([runs.script("exit 3\n")])
        assert run.outcome() == {
            "code": 3,
            "signal": None,
            "cause": None,
            "message": "deploy.sh ended with exit code 3.",
        }

    def test_death_by_a_signal_is_reported(self, runs: Runs) -> None:
        run = runs.start([runs.script("kill -SEGV $$\n")])
        assert run.outcome() == {
            "code": None,
            "signal": "SIGSEGV",
            "cause": None,
            "message": "deploy.sh was ended by SIGSEGV.",
        }

    def test_events_arrive_in_order_alongside_the_output(self, runs: Runs) -> None:
        run = runs.start(
            runs.python(
                "import os\n"
                "events = int(os.environ['FASTDEPLOY_EVENTS_FD'])\n"
                "for number in range(50): os.write(events, b'{\"n\": %d}\\n' % number)\n"
                "print('said')\n"
            ),
            events=True,
        )
        run.outcome()
        events = [json.loads(record.data)["n"] for record in run.records() if record.kind == "event"]
        assert events == list(range(50))
        assert run.lines() == ["said"]

    def test_without_events_no_descriptor_is_opened_for_them(self, runs: Runs) -> None:
        run = runs.sh('echo "<$FASTDEPLOY_EVENTS_FD>"')
        run.outcome()
        assert run.lines() == ["<>"]


class TestScriptEnvironment:
    def test_the_environment_is_exactly_as_requested(self, runs: Runs) -> None:
        run = runs.start(["/usr/bin/env"], env={"GREETING": "grüß\nGott"})
        run.outcome()
        names = {line.partition("=")[0] for line in run.lines()}
        assert names == {"PATH", "TMPDIR", "FASTDEPLOY_TEST", "GREETING", "Gott"}
        assert "GREETING=grüß" in run.lines()

    def test_a_script_starts_in_its_folder(self, runs: Runs) -> None:
        run = runs.sh("pwd")
        run.outcome()
        assert run.lines() == [str(runs.folder)]

    def test_only_the_standard_descriptors_and_the_events_are_open(self, runs: Runs) -> None:
        run = runs.start(["/bin/ls", "-l", "/proc/self/fd"], events=True)
        run.outcome()
        targets = [line.partition(" -> ")[2] for line in run.lines() if " -> " in line]
        assert targets[0] == "/dev/null"
        assert targets[1] == targets[2]
        pipes = [target for target in targets if target.startswith("pipe:")]
        assert len(set(pipes)) == 2
        assert len(targets) == 5  # ls itself opens the fifth

    def test_the_umask_does_not_depend_on_the_server(self, runs: Runs) -> None:
        before = os.umask(0o077)
        try:
            run = runs.sh("umask")
            run.outcome()
        finally:
            os.umask(before)
        assert run.lines() == ["0022"]

    def test_signals_are_not_ignored_or_blocked(self, runs: Runs) -> None:
        run = runs.start(["/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"])
        run.outcome()
        of_the_c_library = 0b11 << 31
        masks = [int(line.split()[1], 16) & ~of_the_c_library for line in run.lines()]
        assert masks == [0, 0]

    def test_a_script_leads_its_own_session(self, runs: Runs) -> None:
        run = runs.start(runs.python("import os; print(os.getsid(0) == os.getpgid(0) == os.getpid())"))
        run.outcome()
        assert run.lines() == ["True"]

    @as_root
    def test_a_script_of_the_same_user_cannot_read_the_supervisor(self, runs: Runs) -> None:
        text = "head -c1 /proc/$PPID/environ; head -c1 /proc/$PPID/mem; ls /proc/$PPID/fd; head -c 1 /proc/$PPID/fd/1"
        run = runs.sh(text, user=DeployUser.named("nobody"))
        run.outcome()
        assert len(run.lines()) == 4
        assert all("Permission denied" in line for line in run.lines())

    def test_files_are_private_and_removed_afterward(self, runs: Runs) -> None:
        text = 'echo "$CONFIG"; stat -c %a "$CONFIG" "${CONFIG%/*}"; cat "$1"; touch "${CONFIG%/*}/more"'
        run = runs.start(
            ["/bin/sh", "-c", text, "sh", "%RUN_DIR%/config.json"],
            files={"config.json": '{"token": "ü"}\n'},
            env={"CONFIG": "%RUN_DIR%/config.json"},
        )
        assert run.outcome()["code"] == 0
        config, *rest = run.lines()
        assert rest == ["600", "700", '{"token": "ü"}']
        assert Path(config).parent.parent == runs.temporary
        assert list(runs.temporary.iterdir()) == []

    def test_a_later_supervisor_removes_leftovers_of_a_killed_one(self, runs: Runs) -> None:
        run = runs.sh("echo ready; exec sleep 600", files={"config.json": "{}"})
        run.wait_for("ready")
        run.process.kill()
        run.process.wait(TIMEOUT)
        (left,) = runs.temporary.iterdir()
        os.utime(left, (0, 0))
        living = runs.sh("echo ready; exec sleep 600", files={"config.json": "{}"})
        living.wait_for("ready")
        (used,) = (folder for folder in runs.temporary.iterdir() if folder != left)
        os.utime(used, (0, 0))
        runs.sh("exit 0").outcome()
        assert list(runs.temporary.iterdir()) == [used]


class TestFailedStarts:
    @pytest.mark.parametrize(
        ("content", "mode", "message_start"),
        [
            (None, 0, "The file {path} does not exist. Create it"),
            ("#!/bin/sh\n", 0o644, "Run `chmod +x {path}`"),
            ("echo hello\n", 0o755, "{path} has no interpreter line"),
            ("", 0o755, "{path} has no interpreter line"),
            (
                "#!/no/such/shell -e\n",
                0o755,
                "The interpreter /no/such/shell in the first line of {path} does not exist",
            ),
            ("#!/bin/sh\r\necho hello\r\n", 0o755, "Save it with Unix line endings"),
            ("\ufeff#!/bin/sh\necho hello\n", 0o755, "{path} begins with a byte order mark"),
            ("#!\n", 0o755, "The interpreter (none) in the first line"),
            ("\x7fELF\0 no program", 0o755, "{path} could not be started: Exec format error"),
        ],
    )
    def test_the_message_names_the_file_and_what_to_do(
        self, runs: Runs, content: str | None, mode: int, message_start: str
    ) -> None:
        path = runs.folder / "deploy.sh"
        if content is not None:
            path.write_text(content, newline="")
            path.chmod(mode)
        run = runs.start([str(path)])
        outcome = run.outcome()
        assert outcome["cause"] == "not_started"
        assert outcome["code"] is None
        assert message_start.format(path=path) in outcome["message"]
        if "ELF" not in (content or ""):
            assert run.kinds() == ["exit"]

    def test_a_folder_is_not_a_script(self, runs: Runs) -> None:
        run = runs.start([str(runs.folder)])
        assert "is a folder, not a script" in run.outcome()["message"]
        assert run.kinds() == ["exit"]

    def test_a_program_that_is_not_on_the_path_is_reported(self, runs: Runs) -> None:
        message = runs.start(["no-such-program"]).outcome()["message"]
        assert message == (
            "The program no-such-program was not found in PATH (/usr/bin:/bin). Install it, or add its folder to "
            "PATH_FOR_DEPLOY."
        )

    def test_a_missing_folder_is_reported(self, runs: Runs) -> None:
        run = runs.start(["/bin/true"], cwd="/no/such/folder")
        assert "The folder /no/such/folder is not accessible to the user" in run.outcome()["message"]
        assert run.kinds() == ["exit"]

    @as_root
    def test_a_script_that_the_deploy_user_cannot_reach_is_reported(self, runs: Runs) -> None:
        private = runs.folder / "private"
        private.mkdir(mode=0o700)
        run = runs.start([runs.script("echo hello\n", "private/deploy.sh")], user=DeployUser.named("nobody"))
        assert "is not accessible to the user nobody: Permission denied" in run.outcome()["message"]

    def test_environment_variables_that_the_system_rejects_are_reported(self, runs: Runs) -> None:
        run = runs.start(["/bin/echo", "a\0b"])
        assert run.outcome()["cause"] == "not_started"
        assert run.kinds() == ["exit"]
        assert list(runs.temporary.iterdir()) == []

    def test_files_cannot_leave_their_folder(self, runs: Runs) -> None:
        run = runs.start(["/bin/true"], files={"../config.json": ""})
        assert "is not a valid file name" in run.outcome()["message"]
        assert list(runs.temporary.iterdir()) == []

    def test_files_that_cannot_be_written_are_reported(self, runs: Runs) -> None:
        run = runs.start(["/bin/true"], env={"TMPDIR": "/no/such/folder"})
        assert "The run could not be prepared" in run.outcome()["message"]

    def test_an_environment_of_a_megabyte_is_reported(self, runs: Runs) -> None:
        run = runs.start(["/bin/true"], env={"TEXT": "x" * 900_000})
        assert "Argument list too long" in run.outcome()["message"]

    def test_a_supervisor_without_settings_gives_up(self, runs: Runs) -> None:
        spool = runs.folder / "spool"
        with spool.open("wb") as output:
            process = subprocess.Popen(
                [PYTHON, *supervisor_program(None)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
            )
        process.wait(TIMEOUT)
        assert "received no settings" in spool.read_text()


class TestStopping:
    def test_a_cancelled_run_reports_why_and_keeps_its_last_output(self, runs: Runs) -> None:
        run = runs.sh("trap 'echo tidied up; exit 7' TERM; echo ready; while :; do sleep 0.01; done")
        run.wait_for("ready")
        run.cancel("Cancelled by the tests.")
        assert run.outcome() == {"code": 7, "signal": None, "cause": "cancelled", "message": "Cancelled by the tests."}
        assert run.lines()[-1] == "tidied up"

    def test_a_script_that_ignores_sigterm_is_killed_after_the_grace_period(self, runs: Runs) -> None:
        run = runs.sh("trap '' TERM INT HUP; echo ready; while :; do sleep 0.05; done")
        run.wait_for("ready")
        run.cancel()
        outcome = run.outcome()
        assert (outcome["signal"], outcome["cause"]) == ("SIGKILL", "cancelled")

    def test_a_stopped_script_is_also_killed(self, runs: Runs) -> None:
        run = runs.sh("echo ready; kill -STOP $$; echo never")
        run.wait_for("ready")
        run.cancel()
        assert run.outcome()["signal"] == "SIGTERM"

    def test_a_run_that_exceeds_its_timeout_is_stopped(self, runs: Runs) -> None:
        run = runs.sh("exec sleep 600", timeout=0.2)
        outcome = run.outcome()
        assert (outcome["signal"], outcome["cause"]) == ("SIGTERM", "timeout")
        assert outcome["message"] == "The run was stopped after its timeout of 0.2 s."

    @pytest.mark.parametrize("seconds", [2_147_484, 2_592_000, 31_536_000])
    def test_a_timeout_can_be_longer_than_one_poll(self, runs: Runs, seconds: float) -> None:
        run = runs.sh("echo ready; sleep 0.05; exit 3", timeout=seconds)
        outcome = run.outcome()
        assert (outcome["code"], outcome["cause"]) == (3, None)

    def test_sigint_is_sent_first_on_request(self, runs: Runs) -> None:
        run = runs.start(
            runs.python(
                "import os, signal, time\n"
                "def say(number, _):\n"
                "    os.write(1, signal.Signals(number).name.encode() + b'\\n')\n"
                "signal.signal(signal.SIGINT, say); signal.signal(signal.SIGTERM, say)\n"
                "print('ready', flush=True)\n"
                "while True: time.sleep(0.01)\n"
            ),
            interrupt=True,
        )
        run.wait_for("ready")
        run.cancel()
        assert run.outcome()["signal"] == "SIGKILL"
        assert run.lines() == ["ready", "SIGINT", "SIGTERM"]

    def test_leftovers_of_an_interrupted_script_are_killed_immediately(self, runs: Runs) -> None:
        run = runs.start(
            runs.python(
                "import subprocess, time\n"
                "other = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
                "print(other.pid, flush=True)\n"
                "time.sleep(600)\n"
            ),
            interrupt=True,
            grace=3600.0,
        )
        wait_until(run.lines)
        run.cancel()
        assert run.outcome()["signal"] == "SIGINT"
        assert not running(int(run.lines()[0]))

    def test_only_the_first_cause_counts(self, runs: Runs) -> None:
        run = runs.sh("trap '' TERM; echo ready; while :; do sleep 0.05; done", timeout=600.0)
        run.wait_for("ready")
        run.cancel("First.")
        run.directory.send({"cancel": "Second."})
        assert run.outcome()["message"] == "First."

    def test_cancelling_a_run_before_its_script_starts_prevents_the_start(self, runs: Runs) -> None:
        directory = RunDirectory.create(runs.root, 1)
        control = os.open(directory.control, os.O_RDWR)
        os.write(control, b'{"cancel": "Not needed."}\n')
        run = runs.start([runs.script("touch started\n")])
        os.close(control)
        assert run.outcome() == {"code": None, "signal": None, "cause": "cancelled", "message": "Not needed."}
        assert run.kinds() == ["exit"]
        assert not (runs.folder / "started").exists()

    def test_the_timeout_does_not_apply_after_the_script_has_exited(self, runs: Runs) -> None:
        run = runs.sh("sleep 600 & exit 0", timeout=1.5)
        assert run.outcome()["cause"] is None

    def test_a_cancel_while_waiting_for_the_last_output_kills_leftovers(self, runs: Runs) -> None:
        run = runs.sh("sleep 600 & echo $!; exit 0")
        wait_until(lambda: run.lines() and not running(run.records()[0].data["pid"]))
        run.cancel()
        outcome = run.outcome()
        assert (outcome["code"], outcome["cause"]) == (0, "cancelled")
        assert not running(int(run.lines()[0]))


class TestCommands:
    def test_commands_can_arrive_in_pieces_and_several_at_once(self, runs: Runs) -> None:
        run = runs.sh("echo ready; exec sleep 600")
        run.wait_for("ready")
        control = os.open(run.directory.control, os.O_WRONLY | os.O_NONBLOCK)
        os.write(control, b'nonsense\n{"unknown": 1}\n[]\n{"canc')
        wait_until(lambda: len(run.notes()) == 3)
        os.write(control, b'el": "In pieces."}\n{"cancel": "Too late."}\n')
        os.close(control)
        assert run.outcome()["message"] == "In pieces."
        assert all("ignored" in note for note in run.notes())

    @pytest.mark.parametrize("size", [3_000, 4_096, 70_000, 1_000_000, 20_000_000])
    def test_settings_of_any_length_arrive(self, runs: Runs, size: int) -> None:
        run = runs.sh('wc -c < "$FILE"', files={"config.json": "x" * size}, env={"FILE": "%RUN_DIR%/config.json"})
        assert run.outcome()["code"] == 0
        assert run.lines()[0].strip() == str(size)

    def test_a_run_with_long_settings_can_be_cancelled(self, runs: Runs) -> None:
        run = runs.sh("echo ready; exec sleep 600", files={"config.json": "x" * 1_000_000})
        run.wait_for("ready")
        run.cancel("Enough.")
        assert run.outcome()["message"] == "Enough."

    @as_root
    def test_long_settings_reach_another_user(self, runs: Runs) -> None:
        file = {"FILE": "%RUN_DIR%/config.json"}
        user = DeployUser.named("nobody")
        run = runs.sh('wc -c < "$FILE"', files={"config.json": "ж" * 1_000_000}, env=file, user=user)
        assert run.outcome()["code"] == 0
        assert run.lines()[0].strip() == "2000000"


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGALRM])
    def test_signals_do_not_end_the_supervisor(self, runs: Runs, number: signal.Signals) -> None:
        run = runs.sh("echo ready; read -r line < go; echo $line")
        os.mkfifo(runs.folder / "go")
        run.wait_for("ready")
        run.process.send_signal(number)
        (runs.folder / "go").write_text("on\n")
        assert run.outcome()["code"] == 0
        assert run.lines() == ["ready", "on"]

    def test_sigterm_cancels_the_run(self, runs: Runs) -> None:
        run = runs.sh("echo ready; exec sleep 600")
        run.wait_for("ready")
        run.process.terminate()
        outcome = run.outcome()
        assert (outcome["cause"], outcome["message"]) == ("cancelled", "The run's supervisor was stopped by SIGTERM.")

    @pytest.mark.parametrize("daemon", ["sleep 600", "setsid sleep 600", "setsid env -i sleep 600"])
    def test_nothing_outlives_a_killed_supervisor(self, runs: Runs, daemon: str) -> None:
        run = runs.sh(f"({daemon} & echo $!); trap '' TERM HUP; echo ready; while :; do sleep 0.05; done")
        run.wait_for("ready")
        run.process.kill()
        # The lock says that the run is alive until its processes are dead.
        wait_until(lambda: not run.directory.alive())
        assert not running(int(run.lines()[0]))
        assert not running(run.records()[0].data["pid"])

    @pytest.mark.parametrize("daemon", ["sleep 600", "setsid env -i sleep 600"])
    def test_a_script_that_kills_its_parent_loses_the_run(self, runs: Runs, daemon: str) -> None:
        run = runs.sh(f"({daemon} & echo $!); kill -KILL $PPID; sleep 600")
        outcome = run.outcome()
        assert outcome["cause"] == "lost"
        assert outcome["message"].startswith("The run was lost: its supervisor died before reporting a result")
        assert not running(int(run.lines()[0]))

    @pytest.mark.parametrize("number", ["STOP", "TSTP", "TTIN", "TTOU"])
    def test_a_script_that_stops_its_parent_still_ends_normally(self, runs: Runs, number: str) -> None:
        run = runs.sh(f"kill -{number} $PPID; exit 4")
        assert (run.outcome()["code"], run.outcome()["cause"]) == (4, None)

    @pytest.mark.parametrize("number", ["HUP", "INT", "TERM", "USR1", "USR2", "ALRM", "PIPE", "CHLD"])
    def test_signals_to_its_parent_change_nothing(self, runs: Runs, number: str) -> None:
        run = runs.sh(f"kill -{number} $PPID; echo on; exit 4")
        assert (run.outcome()["code"], run.outcome()["cause"]) == (4, None)
        assert run.lines() == ["on"]

    def test_a_script_does_not_outlive_a_killed_supervisor(self, runs: Runs) -> None:
        run = runs.sh("trap '' TERM HUP; echo ready; while :; do sleep 0.05; done")
        run.wait_for("ready")
        pid = run.records()[0].data["pid"]
        run.process.kill()
        wait_until(lambda: not running(pid))


STARTER = """
import os, sys
from pathlib import Path
from deploy.adapters.runs.directory import RunDirectory, RunSpec
spec = RunSpec(argv=["/bin/sh", "-c", sys.argv[2]], cwd=sys.argv[3], env={"PATH": "/usr/bin:/bin", "FASTDEPLOY_TEST": sys.argv[4]},
               files={}, timeout=None, output_limit=1000000, line_limit=1000)
run = RunDirectory.create(Path(sys.argv[1]), 1)
print(run.start(spec, user=None).pid, flush=True)
sys.stdin.read()
"""


class TestStarterDeath:
    def test_a_run_continues_when_its_starter_and_its_group_are_killed(self, runs: Runs) -> None:
        os.mkfifo(runs.folder / "go")
        script = "echo ready; read -r line < go; echo $line"
        starter = subprocess.Popen(
            [sys.executable, "-c", STARTER, str(runs.root), script, str(runs.folder), runs.mark],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        with starter:
            assert starter.stdout is not None
            supervisor_pid = int(starter.stdout.readline())
            run = RunDirectory.at(runs.root, 1)
            wait_until(lambda: any(record.data == "ready" for record in run.read(0)[0]))
            os.killpg(starter.pid, signal.SIGKILL)
        assert run.alive()
        (runs.folder / "go").write_text("on\n")
        wait_until(lambda: not run.alive())
        assert [record.data for record in run.read(0)[0] if record.kind == "out"] == ["ready", "on"]
        assert run.read(0)[0][-1].data["code"] == 0
        wait_until(lambda: not running(supervisor_pid))


class TestDeployUser:
    @as_root
    def test_the_script_runs_as_that_user_with_only_its_groups(self, runs: Runs) -> None:
        nobody = DeployUser.named("nobody")
        run = runs.sh("id -u; id -g; id -G; grep ^CapEff /proc/self/status", user=nobody)
        assert run.outcome()["code"] == 0
        uid, gid, groups, capabilities = run.lines()
        assert (int(uid), int(gid)) == (nobody.uid, nobody.gid)
        assert {int(group) for group in groups.split()} == set(nobody.groups)
        assert int(capabilities.split()[1], 16) == 0

    @as_root
    def test_that_user_reads_only_its_own_files(self, runs: Runs) -> None:
        secret = runs.folder / "secret"
        secret.write_text("ours")
        secret.chmod(0o600)
        run = runs.sh(
            f'stat -c %U "$CONFIG"; cat "$CONFIG"; cat {secret}; ls {runs.root}; cat {runs.root}/1/spool; '
            f"echo forged >> {runs.root}/1/spool; echo '{{}}' > {runs.root}/1/control",
            user=DeployUser.named("nobody"),
            files={"config.json": "mine\n"},
            env={"CONFIG": "%RUN_DIR%/config.json"},
        )
        run.outcome()
        owner, mine, *refused = run.lines()
        assert (owner, mine) == ("nobody", "mine")
        assert len(refused) == 5
        assert all("ermission denied" in line for line in refused)
        assert list(runs.temporary.iterdir()) == []


@pytest.mark.main_python
@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_it_runs_on_every_supported_python(runs: Runs, version: str) -> None:
    python = python_of(version)
    if python is None:
        pytest.skip(f"Python {version} is not installed")
    directory = RunDirectory.create(runs.root, 1)
    spec = runs.spec(["/bin/sh", "-c", "echo out; echo '{}' >&$FASTDEPLOY_EVENTS_FD; exit 4"], events=True)
    process = directory.start(spec, user=None, python=python)
    process.wait(TIMEOUT)
    records, _ = directory.read(0)
    assert sorted(record.kind for record in records) == ["event", "exit", "log", "start"]
    assert (records[-1].data["code"], records[-1].data["events"]) == (4, 1)
