"""The history of a service: the outcomes of its deployments, and changes since the last success."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.api import Api, answer
from tests.e2e.folders import shell
from tests.e2e.server import Server

# Does what its values specify: hang, fail, or succeed.
SCRIPT = shell("""
    grep -q '"hang"' "$DEPLOY_CONFIG_FILE" && exec sleep 600
    ! grep -q '"fail"' "$DEPLOY_CONFIG_FILE"
""")


def statistics(api: Api, service: str, **query: int) -> dict[str, Any]:
    return dict(answer(api.admin.get(f"/services/{api.service(service)['id']}/statistics", params=query)))


def changes(api: Api, deployment_id: int) -> dict[str, Any]:
    return dict(answer(api.admin.get(f"/deployments/{deployment_id}/changes")))


def change(name: str, kind: str, before: Any = None, after: Any = None) -> dict[str, Any]:
    return {"name": name, "kind": kind, "before": before, "after": after}


def test_a_service_without_deployments_has_no_statistics(server: Server) -> None:
    service = server.add_service(SCRIPT)
    assert statistics(server.api, service) == {"deployments": [], "success_rate": None, "median_seconds": None}


def test_the_success_rate_ignores_cancelled_deployments(server: Server) -> None:
    api, service = server.api, server.add_service(SCRIPT)
    ran = [api.run(service, {"DO": does})["id"] for does in ("well", "fail", "well")]
    hanging, waiting = api.start(service, {"DO": "hang"})["id"], api.start(service)["id"]
    api.wait_for_state(hanging, "running")
    for number in (waiting, hanging):
        assert api.admin.post(f"/deployments/{number}/cancel").is_success
    api.wait_until_final(hanging)
    sent = statistics(api, service)
    states = ["success", "failure", "success", "cancelled", "cancelled"]
    assert [(one["id"], one["state"]) for one in sent["deployments"]] == list(
        zip([*ran, hanging, waiting], states, strict=True)
    )
    assert sent["success_rate"] == pytest.approx(2 / 3)
    assert sent["median_seconds"] > 0
    never_started = sent["deployments"][-1]
    assert (never_started["started"], never_started["seconds"]) == (None, None)
    assert all(one["seconds"] >= 0 and one["finished"] for one in sent["deployments"][:-1])
    latest = statistics(api, service, limit=2)
    assert [one["id"] for one in latest["deployments"]] == [hanging, waiting]
    assert (latest["success_rate"], latest["median_seconds"]) == (None, None)


@pytest.mark.parametrize("limit", [0, 501])
def test_statistics_have_a_limit(server: Server, limit: int) -> None:
    service_id = server.api.service(server.add_service(SCRIPT))["id"]
    path = f"/services/{service_id}/statistics"
    assert server.api.admin.get(path, params={"limit": limit}).status_code == 422


def test_without_a_success_there_are_no_changes(server: Server) -> None:
    api, service = server.api, server.add_service(SCRIPT)
    nothing: dict[str, Any] = {"since": None, "env": [], "config": [], "files": [], "unknown": []}
    assert changes(api, api.run(service, {"DO": "fail"})["id"]) == nothing
    assert changes(api, api.run(service)["id"]) == nothing


def test_changes_since_the_last_success_are_listed(server: Server) -> None:
    api = server.api
    config = {"timeout": 60, "steps": [{"name": "One"}]}
    service = server.add_service(SCRIPT, config=config, files={"tasks/web.yml": "1", "old.txt": ""})
    good = api.run(service, {"TAG": "v1", "LEVEL": 1, "GONE": None})
    server.add_service(
        SCRIPT,
        name=service,
        config={"timeout": 90, "steps": [{"name": "Two"}], "description": "Ours"},
        files={"tasks/web.yml": "2", "new.txt": ""},
    )
    (server.services_dir / service / "old.txt").unlink()
    failed = api.run(service, {"TAG": "v2", "LEVEL": 1, "DO": "fail"})
    sent = changes(api, failed["id"])
    assert (sent["since"]["id"], sent["since"]["state"]) == (good["id"], "success")
    assert sent["env"] == [
        change("DO", "added", None, "fail"),
        change("GONE", "removed"),
        change("TAG", "changed", "v1", "v2"),
    ]
    assert sent["config"] == [
        change("description", "added", None, "Ours"),
        change("steps.0.name", "changed", "One", "Two"),
        change("timeout", "changed", 60, 90),
    ]
    assert sent["files"] == [
        change("config.json", "changed"),
        change("new.txt", "added"),
        change("old.txt", "removed"),
        change("tasks/web.yml", "changed"),
    ]
    again = api.run(service, {"TAG": "v2", "LEVEL": 1})
    assert changes(api, again["id"])["since"]["id"] == good["id"]
    assert changes(api, api.run(service, {"TAG": "v2", "LEVEL": 1})["id"]) == {
        "since": {**sent["since"], **{name: again[name] for name in sent["since"]}},
        "env": [],
        "config": [],
        "files": [],
        "unknown": [],
    }


def test_missing_services_and_deployments_have_no_history(api: Api) -> None:
    assert api.admin.get("/services/987654321/statistics").json() == {"detail": "Service not found"}
    assert api.admin.get("/deployments/987654321/changes").json() == {"detail": "Deployment not found"}
