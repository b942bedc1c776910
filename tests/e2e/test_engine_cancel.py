"""Cancellations and timeouts end all processes of a run."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.api import Api, answer
from tests.e2e.family import FAMILY, family
from tests.e2e.folders import python, say, shell, steps
from tests.e2e.processes import Site, living, parent, process
from tests.e2e.server import Server
from tests.e2e.waiting import wait_until

# With a STEP, reports it, finishes the deployment, and then hangs together with a child. Both ignore SIGTERM and
# SIGINT.
HANGING = """
import json, os, signal, sys, urllib.request

with open(os.environ["DEPLOY_CONFIG_FILE"]) as file:
    config = json.load(file)

def ask(method, url, fields=None):
    headers = {"Authorization": "Bearer " + config["access_token"], "Content-Type": "application/json"}
    data = None if fields is None else json.dumps(fields).encode()
    urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method)).close()

step = config["context"]["env"].get("STEP")
if step is None:
    sys.exit()
ask("POST", config["steps_url"], {"name": "Only", "state": step, "error_message": "oh"})
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
ask("PUT", config["deployment_finish_url"])
child = os.fork()
if child:
    os.write(1, f"{os.getpid()}\\n{child}\\n".encode())
while True:
    signal.pause()
"""


def cancel(api: Api, deployment_id: int) -> dict[str, object]:
    return dict(answer(api.admin.post(f"/deployments/{deployment_id}/cancel")))


def test_a_queued_deployment_is_cancelled_immediately_and_never_runs(server: Server) -> None:
    api = server.api
    with server.puppet({"steps": steps("One", "Two")}) as (name, puppet), api.live() as live:
        first = api.start(name)
        puppet.config()
        waiting, last = api.start(name), api.start(name)
        live.subscribe(waiting["id"])
        cancelled = cancel(api, waiting["id"])
        assert (cancelled["state"], cancelled["started"]) == ("cancelled", None)
        assert cancelled["finished"] is not None
        assert cancelled["reason"] == "Cancelled by admin."
        live.wait_for_state(waiting["id"], "cancelled")
        notified = [(step["name"], step["state"], step["deleted"]) for step in live.of_type("step")]
        assert notified[-2:] == [("One", "pending", True), ("Two", "pending", True)]
        assert api.deployment(waiting["id"])["steps"] == []
        assert api.deployment(waiting["id"])["waiting"] is None
        assert api.deployment(last["id"])["waiting"] | {"reason": ""} == {
            "reason": "",
            "position": 1,
            "blocked_by": first["id"],
        }
        puppet.exit()
        puppet.exit()
        assert api.wait_until_final(last["id"])["state"] == "success"
        assert api.deployment(first["id"])["state"] == "success"
    after = api.deployment(waiting["id"])
    assert (after["state"], after["lines"], after["seq"]) == ("cancelled", 0, cancelled["seq"])


def test_cancel_kills_every_process_of_a_run(server: Server) -> None:
    api = server.api
    name = server.add_service(python(FAMILY), config={"steps": steps("First", "Second")})
    api.create_user(other := server.new_name("user"), "another password", is_admin=True)
    with api.live() as live:
        deployment_id = api.start(name)["id"]
        members = family(api, deployment_id)
        supervisor = living(parent(members["script"].pid))
        asked = cancel(api, deployment_id)
        assert (asked["state"], asked["cancel_requested"]) == ("running", "Cancelled by admin.")
        # A repeated cancel is harmless and does not change the user who canceled.
        again = api.client(api.sign_in(other, "another password")).post(f"/deployments/{deployment_id}/cancel")
        assert answer(again)["cancel_requested"] == "Cancelled by admin."
        found = api.wait_until_final(deployment_id)
        assert (found["state"], found["reason"]) == ("cancelled", "Cancelled by admin.")
        assert [kind for kind, member in members.items() if not member.is_dead()] == []
        assert [(step["name"], step["state"], step["message"]) for step in found["steps"]] == [
            ("First", "failure", "Cancelled by admin.")
        ]
        live.wait_for_state(deployment_id)
        notified = [(step["name"], step["deleted"]) for step in live.of_type("step")]
        assert notified[-1] == ("Second", True)
    wait_until(supervisor.is_dead, "the supervisor to exit")
    rejected = api.admin.post(f"/deployments/{deployment_id}/cancel")
    assert (rejected.status_code, "cancelled" in rejected.json()["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("step", "state"),
    [("success", "success"), pytest.param("failure", "failure", marks=pytest.mark.slow)],
)
def test_a_hanging_script_that_reported_a_result_can_be_cancelled(server: Server, step: str, state: str) -> None:
    api = server.api
    name = server.add_service(python(HANGING))
    first = api.start(name, {"STEP": step})["id"]
    assert api.wait_until_final(first)["state"] == state
    hanging = [living(int(pid)) for pid in wait_until(lambda: api.lines(first), "the script to hang")]
    second = api.start(name)["id"]
    assert api.deployment(second)["waiting"]["blocked_by"] == first
    notified = answer(api.admin.get("/queue/"))
    assert first in {one["id"] for one in notified["running"]}
    assert second in {one["id"] for one in notified["waiting"]}
    (worker,) = notified["workers"]
    assert first in worker["running"]
    assert [one for one in hanging if one.is_dead()] == []
    asked = cancel(api, first)
    assert (asked["state"], asked["cancel_requested"]) == (state, "Cancelled by admin.")
    assert api.wait_until_final(second)["state"] == "success"
    assert [one for one in hanging if not one.is_dead()] == []
    found = api.deployment(first)
    assert found["state"] == state
    assert found["reason"] == (None if state == "success" else "The step “Only” failed: oh")
    assert first not in {one["id"] for one in answer(api.admin.get("/queue/"))["running"]}
    rejected = api.admin.post(f"/deployments/{first}/cancel")
    assert (rejected.status_code, state in rejected.json()["detail"]) == (409, True)


@pytest.mark.parametrize(("script", "state"), [("true", "success"), ("exit 3", "failure")])
def test_a_finished_deployment_cannot_be_cancelled(server: Server, script: str, state: str) -> None:
    done = server.api.run(server.add_service(shell(say("Only") + script)))
    assert done["state"] == state
    rejected = server.api.admin.post(f"/deployments/{done['id']}/cancel")
    assert rejected.status_code == 409
    assert state in rejected.json()["detail"]
    assert server.api.deployment(done["id"]) == done


def test_cancel_works_at_any_moment_of_a_start(server: Server) -> None:
    api = server.api
    name = server.add_service(shell("exec sleep 600"), config={"concurrency": 10})

    def start_and_cancel(_: int) -> int:
        deployment_id = int(api.start(name)["id"])
        cancel(api, deployment_id)
        return deployment_id

    api.start(name)  # creates the token that all threads share
    with ThreadPoolExecutor(5) as pool:
        ids = list(pool.map(start_and_cancel, range(15)))
    for deployment_id in ids:
        assert api.wait_until_final(deployment_id)["state"] == "cancelled"
    (first,) = {deployment["id"] for deployment in api.service(name)["active_deployments"]}
    cancel(api, first)
    assert api.wait_until_final(first)["state"] == "cancelled"


def test_a_run_without_a_follower_is_cancelled_by_the_next_worker(site: Site) -> None:
    with site.worker() as worker:
        name = site.server.add_service(shell("echo $$; exec sleep 600"))
        deployment_id = site.api.start(name)["id"]
        (pid,) = wait_until(lambda: site.api.lines(deployment_id), "the run to start")
        script = living(int(pid))
        worker.kill()
        assert cancel(site.api, deployment_id)["state"] == "running"
        assert not script.is_dead()
        worker.start()
        found = site.api.wait_until_final(deployment_id)
        assert (found["state"], found["reason"]) == ("cancelled", "Cancelled by admin.")
        assert script.is_dead()
        assert site.api.lines(deployment_id) == [pid]


def test_a_run_that_exceeds_its_timeout_fails(server: Server) -> None:
    api = server.api
    name = server.add_service(
        shell(say("Slow", "running") + "echo $$; exec sleep 600"),
        config={"timeout": 0.5, "steps": steps("Slow", "Next")},
    )
    found = api.run(name)
    assert found["state"] == "failure"
    assert "timeout of 0.5 s" in found["reason"]
    assert [(step["name"], step["state"], step["message"]) for step in found["steps"]] == [
        ("Slow", "failure", found["reason"])
    ]
    (pid,) = api.lines(found["id"])
    assert process(int(pid)) is None
