"""Contract, deploy scripts: how their steps change, and how they end."""

from pathlib import Path

import pytest

from tests.e2e.api import Api, answer
from tests.e2e.folders import python, report, say, shell, steps
from tests.e2e.server import Server
from tests.e2e.waiting import wait_until

DONE_AND_BROKEN = """
import json, os, urllib.request
config = json.load(open(os.environ["DEPLOY_CONFIG_FILE"]))
headers = {"Authorization": "Bearer " + config["access_token"]}
urllib.request.urlopen(urllib.request.Request(config["deployment_finish_url"], headers=headers, method="PUT"))
raise SystemExit(5)
"""


# How steps change


@pytest.mark.parametrize(
    ("planned", "reports", "remaining"),
    [
        # Pending, then running, then done; the next one starts automatically.
        (
            ["A", "B"],
            [("A", "running"), ("A", "success")],
            [("A", "success"), ("B", "running")],
        ),
        # A running step is updated. There is no second step with its name.
        (["A", "B"], [("A", "running"), ("A", "running")], [("A", "running"), ("B", "pending")]),
        # An unknown step is appended.
        (["A"], [("New", "success")], [("New", "success"), ("A", "pending")]),
        # A failed step does not start the next one.
        (
            ["A", "B"],
            [("A", "running"), ("A", "failure")],
            [("A", "failure"), ("B", "pending")],
        ),
        # Each finished step starts the next one.
        (
            ["A", "B", "C"],
            [("A", "running"), ("A", "success"), ("B", "success")],
            [("A", "success"), ("B", "success"), ("C", "running")],
        ),
        # Reporting a finished step again adds a new one.
        (["A"], [("A", "success"), ("A", "success")], [("A", "success"), ("A", "success")]),
    ],
)
def test_reports_change_steps(
    server: Server, api: Api, planned: list[str], reports: list[tuple[str, str]], remaining: list[tuple[str, str]]
) -> None:
    with server.puppet({"steps": steps(*planned)}) as (name, puppet), api.live() as live:
        started = api.start(name)
        puppet.print(*(report(step, state) for step, state in reports), "that is all")
        live.subscribe(started["id"])
        live.wait_for(lambda message: message["type"] == "output")
        found = [(step["name"], step["state"]) for step in api.steps(started["id"])]
        assert found == remaining
        puppet.exit()
        live.wait_for_state(started["id"])
        open_steps = [step for step in remaining if step[1] in {"pending", "running"}]
        deleted = [message for message in live.of_type("step") if message["deleted"]]
        assert sorted((message["name"], message["state"]) for message in deleted) == sorted(open_steps)
    assert [(step["name"], step["state"]) for step in api.steps(started["id"])] == [
        step for step in remaining if step not in open_steps
    ]


# How scripts end


@pytest.mark.parametrize(
    ("script", "state", "exit_code"),
    [
        ("exit 0", "success", 0),
        ("exit 1", "failure", 1),
        ("exit 42", "failure", 42),
        (say("A"), "success", 0),
        (say("A", "failure"), "failure", 0),
        (say("A", "failure") + say("B"), "failure", 0),
        (say("A") + "exit 3", "failure", 3),
        (say("A", "running") + "kill -9 $$", "failure", None),
    ],
)
def test_exit_code_and_steps_decide_the_outcome(
    server: Server, api: Api, script: str, state: str, exit_code: int | None
) -> None:
    done = api.run(server.add_service(shell(script)))
    assert (done["state"], done["exit_code"]) == (state, exit_code)
    assert bool(done["reason"]) == (state == "failure")
    failed = [step for step in done["steps"] if step["state"] == "failure"]
    assert bool(failed) == (state == "failure")


def test_a_script_that_dies_fails_its_running_step(server: Server, api: Api) -> None:
    script = shell(say("A") + say("B", "running") + "exit 7")
    done = api.run(server.add_service(script, config={"steps": steps("A", "B", "C")}))
    assert [(step["name"], step["state"]) for step in done["steps"]] == [("A", "success"), ("B", "failure")]
    assert "7" in done["steps"][1]["message"]
    assert done["steps"][1]["message"] == done["reason"]


@pytest.mark.parametrize("content", ["#!/nowhere/at/all\n", "\x7fELF nonsense", "#!/bin/sh\n"])
def test_a_script_that_cannot_be_started_reports_why(server: Server, api: Api, content: str) -> None:
    name = server.add_service(content)
    if content == "#!/bin/sh\n":
        (server.services_dir / name / "deploy.sh").chmod(0o644)
    done = api.run(name)
    assert done["state"] == "failure"
    (step,) = done["steps"]
    assert step["state"] == "failure"
    assert "deploy.sh" in step["message"]


def test_a_script_removed_since_the_sync_reports_why(server: Server, api: Api) -> None:
    name = server.add_service(shell("true"))
    (server.services_dir / name / "deploy.sh").unlink()
    done = api.run(name)
    assert done["state"] == "failure"
    assert [step["state"] for step in done["steps"]] == ["failure"]
    assert done["steps"][0]["message"]


def test_a_script_that_fails_after_it_finished_the_deployment_has_failed(server: Server, api: Api) -> None:
    done = api.run(server.add_service(python(DONE_AND_BROKEN)))
    failed = wait_until(lambda: api.wait_for_state(done["id"], "failure"), "the failure")
    assert failed["exit_code"] == 5
    assert "5" in failed["reason"]


def test_a_script_that_exceeds_its_timeout_is_stopped(server: Server, api: Api) -> None:
    name = server.add_service(shell(say("A", "running") + "sleep 600"), config={"timeout": 0.5})
    done = api.run(name)
    assert done["state"] == "failure"
    assert [(step["name"], step["state"]) for step in done["steps"]] == [("A", "failure")]
    assert "0.5" in done["reason"] or "time" in done["reason"].lower()


def test_cancel_kills_all_processes(server: Server, api: Api) -> None:
    script = shell("sleep 600 & echo $!; echo $$; wait")
    name = server.add_service(script)
    started, waiting = api.start(name), api.start(name)
    pids = wait_until(lambda: lines if len(lines := api.lines(started["id"])) == 2 else None, "both processes")
    assert pids is not None
    for deployment in (waiting, started):
        assert api.admin.post(f"/deployments/{deployment['id']}/cancel").is_success
        done = api.wait_until_final(deployment["id"])
        assert (done["state"], done["reason"]) == ("cancelled", f"Cancelled by {api.user}.")
        assert api.admin.post(f"/deployments/{deployment['id']}/cancel").status_code == 409
    wait_until(lambda: not any(Path("/proc", pid).exists() for pid in pids), "the processes to exit")
    again = answer(api.admin.post(f"/deployments/{started['id']}/retry"))
    assert (again["retry_of"], again["context"]) == (started["id"], started["context"])
    assert api.admin.post(f"/deployments/{again['id']}/cancel").is_success
    api.wait_until_final(again["id"])
