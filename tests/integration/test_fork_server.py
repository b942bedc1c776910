"""With the fork server, supervisors behave the same, even when the fork server dies."""

import asyncio
import contextlib
import fcntl
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.adapters.runs.directory import RunDirectory, RunSpec
from deploy.adapters.runs.fork_server import ForkServer
from deploy.adapters.runs.start import DeployUser, start_detached, supervisor_command, supervisor_program
from tests.integration.supervised_runs import (
    PYTHON,
    ROOT,
    TIMEOUT,
    Forked,
    ForkServers,
    Run,
    Runs,
    fork_servers,
    parent_of,
    python_of,
    running,
    supervised_runs,
    wait_until,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a run as another user")


@pytest.fixture
def servers() -> Iterator[ForkServers]:
    with fork_servers() as kept:
        yield kept


@pytest.fixture
def runs() -> Iterator[Runs]:
    with supervised_runs() as started:
        yield started


def pid_of(server: ForkServer) -> int:
    assert server.pid is not None
    return server.pid


def start(runs: Runs, servers: ForkServers, text: str, user: DeployUser | None = None) -> Run:
    """Start some lines of shell script through the fork server, or directly if it does not respond."""
    directory = RunDirectory.create(runs.root, len(runs.started) + 1)
    work = directory.start_by(servers.keep(user), runs.spec(["/bin/sh", "-c", text]))
    run = Run(directory, Forked(servers.call(work)))
    runs.started.append(run)
    return run


def started_scripts(runs: Runs) -> str:
    """Return the lines that scripts wrote to this file with `echo` when they started."""
    with contextlib.suppress(FileNotFoundError):
        return (runs.folder / "begun").read_text()
    return ""


class TestSupervisors:
    def test_forked_supervisors_equal_directly_started_ones(self, runs: Runs, servers: ForkServers) -> None:
        directly = runs.sh("echo ready; exec sleep 600")
        forked = start(runs, servers, "echo ready; exec sleep 600")
        for run in (directly, forked):
            run.wait_for("ready")
        assert parent_of(forked.process.pid) == servers.keep().pid
        assert inherited_state(forked) == inherited_state(directly)

    def test_forked_scripts_equal_directly_started_ones(self, runs: Runs, servers: ForkServers) -> None:
        text = (
            "env | sort; umask; ulimit -a; pwd; ls -l /proc/self/fd; "
            "grep -E '^(Uid|Gid|Groups|Umask|Sig[PBIC]|ShdPnd|Cap|NoNew|Seccomp|Threads)' /proc/self/status"
        )
        directly, forked = runs.sh(text), start(runs, servers, text)
        for run in (directly, forked):
            assert run.outcome()["code"] == 0
        assert plain(forked.lines()) == plain(directly.lines())

    @as_root
    def test_supervisors_of_another_user_equal_directly_started_ones(self, runs: Runs, servers: ForkServers) -> None:
        nobody = DeployUser.named("nobody")
        text = "id -u; id -g; id -G; grep -E '^(Cap|Groups|Uid|Gid)' /proc/self/status; echo ready; exec sleep 600"
        directly, forked = runs.sh(text, user=nobody), start(runs, servers, text, nobody)
        for run in (directly, forked):
            run.wait_for("ready")
        assert forked.lines() == directly.lines()
        assert inherited_state(forked) == inherited_state(directly)

    def test_each_supervisor_has_only_its_own_run(self, runs: Runs, servers: ForkServers) -> None:
        started = [start(runs, servers, "echo ready; exec sleep 600") for _ in range(3)]
        for run in started:
            run.wait_for("ready")
            files = {target for target in descriptors(run.process.pid).values() if str(runs.root) in target}
            assert files == {str(run.directory.path / name) for name in ("control", "spool", "wake")}
        server = descriptors(pid_of(servers.keep()))
        assert {re.sub(r"\d+", "", target) for target in server.values()} == {"socket:[]", "/dev/null"}
        assert set(server) == {0, 1, 2}

    def test_the_lock_ends_with_the_supervisor(self, runs: Runs, servers: ForkServers) -> None:
        run = start(runs, servers, "echo ready; exec sleep 600")
        run.wait_for("ready")
        assert run.directory.alive()
        run.process.kill()
        run.process.wait(TIMEOUT)
        wait_until(lambda: not run.directory.alive())

    def test_supervisors_do_not_leave_zombies(self, runs: Runs, servers: ForkServers) -> None:
        run = start(runs, servers, "exit 0")
        run.outcome()
        wait_until(lambda: not Path(f"/proc/{run.process.pid}").exists())

    def test_twenty_runs_can_start_at_once(self, runs: Runs, servers: ForkServers) -> None:
        server = servers.keep()
        directories = [RunDirectory.create(runs.root, number) for number in range(1, 21)]
        specs = [runs.spec(["/bin/sh", "-c", f"echo {number} >> begun"]) for number in range(1, 21)]

        async def all_at_once() -> list[int]:
            starts = zip(directories, specs, strict=True)
            return await asyncio.gather(*(directory.start_by(server, spec) for directory, spec in starts))

        pids = servers.call(all_at_once())
        assert len(set(pids)) == 20
        runs.started += [Run(directory, Forked(pid)) for directory, pid in zip(directories, pids, strict=True)]
        assert [run.outcome()["code"] for run in runs.started] == [0] * 20
        assert sorted(map(int, started_scripts(runs).split())) == list(range(1, 21))


class TestWithoutForkServer:
    def test_runs_start_directly_before_the_fork_server_is_ready(self, runs: Runs, servers: ForkServers) -> None:
        server = ForkServer(None)
        directory = RunDirectory.create(runs.root, 1)
        run = Run(directory, Forked(servers.call(directory.start_by(server, runs.spec(["/bin/echo", "on"])))))
        assert parent_of(run.process.pid) == os.getpid()
        wait_until(lambda: server.reap() == 0)
        assert (run.outcome()["code"], run.lines()) == (0, ["on"])

    def test_a_killed_fork_server_is_replaced(self, runs: Runs, servers: ForkServers) -> None:
        server = servers.keep()
        first = pid_of(server)
        running_on = start(runs, servers, "echo ready; read -r line < go; echo $line")
        os.mkfifo(runs.folder / "go")
        running_on.wait_for("ready")
        os.kill(first, signal.SIGKILL)
        assert start(runs, servers, "echo on").outcome()["code"] == 0
        wait_until(lambda: server.pid not in {None, first})
        later = start(runs, servers, "exec sleep 600")
        assert parent_of(later.process.pid) == server.pid
        (runs.folder / "go").write_text("on\n")
        assert running_on.outcome()["code"] == 0
        assert running_on.lines() == ["ready", "on"]

    def test_runs_start_even_if_the_fork_server_cannot(self, runs: Runs, servers: ForkServers) -> None:
        server = ForkServer(None, python="/no/such/python")
        keeping = servers.call(begin(server))
        directory = RunDirectory.create(runs.root, 1)
        with pytest.raises(FileNotFoundError):
            servers.call(directory.start_by(server, runs.spec(["/bin/true"])))
        assert (directory.alive(), directory.started(), keeping.done()) == (False, False, False)
        servers.call(end(keeping))
        assert runs.sh("exit 0").outcome()["code"] == 0

    def test_the_reason_the_fork_server_exited_is_logged(
        self, runs: Runs, servers: ForkServers, caplog: pytest.LogCaptureFixture
    ) -> None:
        server = ForkServer(None, python=runs.script("echo some words >&2\necho 'the last ones' >&2\nexit 1\n"))
        keeping = servers.call(begin(server))
        wait_until(lambda: "so runs start slower: the last ones" in caplog.text)
        assert (server.refusal, server.pid) == ("", None)  # runs can still start
        servers.call(end(keeping))

    def test_without_a_socket_the_fork_server_exits(self) -> None:
        # As with a sudo that puts pipes in between.
        command = [PYTHON, *supervisor_program(None, "fork_server")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.wait(TIMEOUT) != 0

    def test_without_free_file_descriptors_runs_start_directly(self, runs: Runs, servers: ForkServers) -> None:
        server = servers.keep()
        first = pid_of(server)
        before = resource.prlimit(first, resource.RLIMIT_NOFILE)
        resource.prlimit(first, resource.RLIMIT_NOFILE, (5, before[1]))
        run = start(runs, servers, "exec sleep 600")
        assert parent_of(run.process.pid) == os.getpid()
        resource.prlimit(first, resource.RLIMIT_NOFILE, before)
        later = start(runs, servers, "exec sleep 600")
        assert parent_of(later.process.pid) == first
        run.cancel()
        assert run.outcome()["cause"] == "cancelled"

    @as_root
    def test_without_free_processes_it_reports_and_continues(self, runs: Runs) -> None:
        with manual_fork_server("prlimit", "--nproc=0:", user=DeployUser.named("nobody")) as (requests, _):
            for number in (1, 2):
                directory = RunDirectory.create(runs.root, number)
                with request(requests, directory, runs.spec(["/bin/true"])) as answer:
                    assert answer.recv(32) == b""
                wait_until(lambda directory=directory: not directory.alive())  # type: ignore[misc]
                assert not directory.started()


class TestStartedOnce:
    def test_a_run_starts_if_the_fork_server_is_killed_before_it_takes_the_request(
        self, runs: Runs, servers: ForkServers
    ) -> None:
        victim = pid_of(servers.keep())
        directory = RunDirectory.create(runs.root, 1)
        os.kill(victim, signal.SIGSTOP)
        run = Run(directory, Forked(servers.call(self.with_a_kill(servers, directory, runs, victim, 0.0))))
        runs.started.append(run)
        assert run.outcome()["code"] == 0
        assert started_scripts(runs) == "begun\n"

    @pytest.mark.parametrize("delay", [step / 5000 for step in range(25)])
    def test_a_run_starts_once_if_the_fork_server_is_killed_at_any_moment(
        self, runs: Runs, servers: ForkServers, delay: float
    ) -> None:
        victim = pid_of(servers.keep())
        directory = RunDirectory.create(runs.root, 1)
        run = Run(directory, Forked(servers.call(self.with_a_kill(servers, directory, runs, victim, delay))))
        runs.started.append(run)
        assert run.outcome()["code"] == 0
        assert run.kinds() == ["start", "exit"]
        assert started_scripts(runs) == "begun\n"
        assert not directory.alive()

    def test_a_hanging_fork_server_is_abandoned(self, runs: Runs, servers: ForkServers) -> None:
        server = servers.keep()
        victim = pid_of(server)
        os.kill(victim, signal.SIGSTOP)
        run = start(runs, servers, "echo begun >> begun; echo ready; exec sleep 600")
        run.wait_for("ready")
        assert parent_of(run.process.pid) == os.getpid()
        wait_until(lambda: server.pid not in {None, victim})
        assert not running(victim)
        run.process.kill()
        wait_until(lambda: server.reap() == 0)
        wait_until(lambda: not run.directory.alive())
        assert started_scripts(runs) == "begun\n"

    def test_an_abandoned_request_does_not_start_anything_later(self, runs: Runs) -> None:
        with manual_fork_server() as (requests, victim):
            os.kill(victim, signal.SIGSTOP)
            early, late = (RunDirectory.create(runs.root, number) for number in (1, 2))
            with request(requests, early, runs.spec(["/usr/bin/touch", "early"])) as answer:
                answer.shutdown(socket.SHUT_RD)
                assert answer.recv(32) == b""
            with request(requests, late, runs.spec(["/usr/bin/touch", "late"])) as answer:
                assert early.alive()  # the request has been sent
                os.kill(victim, signal.SIGCONT)
                assert int(answer.recv(32)) > 0
            for directory in (early, late):
                wait_until(lambda directory=directory: not directory.alive())  # type: ignore[misc]
        assert (late.finished(), early.started()) == (True, False)
        assert ((runs.folder / "late").exists(), (runs.folder / "early").exists()) == (True, False)

    def test_a_response_just_before_the_timeout_counts(self, runs: Runs) -> None:
        with manual_fork_server() as (requests, _):
            directory = RunDirectory.create(runs.root, 1)
            with request(requests, directory, runs.spec(["/usr/bin/touch", "begun"])) as answer:
                wait_until(directory.finished)
                answer.shutdown(socket.SHUT_RD)
                assert int(answer.recv(32)) > 0

    def test_a_cancelled_start_can_be_repeated(self, runs: Runs, servers: ForkServers) -> None:
        server = servers.keep()
        victim = pid_of(server)
        os.kill(victim, signal.SIGSTOP)
        directory = RunDirectory.create(runs.root, 1)
        spec = runs.spec(["/bin/sh", "-c", "echo begun >> begun"])
        servers.call(self.cancelled(directory.start_by(server, spec)))
        assert directory.alive()  # the request has been sent
        os.kill(victim, signal.SIGCONT)
        wait_until(lambda: not directory.alive())
        assert not directory.started()
        run = Run(directory, Forked(servers.call(directory.start_by(server, spec))))
        assert run.outcome()["code"] == 0
        assert started_scripts(runs) == "begun\n"

    @staticmethod
    async def with_a_kill(servers: ForkServers, directory: RunDirectory, runs: Runs, victim: int, delay: float) -> int:
        spec = runs.spec(["/bin/sh", "-c", "echo begun >> begun"])
        asyncio.get_running_loop().call_later(delay, os.kill, victim, signal.SIGKILL)
        return await directory.start_by(servers.keep(), spec)

    @staticmethod
    async def cancelled(work: Any) -> None:
        task = asyncio.ensure_future(work)
        await asyncio.sleep(0)  # it has sent its request and is waiting
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13"])
def test_it_runs_on_every_supported_python(runs: Runs, servers: ForkServers, version: str) -> None:
    python = python_of(version)
    if python is None:
        pytest.skip(f"Python {version} is not installed")
    server = ForkServer(None, python=python)
    keeping = servers.call(begin(server))
    wait_until(lambda: server.pid is not None)
    directory = RunDirectory.create(runs.root, 1)
    run = Run(directory, Forked(servers.call(directory.start_by(server, runs.spec(["/bin/sh", "-c", "exit 4"])))))
    assert run.outcome()["code"] == 4
    assert server.reap() == 0
    servers.call(end(keeping))


class TestEnd:
    def test_it_ends_with_the_worker_and_its_supervisors_continue(self, runs: Runs) -> None:
        os.mkfifo(runs.folder / "go")
        arguments = [str(runs.root), "echo ready; read -r line < go; echo $line", str(runs.folder), runs.mark]
        with subprocess.Popen(
            [sys.executable, "-c", WORKER, *arguments], cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True
        ) as worker:
            assert worker.stdout is not None
            server, supervisor = map(int, worker.stdout.readline().split())
            run = RunDirectory.at(runs.root, 1)
            wait_until(lambda: any(record.data == "ready" for record in run.read(0)[0]))
            assert parent_of(supervisor) == server
            os.killpg(worker.pid, signal.SIGKILL)
        wait_until(lambda: not running(server))
        assert run.alive()
        (runs.folder / "go").write_text("on\n")
        wait_until(lambda: not run.alive())
        assert [record.data for record in run.read(0)[0] if record.kind == "out"] == ["ready", "on"]
        assert run.read(0)[0][-1].data["code"] == 0
        wait_until(lambda: not running(supervisor))

    def test_it_is_reaped_when_the_worker_stops(self, runs: Runs, servers: ForkServers) -> None:
        server = ForkServer(None)
        keeping = servers.call(begin(server))
        wait_until(lambda: server.pid is not None)
        pid = pid_of(server)
        directory = RunDirectory.create(runs.root, 1)
        run = Run(directory, Forked(servers.call(directory.start_by(server, runs.spec(["/bin/sleep", "600"])))))
        runs.started.append(run)
        servers.call(end(keeping))
        assert server.pid is None
        assert not Path(f"/proc/{pid}").exists()
        assert run.process.poll() is None


class TestHostileScripts:
    @as_root
    def test_a_script_of_the_same_user_cannot_inspect_it(self, runs: Runs, servers: ForkServers) -> None:
        nobody = DeployUser.named("nobody")
        of_it = f"/proc/{servers.keep(nobody).pid}"
        run = start(runs, servers, f"head -c1 {of_it}/environ; head -c1 {of_it}/mem; ls {of_it}/fd", nobody)
        run.outcome()
        assert len(run.lines()) == 3
        assert all("Permission denied" in line for line in run.lines())

    @as_root
    @pytest.mark.parametrize("signal_name", ["KILL", "TERM", "INT", "HUP", "SEGV"])
    def test_a_script_that_signals_it_does_not_harm_other_runs(
        self, runs: Runs, servers: ForkServers, signal_name: str
    ) -> None:
        nobody = DeployUser.named("nobody")
        server = servers.keep(nobody)
        victim = pid_of(server)
        os.mkfifo(runs.folder / "go")
        (runs.folder / "go").chmod(0o666)
        other = start(runs, servers, "echo ready; read -r line < go; echo $line", nobody)
        other.wait_for("ready")
        hostile = start(runs, servers, f"kill -{signal_name} {victim}", nobody)
        assert hostile.outcome()["code"] == 0
        wait_until(lambda: server.pid not in {None, victim})
        later = start(runs, servers, "echo on", nobody)
        assert later.outcome()["code"] == 0
        (runs.folder / "go").write_text("on\n")
        assert other.outcome()["code"] == 0
        assert other.lines() == ["ready", "on"]


WORKER = """
import asyncio, sys
from pathlib import Path
from deploy.adapters.runs.fork_server import ForkServer
from deploy.adapters.runs.directory import RunDirectory, RunSpec

async def work():
    server = ForkServer(None)
    keeping = asyncio.create_task(server.run())
    while server.pid is None:
        await asyncio.sleep(0.001)
    spec = RunSpec(argv=["/bin/sh", "-c", sys.argv[2]], cwd=sys.argv[3], files={}, timeout=None,
                   env={"PATH": "/usr/bin:/bin", "FASTDEPLOY_TEST": sys.argv[4]}, output_limit=1000, line_limit=1000)
    print(server.pid, await RunDirectory.create(Path(sys.argv[1]), 1).start_by(server, spec), flush=True)
    await keeping

asyncio.run(work())
"""


async def begin(server: ForkServer) -> "asyncio.Task[None]":
    return asyncio.create_task(server.run())


async def end(keeping: "asyncio.Task[None]") -> None:
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


@contextlib.contextmanager
def manual_fork_server(*before: str, user: DeployUser | None = None) -> Iterator[tuple[socket.socket, int]]:
    """Yield the worker's end of a ready fork server's socket, and its process ID. `before` is a command prefix."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [*before, *supervisor_command(user, "fork_server")]
    with ours:
        with theirs:
            nothing = subprocess.DEVNULL
            process = start_detached(command, user, stdin=theirs.fileno(), stdout=nothing, stderr=nothing)
        with process:
            try:
                assert ours.recv(1) == b"!"
                yield ours, process.pid
            finally:
                process.kill()


@contextlib.contextmanager
def request(requests: socket.socket, directory: RunDirectory, spec: RunSpec) -> Iterator[socket.socket]:
    """Request a supervisor the way a worker does. Yield the socket for the response."""
    ours, theirs = socket.socketpair()
    with contextlib.ExitStack() as opened:
        control = os.open(directory.control, os.O_RDWR | os.O_NONBLOCK)
        spool = os.open(directory.spool, os.O_WRONLY | os.O_APPEND)
        wake = os.open(directory.wake, os.O_RDWR | os.O_NONBLOCK)
        for descriptor in (control, spool, wake):
            opened.callback(os.close, descriptor)
        opened.enter_context(theirs)
        fcntl.flock(spool, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(control, spec.to_json().encode() + b"\n")
        socket.send_fds(requests, [b"!"], [control, spool, wake, theirs.fileno()])
    with ours:
        yield ours


def descriptors(pid: int) -> dict[int, str]:
    """Return the target of each descriptor of a process, by number."""
    folder = f"/proc/{pid}/fd"
    return {int(number): os.readlink(f"{folder}/{number}") for number in os.listdir(folder)}


def plain(lines: list[str]) -> list[str]:
    """Return lines of `ls -l` and similar output without pipe numbers, process IDs, and times."""
    return [re.sub(r"\w{3} +\d+ +\d+:\d+|:\[\d+\]|/proc/\d+", "", line) for line in lines]


def inherited_state(run: Run) -> dict[str, Any]:
    """Return everything that a supervisor inherits from the process that started it."""
    pid = run.process.pid
    folder = Path(f"/proc/{pid}")
    fields = (
        "Uid Gid Groups Umask SigQ SigPnd ShdPnd SigBlk SigIgn SigCgt CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs"
    )
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    path = str(run.directory.path)
    return {
        "status": {name: status[name].strip() for name in fields.split() if name != "SigQ"},
        "environment": sorted((folder / "environ").read_bytes().split(b"\0")),
        "cwd": os.readlink(folder / "cwd"),
        "root": os.readlink(folder / "root"),
        "limits": (folder / "limits").read_text(),
        "oom": (folder / "oom_score_adj").read_text(),
        "leads": os.getsid(pid) == os.getpgid(pid) == pid,
        "nice": os.getpriority(os.PRIO_PROCESS, pid),
        "owner": folder.stat().st_uid if status["Uid"].split()[0] != "0" else 0,
        "descriptors": {
            number: re.sub(r"\[\d+\]|[0-9a-f]{16}", "", target.replace(path, ""))
            for number, target in descriptors(pid).items()
        },
        "flags": [flags_of(pid, number) for number in (0, 1, 2)],
        "threads": len(os.listdir(folder / "task")),
    }


def flags_of(pid: int, descriptor: int) -> str:
    return Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text().splitlines()[1]
