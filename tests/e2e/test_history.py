"""The past of a service: how its deployments went, and what has changed since the last good one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.api import Api, answer
from tests.e2e.folders import shell
from tests.e2e.server import Server

# Does what its settings say: it hangs, it fails, or it ends well.
OBEDIENT = shell("""
    grep -q '"hang"' "$DEPLOY_CONFIG_FILE" && exec sleep 600
    ! grep -q '"fail"' "$DEPLOY_CONFIG_FILE"
""")


def statistics(api: Api, service: str, **query: int) -> dict[str, Any]:
    return dict(answer(api.admin.get(f"/services/{api.service(service)['id']}/statistics", params=query)))


def changes(api: Api, deployment_id: int) -> dict[str, Any]:
    return dict(answer(api.admin.get(f"/deployments/{deployment_id}/changes")))


def change(name: str, kind: str, before: Any = None, after: Any = None) -> dict[str, Any]:
    return {"name": name, "kind": kind, "before": before, "after": after}


def test_a_service_that_was_never_deployed_has_no_statistics(server: Server) -> None:
    service = server.add_service(OBEDIENT)
    assert statistics(server.api, service) == {"deployments": [], "success_rate": None, "median_seconds": None}


def test_the_rate_leaves_out_what_was_cancelled(server: Server) -> None:
    api, service = server.api, server.add_service(OBEDIENT)
    ran = [api.run(service, {"DO": does})["id"] for does in ("well", "fail", "well")]
    hanging, waiting = api.start(service, {"DO": "hang"})["id"], api.start(service)["id"]
    api.wait_for_state(hanging, "running")
    for number in (waiting, hanging):
        assert api.admin.post(f"/deployments/{number}/cancel").is_success
    api.wait_until_final(hanging)
    told = statistics(api, service)
    states = ["success", "failure", "success", "cancelled", "cancelled"]
    assert [(one["id"], one["state"]) for one in told["deployments"]] == list(
        zip([*ran, hanging, waiting], states, strict=True)
    )
    assert told["success_rate"] == pytest.approx(2 / 3)
    assert told["median_seconds"] > 0
    never_started = told["deployments"][-1]
    assert (never_started["started"], never_started["seconds"]) == (None, None)
    assert all(one["seconds"] >= 0 and one["finished"] for one in told["deployments"][:-1])
    latest = statistics(api, service, limit=2)
    assert [one["id"] for one in latest["deployments"]] == [hanging, waiting]
    assert (latest["success_rate"], latest["median_seconds"]) == (None, None)


@pytest.mark.parametrize("limit", [0, 501])
def test_statistics_have_a_limit(server: Server, limit: int) -> None:
    service_id = server.api.service(server.add_service(OBEDIENT))["id"]
    path = f"/services/{service_id}/statistics"
    assert server.api.admin.get(path, params={"limit": limit}).status_code == 422


def test_nothing_has_changed_since_there_was_no_success(server: Server) -> None:
    api, service = server.api, server.add_service(OBEDIENT)
    nothing: dict[str, Any] = {"since": None, "env": [], "config": [], "files": [], "unknown": []}
    assert changes(api, api.run(service, {"DO": "fail"})["id"]) == nothing
    assert changes(api, api.run(service)["id"]) == nothing


def test_what_has_changed_since_the_last_success(server: Server) -> None:
    api = server.api
    config = {"timeout": 60, "steps": [{"name": "One"}]}
    service = server.add_service(OBEDIENT, config=config, files={"tasks/web.yml": "1", "old.txt": ""})
    good = api.run(service, {"TAG": "v1", "LEVEL": 1, "GONE": None})
    server.add_service(
        OBEDIENT,
        name=service,
        config={"timeout": 90, "steps": [{"name": "Two"}], "description": "Ours"},
        files={"tasks/web.yml": "2", "new.txt": ""},
    )
    (server.services_dir / service / "old.txt").unlink()
    failed = api.run(service, {"TAG": "v2", "LEVEL": 1, "DO": "fail"})
    told = changes(api, failed["id"])
    assert (told["since"]["id"], told["since"]["state"]) == (good["id"], "success")
    assert told["env"] == [
        change("DO", "added", None, "fail"),
        change("GONE", "removed"),
        change("TAG", "changed", "v1", "v2"),
    ]
    assert told["config"] == [
        change("description", "added", None, "Ours"),
        change("steps.0.name", "changed", "One", "Two"),
        change("timeout", "changed", 60, 90),
    ]
    assert told["files"] == [
        change("config.json", "changed"),
        change("new.txt", "added"),
        change("old.txt", "removed"),
        change("tasks/web.yml", "changed"),
    ]
    again = api.run(service, {"TAG": "v2", "LEVEL": 1})
    assert changes(api, again["id"])["since"]["id"] == good["id"]
    assert changes(api, api.run(service, {"TAG": "v2", "LEVEL": 1})["id"]) == {
        "since": {**told["since"], **{name: again[name] for name in told["since"]}},
        "env": [],
        "config": [],
        "files": [],
        "unknown": [],
    }


def test_what_is_not_there_has_no_past(api: Api) -> None:
    assert api.admin.get("/services/987654321/statistics").json() == {"detail": "Service not found"}
    assert api.admin.get("/deployments/987654321/changes").json() == {"detail": "Deployment not found"}
