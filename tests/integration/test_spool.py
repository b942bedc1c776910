"""Test the run directory: starting once, reading whole records, liveness, commands, and removal."""

import asyncio
import fcntl
import os
import select
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.adapters.runs.directory import Record, RunActive, RunAlreadyStarted, RunDirectory, SpoolCorrupt
from deploy.adapters.runs.start import DeployUser, NoInterpreter, interpreter_for, supervisor_program
from tests.integration.supervised_runs import (
    ROOT,
    TIMEOUT,
    Run,
    Runs,
    processes_with,
    running,
    supervised_runs,
    wait_until,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a run as another user")


@pytest.fixture(params=[pytest.param("directly", marks=pytest.mark.slow), "forked"])
def runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    with supervised_runs(request.param) as started:
        yield started


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "runs", 7)


class TestDirectory:
    def test_other_users_cannot_read_it(self, directory: RunDirectory) -> None:
        modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in directory.path.iterdir()}
        assert modes == {"spool": 0o600, "control": 0o600, "wake": 0o600}
        assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
        assert stat.S_IMODE(directory.path.parent.stat().st_mode) == 0o700

    def test_creating_it_again_keeps_its_contents(self, directory: RunDirectory) -> None:
        directory.spool.write_text('[1,2.5,"start",{"pid":1}]\n')
        again = RunDirectory.create(directory.path.parent, 7)
        assert again.read(0)[0] == [Record(1, 2.5, "start", {"pid": 1})]

    @pytest.mark.parametrize("missing", ["spool", "control", "wake"])
    def test_creating_it_again_completes_it(self, directory: RunDirectory, missing: str) -> None:
        (directory.path / missing).unlink()
        RunDirectory.create(directory.path.parent, 7)
        assert {entry.name for entry in directory.path.iterdir()} == {"spool", "control", "wake"}

    def test_directories_are_listed_by_number(self, tmp_path: Path) -> None:
        for number in (10, 9, 100):
            RunDirectory.create(tmp_path, number)
        (tmp_path / "lost+found").mkdir()
        assert RunDirectory.ids(tmp_path) == [9, 10, 100]
        assert RunDirectory.ids(tmp_path / "nothing") == []

    def test_a_missing_directory_is_handled(self, tmp_path: Path) -> None:
        run = RunDirectory.at(tmp_path, 5)
        assert (run.exists(), run.started(), run.alive(), run.follow_lock()) == (False, False, False, None)
        assert not run.send({"cancel": "Nobody is there."})
        run.remove()

    def test_removing_it_twice_is_harmless(self, directory: RunDirectory) -> None:
        assert directory.exists()
        directory.remove()
        directory.remove()
        assert not directory.exists()
        assert RunDirectory.ids(directory.path.parent) == []

    def test_it_is_not_removed_while_its_run_is_alive(self, runs: Runs) -> None:
        run = runs.sh("exec sleep 600")
        with pytest.raises(RunActive):
            run.directory.remove()

    def test_it_can_be_removed_after_the_exit_record(self, runs: Runs) -> None:
        run = runs.sh("exit 0")
        wait_until(run.directory.finished)
        run.directory.remove()
        assert not run.directory.exists()

    def test_a_printed_exit_is_not_an_exit_record(self, directory: RunDirectory) -> None:
        assert not directory.finished()
        directory.spool.write_text(r'[1,2.5,"out","[2,2.5,\"exit\",{}]"]' + "\n")
        assert not directory.finished()
        directory.spool.write_text('[1,2.5,"exit",{"code":0}]\n')
        assert directory.finished()


class TestReading:
    def test_only_whole_lines_are_read(self, directory: RunDirectory) -> None:
        directory.spool.write_bytes(b'[1,1.0,"start",{"pid":5}]\n[2,1.5,"out","on')
        records, offset = directory.read(0)
        assert records == [Record(1, 1.0, "start", {"pid": 5})]
        assert directory.read(offset) == ([], offset)
        with directory.spool.open("ab") as spool:
            spool.write(b'e"]\n')
        assert directory.read(offset) == ([Record(2, 1.5, "out", "one")], directory.spool.stat().st_size)

    def test_an_empty_spool_has_no_records(self, directory: RunDirectory) -> None:
        assert directory.read(0) == ([], 0)

    @pytest.mark.parametrize("limit", [1, 7, 64, 1 << 20])
    def test_any_limit_eventually_reads_everything(self, directory: RunDirectory, limit: int) -> None:
        texts = ["x" * size for size in (0, 1, 500, 3, 40)]
        directory.spool.write_text("".join(f'[{n},1.0,"out","{text}"]\n' for n, text in enumerate(texts, 1)))
        records: list[Record] = []
        offset = 0
        while True:
            more, offset = directory.read(offset, limit=limit)
            if not more:
                break
            records += more
        assert [record.data for record in records] == texts

    @pytest.mark.parametrize("line", ["nonsense", "{}", "[1,2.0]", '[1,2.0,"out","a","b"]', "5", '[1,2.0,"out","a"'])
    def test_a_damaged_line_is_an_error(self, directory: RunDirectory, line: str) -> None:
        directory.spool.write_text(f'[1,1.0,"start",{{"pid":5}}]\n{line}\n')
        with pytest.raises(SpoolCorrupt, match="corrupt between bytes 0 and"):
            directory.read(0)


class TestStarting:
    def test_a_script_never_starts_twice(self, runs: Runs) -> None:
        run = runs.sh("exit 0")
        run.outcome()
        with pytest.raises(RunAlreadyStarted):
            run.directory.start(runs.spec(["/bin/true"]), user=None)

    def test_a_failed_start_is_not_repeated(self, runs: Runs) -> None:
        run = runs.start(["/no/such/script"])
        run.outcome()
        assert run.directory.started()
        with pytest.raises(RunAlreadyStarted):
            run.directory.start(runs.spec(["/bin/true"]), user=None)

    def test_a_live_run_is_not_started_again(self, runs: Runs) -> None:
        run = runs.sh("exec sleep 600")
        with pytest.raises(RunActive):
            run.directory.start(runs.spec(["/bin/true"]), user=None)

    def test_leftovers_of_a_supervisor_before_the_start_are_harmless(self, runs: Runs) -> None:
        directory = RunDirectory.create(runs.root, 1)
        directory.spool.write_bytes(b"[1,1795")
        assert not directory.started()
        run = runs.sh("echo on")
        assert run.outcome()["code"] == 0
        assert run.kinds() == ["start", "out", "exit"]

    def test_a_missing_python_leaves_the_run_unstarted(self, runs: Runs) -> None:
        directory = RunDirectory.create(runs.root, 1)
        with pytest.raises(FileNotFoundError):
            directory.start(runs.spec(["/bin/true"]), user=None, python="/no/such/python")
        assert not directory.alive()
        assert not directory.started()


class TestLiveness:
    def test_the_lock_shows_a_live_supervisor_in_every_phase(self, runs: Runs) -> None:
        directory = RunDirectory.create(runs.root, 1)
        assert (directory.alive(), directory.started()) == (False, False)
        run = runs.sh("echo ready; exec sleep 600")
        assert directory.alive()
        run.wait_for("ready")
        assert (directory.alive(), directory.started()) == (True, True)
        run.cancel()
        run.outcome()
        assert (directory.alive(), directory.started()) == (False, True)

    def test_a_killed_supervisor_is_not_alive(self, runs: Runs) -> None:
        run = runs.sh("trap '' TERM; echo ready; while :; do sleep 0.05; done")
        run.wait_for("ready")
        run.process.kill()
        run.process.wait(TIMEOUT)
        wait_until(lambda: not run.directory.alive())
        assert run.directory.started()
        assert "exit" not in run.kinds()

    @pytest.mark.parametrize("delay", [milliseconds / 1000 for milliseconds in range(0, 40, 2)])
    def test_after_a_kill_at_any_moment_an_unstarted_script_can_be_started(self, runs: Runs, delay: float) -> None:
        run = runs.sh("echo begun >> begun; exec sleep 600")
        time.sleep(delay)
        run.process.kill()
        run.process.wait(TIMEOUT)
        wait_until(lambda: not run.directory.alive())
        wait_until(lambda: not [pid for pid in processes_with(runs.mark) if running(pid)])
        begun = runs.folder / "begun"
        if run.directory.started():
            with pytest.raises(RunAlreadyStarted):
                run.directory.start(runs.spec(["/bin/true"]), user=None)
            return
        assert not begun.exists()
        again = Run(run.directory, run.directory.start(runs.spec(["/bin/sh", "-c", "echo begun >> begun"]), user=None))
        runs.started.append(again)
        assert again.outcome()["code"] == 0
        assert begun.read_text() == "begun\n"

    def test_the_script_and_its_leftovers_do_not_hold_the_lock(self, runs: Runs) -> None:
        run = runs.sh("setsid sleep 600 >/dev/null 2>&1 & echo $!")
        run.outcome()
        assert running(int(run.lines()[0]))
        assert not run.directory.alive()

    def test_checking_liveness_does_not_block_a_start(self, runs: Runs) -> None:
        directory = RunDirectory.create(runs.root, 1)
        asking = os.open(directory.spool, os.O_RDONLY)
        fcntl.flock(asking, fcntl.LOCK_SH)
        loop = asyncio.new_event_loop()
        try:
            starting = loop.run_in_executor(None, lambda: runs.sh("exit 0"))
            loop.call_later(0.002, os.close, asking)
            run = loop.run_until_complete(starting)
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
        assert run.outcome()["code"] == 0

    def test_one_process_follows_a_run(self, directory: RunDirectory) -> None:
        lock = directory.follow_lock()
        assert lock is not None
        assert directory.follow_lock() is None
        os.close(lock)
        again = directory.follow_lock()
        assert again is not None
        os.close(again)

    def test_a_started_run_does_not_hold_its_followers_lock(self, runs: Runs) -> None:
        directory = RunDirectory.create(runs.root, 1)
        lock = directory.follow_lock()
        assert lock is not None
        runs.sh("exec sleep 600")
        os.close(lock)
        again = directory.follow_lock()
        assert again is not None
        os.close(again)


class TestWakeUps:
    def test_every_record_wakes_the_reader(self, runs: Runs) -> None:
        directory = RunDirectory.create(runs.root, 1)
        wake = directory.open_wake()
        try:
            run = runs.sh("echo one; exit 0")
            offset = 0
            kinds: list[str] = []
            while "exit" not in kinds:
                ready, _, _ = select.select([wake], [], [], TIMEOUT)
                assert ready
                directory.drain_wake(wake)
                records, offset = directory.read(offset)
                kinds += [record.kind for record in records]
            assert kinds == ["start", "out", "exit"]
            run.outcome()
            directory.drain_wake(wake)
            assert select.select([wake], [], [], 0) == ([], [], [])
        finally:
            os.close(wake)

    def test_a_listener_is_optional(self, runs: Runs) -> None:
        run = runs.start(runs.python("import os\nfor _ in range(100000): os.write(1, b'line\\n')"))
        assert run.outcome()["code"] == 0
        assert len(run.lines()) == 100_000


class TestCommands:
    def test_commands_before_and_after_a_run_are_not_received(self, runs: Runs) -> None:
        directory = RunDirectory.create(runs.root, 1)
        assert not directory.send({"cancel": "Too early."})
        run = runs.sh("exit 0")
        run.outcome()
        assert not directory.send({"cancel": "Too late."})

    def test_a_command_too_long_for_an_atomic_write_is_rejected(self, directory: RunDirectory) -> None:
        with pytest.raises(ValueError, match="cannot be written atomically"):
            directory.send({"cancel": "x" * 5000})


class TestDeployUser:
    def test_modes_determine_what_a_user_can_read(self, runs: Runs) -> None:
        other_user = DeployUser(name="stranger", uid=54321, gid=54321, groups=[54321], home="/")
        group = os.getgid()
        member = DeployUser(name="member", uid=54322, gid=54322, groups=[54322, group], home="/")
        file = runs.folder / "private" / "file"
        file.parent.mkdir(mode=0o755)
        file.write_text("")
        file.chmod(0o604)
        assert other_user.may_read(str(file))
        assert not member.may_read(str(file)) or group not in member.groups
        file.chmod(0o640)
        assert (other_user.may_read(str(file)), member.may_read(str(file))) == (False, True)
        file.chmod(0o644)
        file.parent.chmod(0o700)
        assert (other_user.may_read(str(file)), member.may_read(str(file))) == (False, False)
        assert not other_user.may_read("/no/such/file")

    def test_our_python_is_used_if_the_user_can_read_it(self) -> None:
        assert interpreter_for(None) == os.path.realpath(sys.executable)
        root = DeployUser(name="root", uid=0, gid=0, groups=[0], home="/root")
        assert interpreter_for(root) == os.path.realpath(sys.executable)

    def test_without_a_readable_python_the_error_explains_what_to_do(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o700)
        own = tmp_path / "python3"
        own.touch(mode=0o755)
        other_user = DeployUser(name="stranger", uid=54321, gid=54321, groups=[54321], home="/")
        with pytest.raises(NoInterpreter, match=r"stranger cannot read .* Install python3"):
            interpreter_for(other_user, own=str(own), system=("/no/such/python3",))

    def test_a_user_who_can_read_our_code_runs_it_from_its_files(self) -> None:
        root = DeployUser(name="root", uid=0, gid=0, groups=[0], home="/root")
        assert supervisor_program(root)[-1] == str(ROOT / "deploy" / "adapters" / "runs")

    @as_root
    def test_the_supervisor_does_not_need_our_files(self, runs: Runs) -> None:
        # An installation below a folder that other users cannot enter, such as /root.
        closed = runs.folder / "closed"
        shutil.copytree(ROOT / "deploy" / "adapters" / "runs", closed / "deploy" / "adapters" / "runs")
        closed.chmod(0o700)
        for package in ("deploy", "deploy/adapters"):
            (closed / package / "__init__.py").touch()
        # It builds Ansible commands, which nothing here needs.
        (closed / "deploy" / "adapters" / "runs" / "spec.py").unlink()
        starter = (
            "import asyncio, sys; from pathlib import Path\n"
            "from deploy.adapters.runs.fork_server import ForkServer\n"
            "from deploy.adapters.runs.start import DeployUser\n"
            "from deploy.adapters.runs.directory import RunDirectory, RunSpec\n"
            "spec = RunSpec(argv=['/usr/bin/id', '-un'], cwd='/', env={}, files={}, timeout=None,\n"
            "               output_limit=1000, line_limit=1000)\n"
            "nobody = DeployUser.named('nobody')\n"
            "first, second = (RunDirectory.create(Path(sys.argv[1]), number) for number in (1, 2))\n"
            "first.start(spec, user=nobody).wait()\n"
            "async def forked():\n"
            "    server = ForkServer(nobody)\n"
            "    keeping = asyncio.create_task(server.run())\n"
            "    while server.pid is None: await asyncio.sleep(0.001)\n"
            "    assert await second.start_by(server, spec)\n"
            "    while second.alive(): await asyncio.sleep(0.001)\n"
            "    assert server.reap() == 0\n"
            "asyncio.run(forked())\n"
        )
        subprocess.run(
            [sys.executable, "-c", starter, str(runs.root)],
            cwd=closed,
            env={"PYTHONPATH": str(closed)},
            check=True,
            timeout=TIMEOUT,
        )
        for number in (1, 2):
            records, _ = RunDirectory.at(runs.root, number).read(0)
            assert [record.data for record in records if record.kind == "out"] == ["nobody"]
