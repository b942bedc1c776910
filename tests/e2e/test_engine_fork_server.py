"""If the fork server dies or hangs, deployments continue, and each script runs once."""

import os
import signal
from contextlib import suppress

from deploy.adapters.runs.directory import RunDirectory
from tests.e2e.folders import shell
from tests.e2e.processes import Site, Worker, arguments, children
from tests.e2e.waiting import wait_until

# Prints the process ID of its supervisor's parent. The script's own parent is the keeper.
SCRIPT = "parent() { sed -n 's/^PPid:.//p' /proc/$1/status; }\nparent $(parent $PPID)\n"


def fork_server_of(worker: Worker) -> int | None:
    """Return the process ID of the worker's fork server, or None while there is no fork server."""
    found = [pid for pid in children(worker.pid) if any("fork_server" in argument for argument in arguments(pid))]
    return found[0] if found else None


def starter_of(site: Site, service: str) -> int:
    """Run a deployment, which must succeed. Return the process that started its supervisor."""
    done = site.api.run(service)
    assert done["state"] == "success", done["reason"]
    return int(site.api.lines(done["id"])[0])


def is_followed(run: RunDirectory) -> bool:
    """Return True if a worker follows the run."""
    lock = run.follow_lock()
    if lock is not None:
        os.close(lock)
    return lock is None


def test_deployments_are_forked_before_and_after_the_fork_server_is_killed(site: Site) -> None:
    service = site.server.add_service(shell(SCRIPT))
    with site.worker() as worker:
        wait_until(lambda: starter_of(site, service) == fork_server_of(worker), "a deployment to be forked")
        first = fork_server_of(worker)
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert starter_of(site, service) != first
        wait_until(lambda: starter_of(site, service) == fork_server_of(worker), "a deployment to be forked again")
        last = fork_server_of(worker)
        assert last is not None
        assert worker.stop() == 0
        wait_until(lambda: not arguments(last), "the fork server to exit")


def test_a_worker_killed_while_its_fork_server_hung_loses_no_deployment(site: Site) -> None:
    record = site.server.folder / "ran-once"
    service = site.server.add_service(shell(f"{SCRIPT}echo ran >> {record}"))
    with site.worker() as first:
        wait_until(lambda: starter_of(site, service) == fork_server_of(first), "a deployment to be forked")
        still = fork_server_of(first)
        assert still is not None
        record.unlink()
        os.kill(still, signal.SIGSTOP)
        try:
            deployment_id = int(site.api.start(service)["id"])
            run = RunDirectory.at(first.data_dir / "runs", deployment_id)
            wait_until(run.alive, "the request to be sent")
            first.kill()
            with site.worker():
                wait_until(lambda: is_followed(run), "the next worker to follow the run")
                os.kill(still, signal.SIGCONT)
                done = site.api.wait_until_final(deployment_id)
        finally:
            with suppress(ProcessLookupError):
                os.kill(still, signal.SIGCONT)
    assert (done["state"], record.read_text()) == ("success", "ran\n"), done["reason"]
