"""The process that makes supervisors may die or stand still: deployments go on, and each script runs once."""

import os
import signal
from contextlib import suppress

from deploy.adapters.runs.directory import RunDirectory
from tests.e2e.folders import shell
from tests.e2e.processes import Site, Worker, arguments, children
from tests.e2e.waiting import wait_until

# Prints the process that made its supervisor.
SCRIPT = "sed -n 's/^PPid:.//p' /proc/$PPID/status\n"


def fork_server_of(worker: Worker) -> int | None:
    """Its process id; None while there is none."""
    found = [pid for pid in children(worker.pid) if any("fork_server" in argument for argument in arguments(pid))]
    return found[0] if found else None


def maker(site: Site, service: str) -> int:
    """The process that made the supervisor of a new deployment, which succeeds."""
    done = site.api.run(service)
    assert done["state"] == "success", done["reason"]
    return int(site.api.lines(done["id"])[0])


def is_followed(run: RunDirectory) -> bool:
    """Whether a worker follows a run."""
    lock = run.follow_lock()
    if lock is not None:
        os.close(lock)
    return lock is None


def test_deployments_are_forked_before_and_after_it_was_killed(site: Site) -> None:
    service = site.server.add_service(shell(SCRIPT))
    with site.worker() as worker:
        wait_until(lambda: maker(site, service) == fork_server_of(worker), "a deployment being forked")
        first = fork_server_of(worker)
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert maker(site, service) != first
        wait_until(lambda: maker(site, service) == fork_server_of(worker), "a deployment being forked again")
        last = fork_server_of(worker)
        assert last is not None
        assert worker.stop() == 0
        wait_until(lambda: not arguments(last), "the fork server having ended")


def test_a_worker_that_died_while_it_stood_still_loses_no_deployment(site: Site) -> None:
    record = site.server.folder / "ran-once"
    service = site.server.add_service(shell(f"{SCRIPT}echo ran >> {record}"))
    with site.worker() as first:
        wait_until(lambda: maker(site, service) == fork_server_of(first), "a deployment being forked")
        still = fork_server_of(first)
        assert still is not None
        record.unlink()
        os.kill(still, signal.SIGSTOP)
        try:
            deployment_id = int(site.api.start(service)["id"])
            run = RunDirectory.at(first.data_dir / "runs", deployment_id)
            wait_until(run.alive, "the request being on its way")
            first.kill()
            with site.worker():
                wait_until(lambda: is_followed(run), "the next worker following the run")
                os.kill(still, signal.SIGCONT)
                done = site.api.wait_until_final(deployment_id)
        finally:
            with suppress(ProcessLookupError):
                os.kill(still, signal.SIGCONT)
    assert (done["state"], record.read_text()) == ("success", "ran\n"), done["reason"]
