"""When the database goes down, or hosts and supervisors die, nothing is lost and nothing keeps running."""

import shutil
from collections.abc import Iterator

import httpx2
import pytest

from tests.e2e.api import Api, answer
from tests.e2e.conftest import NewServer
from tests.e2e.folders import report, say, shell, steps
from tests.e2e.gates import gate
from tests.e2e.processes import Process, Site, living, parent
from tests.e2e.server import Server
from tests.e2e.waiting import wait_until


@pytest.fixture
def outage(site: Site) -> Iterator[Site]:
    """Yield the site, and start its database again after the test."""
    yield site
    site.postgres.start()
    site.server.wait_until_ready()


def asks_to_retry(response: httpx2.Response) -> bool:
    """Return True if the response says that the database is unavailable and when to retry."""
    if response.status_code != 503:
        return False
    assert int(response.headers["Retry-After"]) > 0
    return True


def test_a_run_continues_while_the_database_is_down(outage: Site) -> None:
    site, api = outage, outage.api
    with (
        site.worker() as worker,
        site.server.puppet({"steps": steps("One", "Two")}) as (name, puppet),
        api.live() as live,
    ):
        deployment_id = int(api.start(name)["id"])
        live.subscribe(deployment_id)
        puppet.print(report("One", "running"), "before")
        live.wait_for(lambda message: message["type"] == "output")
        known = api.deployment(deployment_id)
        site.kill_database()
        puppet.print(*(f"meanwhile {n}" for n in range(500)), report("One"))
        for path in (f"/deployments/{deployment_id}", "/deployments/", "/health/ready"):
            assert asks_to_retry(api.admin.get(path)), path
        assert asks_to_retry(api.admin.post(f"/services/{known['service_id']}/deployments"))
        assert asks_to_retry(api.anonymous.post("/token", data={"username": api.user, "password": api.password}))
        assert api.anonymous.get("/health/live").status_code == 200
        site.postgres.start()
        site.server.wait_until_ready()
        puppet.print("after", report("Two"))
        puppet.exit()
        found = api.wait_until_final(deployment_id)
        assert found["state"] == "success"
        assert [(step["name"], step["state"]) for step in found["steps"]] == [("One", "success"), ("Two", "success")]
        assert api.lines(deployment_id) == ["before", *(f"meanwhile {n}" for n in range(500)), "after"]
        events = api.events(deployment_id)
        assert [event["seq"] for event in events] == list(range(1, found["seq"] + 1))
        # A client that stayed connected has not missed anything.
        live.wait_for_state(deployment_id)
        assert live.transcript(deployment_id) == events
        assert "Traceback" not in worker.log()


def test_a_run_that_ends_while_the_database_is_down_gets_its_outcome_later(outage: Site) -> None:
    site, api = outage, outage.api
    with site.worker(), site.server.puppet() as (name, puppet):
        deployment_id = int(api.start(name)["id"])
        puppet.config()
        api.wait_for_state(deployment_id, "running")
        site.kill_database()
        puppet.print("alone")
        puppet.exit(7)
        wait_until(lambda: asks_to_retry(api.admin.get("/deployments/")), "the database to be down")
        site.postgres.start()
        found = api.wait_until_final(deployment_id)
        assert (found["state"], found["exit_code"], api.lines(deployment_id)) == ("failure", 7, ["alone"])


def test_server_and_worker_can_start_before_the_database(outage: Site) -> None:
    site, api = outage, outage.api
    only = gate(site.server)
    waiting = int(api.start(only.service)["id"])
    only.release(waiting)
    site.server.stop()
    site.kill_database()
    site.server.start(wait=False)
    with site.worker() as worker:
        wait_until(lambda: "database" in worker.log(), "the worker to notice")
        wait_until(lambda: "Waiting for the database" in site.server.log(), "the server to notice")
        site.postgres.start()
        site.server.wait_until_ready()
        assert api.wait_until_final(waiting)["state"] == "success"


def test_a_killed_bundled_database_is_restarted(new_server: NewServer) -> None:
    server = new_server()
    server.start()
    api = server.api
    (pid_file,) = server.data_dir.glob("pg*/postmaster.pid")
    with server.puppet() as (name, puppet):
        deployment_id = int(api.start(name)["id"])
        puppet.print("before")
        wait_until(lambda: api.lines(deployment_id) == ["before"], "the first line")
        postmaster = living(int(pid_file.read_text().split()[0]))
        postmaster.kill()
        puppet.print("meanwhile")
        server.wait_until_ready()
        puppet.print("after")
        puppet.exit()
        found = wait_until(lambda: final_or_none(api, deployment_id), "the deployment to end")
        assert found is not None
        assert (found["state"], api.lines(deployment_id)) == ("success", ["before", "meanwhile", "after"])


def final_or_none(api: Api, deployment_id: int) -> dict[str, object] | None:
    response = api.admin.get(f"/deployments/{deployment_id}")
    assert response.status_code in {200, 503}
    return dict(response.json()) if response.is_success and response.json()["finished"] else None


def script_of(api: Api, deployment_id: int) -> Process:
    """Return the script of a run that prints its process ID first."""
    (pid, *_) = wait_until(lambda: api.lines(deployment_id), "the run to start")
    return living(int(pid))


def test_a_killed_supervisor_fails_the_run_and_frees_the_service(server: Server) -> None:
    api = server.api
    name = server.add_service(
        shell(say("One", "running") + 'echo $$; grep -q \'"again"\' "$DEPLOY_CONFIG_FILE" || exec sleep 600'),
        config={"steps": steps("One", "Two")},
    )
    lost = int(api.start(name)["id"])
    script = script_of(api, lost)
    living(parent(script.pid)).kill()
    found = api.wait_until_final(lost)
    assert found["state"] == "failure"
    assert found["reason"].startswith("The run was lost: its supervisor died before reporting a result")
    assert [(step["name"], step["state"], step["message"]) for step in found["steps"]] == [
        ("One", "failure", found["reason"])
    ]
    # Otherwise, it would keep running unobserved, at the same time as its own retry.
    wait_until(script.is_dead, "the script to die")
    assert api.run(name, {"again": True})["state"] == "success"


# In the first tier: integration/test_follower.py::…::test_runs_of_dead_workers_fail.
@pytest.mark.slow
def test_a_lost_host_fails_the_run_and_frees_the_service(site: Site) -> None:
    api = site.api
    name = site.server.add_service(
        shell('echo $$; grep -q \'"again"\' "$DEPLOY_CONFIG_FILE" || exec sleep 600'), config={"steps": steps("One")}
    )
    gone = site.worker("far-away")
    with gone:
        lost = int(api.start(name)["id"])
        script = script_of(api, lost)
        gone.kill()
        living(parent(script.pid)).kill()
        wait_until(script.is_dead, "the script to die")
        shutil.rmtree(gone.data_dir)
    with site.worker(WORKER_GRACE_SECONDS="1"):
        found = api.wait_until_final(lost)
        assert found["state"] == "failure"
        assert found["reason"].startswith("The run was lost: the worker on ")
        assert api.run(name, {"again": True})["state"] == "success"


# In the first tier: test_the_last_success_is_kept_for_its_plan and test_all_data_of_an_expired_deployment_is_deleted in
# integration/test_handlers_runs.py.
@pytest.mark.slow
def test_retention_keeps_the_newest_and_the_last_success(site: Site) -> None:
    api = site.api
    name = site.server.add_service(
        shell('echo said; ! grep -q \'"fails"\' "$DEPLOY_CONFIG_FILE"'), config={"retention_count": 2}
    )
    with site.worker():
        old, success = (api.run(name)["id"] for _ in range(2))
        failures = [api.run(name, {"fails": True})["id"] for _ in range(3)]
        service_id = api.service(name)["id"]
        listed = {"service_id": service_id}

        def kept() -> list[int]:
            return [deployment["id"] for deployment in answer(api.admin.get("/deployments/", params=listed))]

        assert kept() == [*reversed(failures), success, old]
    # A worker deletes expired deployments when it starts and every hour.
    with site.worker():
        wait_until(lambda: len(kept()) < 4, "old deployments to be deleted")
        assert kept() == [failures[2], failures[1], success]
        for gone in (old, failures[0]):
            for path in ("", "/events", "/output", "/output.txt"):
                assert api.admin.get(f"/deployments/{gone}{path}").status_code == 404
        assert api.lines(success) == ["said"]
        assert api.service(name)["last_deployment"]["id"] == failures[2]
