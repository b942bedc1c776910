"""A run is never lost."""

import pytest

from tests.e2e.chaos import Chaos, Site
from tests.e2e.conftest import NewServer
from tests.e2e.folders import python
from tests.e2e.server import temporary_folder
from tests.e2e.waiting import wait_until

# Restarts the server it runs under, as a deployment of fastDeploy itself does, and keeps printing during the restart.
RESTARTS_ITS_SERVER = """
import json, os, signal, time, urllib.request
env = json.load(open(os.environ["DEPLOY_CONFIG_FILE"]))["context"]["env"]
print(json.dumps({"name": "restart", "state": "running"}), flush=True)
print("before", flush=True)
os.kill(env["pid"], signal.SIGTERM)
number = 0
while not os.path.exists(env["started_again"]):
    number += 1
    print(f"meanwhile {number}", flush=True)
    time.sleep(0.02)
print(f"after {number}", flush=True)
print(json.dumps({"name": "restart", "state": "success"}), flush=True)
"""


# The first four kills of seed 4 hit the server, the worker, the database, and then all three.
@pytest.mark.parametrize(
    ("seed", "kills"),
    [(4, 4), pytest.param(1, 8, marks=pytest.mark.slow), pytest.param(2, 40, marks=pytest.mark.slow)],
)
def test_every_line_of_every_run_survives_killed_processes(seed: int, kills: int) -> None:
    with temporary_folder() as folder:
        site = Site(folder)
        try:
            Chaos(site, seed=seed, kills=kills).run()
        finally:
            site.stop()


@pytest.mark.slow  # in the first tier: test_process.py::test_a_signal_stops_the_server_and_runs_continue
def test_a_deployment_restarts_the_server_and_worker_it_runs_under(new_server: NewServer) -> None:
    server = new_server()
    server.start()
    name = server.add_service(python(RESTARTS_ITS_SERVER))
    started_again = server.folder / "started-again"
    deployment = server.api.start(name, {"pid": server.pid, "started_again": str(started_again)})
    old = server.process
    assert old is not None
    wait_until(lambda: old.poll() is not None, "the server to exit")
    assert old.returncode == 0
    server.start()
    started_again.touch()
    found = server.api.wait_until_final(deployment["id"])
    assert found["state"] == "success"
    assert [(step["name"], step["state"]) for step in found["steps"]] == [("restart", "success")]
    first, *meanwhile, last = server.api.lines(deployment["id"])
    assert first == "before"
    assert meanwhile == [f"meanwhile {number}" for number in range(1, len(meanwhile) + 1)]
    assert last == f"after {len(meanwhile)}"
