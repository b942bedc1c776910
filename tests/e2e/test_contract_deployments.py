"""Contract, HTTP: deployments, their steps, and the deployed services."""

import json
from typing import Any

import httpx2
import pytest

from tests.e2e.api import Api, answer
from tests.e2e.folders import Puppet, report, say, shell, steps
from tests.e2e.server import USER, Server
from tests.e2e.waiting import wait_until

DEPLOYMENT = {"id", "service_id", "origin", "user", "started", "finished", "context"}
STEP = {"id", "deployment_id", "name", "state", "started", "finished", "message"}


@pytest.fixture(scope="module")
def service(server: Server) -> str:
    """Add a service that succeeds with one step."""
    return server.add_service(shell(say("Build")), config={"description": "Quick", "steps": steps("Build")})


@pytest.fixture(scope="module")
def finished_deployment(server: Server, service: str) -> dict[str, Any]:
    """Return a finished deployment of the service."""
    return server.api.run(service, {"BRANCH": "main"})


def check_error(response: httpx2.Response, status: int, detail: str) -> None:
    assert (response.status_code, response.json()) == (status, {"detail": detail})


def test_a_service_token_starts_a_deployment(api: Api, service: str) -> None:
    token = api.service_token(service, origin="GitHub")
    started = answer(api.client(token).post("/deployments/", json={"env": {"TAG": "v1", "n": [1, {"a": None}]}}))
    assert set(started) >= DEPLOYMENT | {"state", "details"}
    assert (started["origin"], started["user"]) == ("GitHub", USER)
    assert started["service_id"] == api.service(service)["id"]
    assert started["context"] == {"env": {"TAG": "v1", "n": [1, {"a": None}]}}
    assert started["details"] == f"{api.base_url}/deployments/{started['id']}"
    assert answer(api.client(token).get(started["details"]))["id"] == started["id"]
    assert api.wait_until_final(started["id"])["state"] == "success"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"env": {}}'])
def test_a_deployment_does_not_need_a_context(api: Api, service: str, body: bytes) -> None:
    client = api.client(api.service_token(service))
    headers = {"Content-Type": "application/json"} if body else {}
    started = answer(client.post("/deployments/", content=body, headers=headers))
    assert started["context"] == {"env": {}}
    assert api.wait_until_final(started["id"])["state"] == "success"


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b'{"env": []}', b'{"env": "a=b"}', b'{"env": null}', b"\xff"])
def test_an_invalid_context_is_rejected(api: Api, service: str, body: bytes) -> None:
    client = api.client(api.service_token(service))
    response = client.post("/deployments/", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert response.json()["detail"]


def test_a_deployment_is_read_with_a_user_token_or_its_service_token(
    api: Api, service: str, finished_deployment: dict[str, Any]
) -> None:
    for token in (api.token, api.service_token(service)):
        found = answer(api.client(token).get(f"/deployments/{finished_deployment['id']}"))
        assert set(found) >= DEPLOYMENT | {"state", "steps"}
        assert [(step["name"], step["state"]) for step in found["steps"]] == [("Build", "success")]
        assert set(found["steps"][0]) >= STEP


def test_an_unchanged_deployment_is_not_sent_again(api: Api, finished_deployment: dict[str, Any]) -> None:
    first = api.client(api.token).get(f"/deployments/{finished_deployment['id']}")
    tag = first.headers["ETag"]
    for asked in (tag, f"W/{tag}", f'"other", {tag}'):
        again = api.client(api.token).get(
            f"/deployments/{finished_deployment['id']}", headers={"If-None-Match": asked}
        )
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    other = api.client(api.token).get(f"/deployments/{finished_deployment['id']}", headers={"If-None-Match": '"0"'})
    assert (other.status_code, other.json()) == (200, first.json())


def test_a_service_token_cannot_read_deployments_of_other_services(
    server: Server, api: Api, finished_deployment: dict[str, Any]
) -> None:
    token = api.service_token(server.add_service(shell("true")))
    check_error(api.client(token).get(f"/deployments/{finished_deployment['id']}"), 403, "Wrong service token")


def test_a_missing_deployment_is_not_found(api: Api, service: str) -> None:
    for token in (api.token, api.service_token(service)):
        check_error(api.client(token).get("/deployments/987654321"), 404, "Deployment not found")


def test_the_script_reports_steps_and_finishes(api: Api, held: tuple[dict[str, Any], Puppet]) -> None:
    started, puppet = held
    client = api.client(puppet.config()["access_token"])
    times = {"started": "2026-01-02T03:04:05+00:00", "finished": "2026-01-02T05:04:06+01:00"}
    body = {"name": "One", "state": "success", "message": "fine", **times}
    assert answer(client.post("/steps/", json=body)) == {"detail": "step processed"}
    first = api.steps(started["id"])[0]
    assert set(first) >= STEP
    assert (first["deployment_id"], first["name"], first["state"]) == (started["id"], "One", "success")
    assert (first["message"], first["started"]) == ("fine", "2026-01-02T03:04:05Z")
    assert first["finished"] == "2026-01-02T04:04:06Z"
    said = answer(client.put("/deployments/finish/"))
    assert said == {"detail": f"Deployment {started['id']} finished"}
    assert api.deployment(started["id"])["state"] == "success"
    assert api.deployment(started["id"])["finished"].endswith("Z")


def test_a_report_means_the_same_over_http_and_on_stdout(api: Api, held: tuple[dict[str, Any], Puppet]) -> None:
    started, puppet = held
    client = api.client(puppet.config()["access_token"])
    objects: list[dict[str, Any]] = [
        {"state": "ok"},
        {"state": "Changed", "message": "m", "error_message": "e"},
        {"state": "SUCCESS", "duration": 1.2, "nested": {"a": [None, "ü\x00", 10**30]}, "model_extra": {}, "self": 1},
        {"state": "skipped", "message": "", "error_message": {"code": 3}},
        {"state": "failed", "error_message": "the reason"},
        {"state": "Unreachable", "error_message": "x" * 70_000},
    ]
    for number, sent in enumerate(objects):
        puppet.print(json.dumps({"name": f"out {number}", **sent}))
        assert answer(client.post("/steps/", json={"name": f"http {number}", **sent})) == {"detail": "step processed"}
    odd = r'{"name": "%s", "state": "ok", "took": NaN, "more": [-Infinity, 1e999], "half": ["\udfff", {"\ud800": 1}]}'
    puppet.print(odd % "out odd")
    headers = {"Content-Type": "application/json"}
    assert answer(client.post("/steps/", content=odd % "http odd", headers=headers)) == {"detail": "step processed"}

    def found(way: str) -> dict[str, Any]:
        alike = ("state", "message", "detail")
        ours = [step for step in api.steps(started["id"]) if step["name"].startswith(way)]
        return {step["name"].removeprefix(way): [step[field] for field in alike] for step in ours}

    wait_until(lambda: len(found("out ")) == len(objects) + 1, "the printed steps")
    assert found("http ") == found("out ")
    assert found("http ")["4"] == ["failure", "the reason", {"error_message": "the reason"}]
    assert found("http ")["2"][2]["duration"] == 1.2
    assert found("http ")["odd"][2] == {"took": None, "more": [None, None], "half": ["?", {"?": 1}]}


@pytest.mark.parametrize("levels", [50, 900, 50_000, 400_000])
def test_a_step_that_is_nested_too_deeply_is_invalid(
    api: Api, held: tuple[dict[str, Any], Puppet], levels: int
) -> None:
    client = api.client(held[1].config()["access_token"])
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        text = '{"name": "Deep", "x": ' + opening * levels + "1" + closing * levels + "}"
        response = client.post("/steps/", content=text, headers={"Content-Type": "application/json"})
        assert response.status_code == (422 if len(text) < 2**20 else 413)
    assert "Deep" not in {step["name"] for step in api.steps(held[0]["id"])}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"state": "success"},
        {"name": ""},
        {"name": "x", "state": "odd"},
        {"name": "x", "started": "soon"},
        {"name": "x" * 501},
        {"name": 1},
        {"name": "x", "state": None},
        {"name": "x", "message": 1},
        {"name": "x", "message": "y" * 65_537},
    ],
)
def test_an_invalid_step_is_rejected(api: Api, held: tuple[dict[str, Any], Puppet], body: dict[str, Any]) -> None:
    response = api.client(held[1].config()["access_token"]).post("/steps/", json=body)
    assert response.status_code == 422


def test_steps_are_listed_in_execution_order(server: Server, api: Api) -> None:
    script = shell(say("Second", "running") + say("Second") + say("First") + say("Extra"))
    name = server.add_service(script, config={"steps": steps("First", "Second")})
    finished_deployment = api.run(name)
    assert [step["name"] for step in api.steps(finished_deployment["id"])] == ["Second", "First", "Extra"]
    assert [step["name"] for step in finished_deployment["steps"]] == ["Second", "First", "Extra"]


@pytest.mark.parametrize("query", ["", "?deployment_id=x", "?deployment_id=0", "?deployment_id=99999999999999999999"])
def test_listing_steps_requires_a_valid_deployment_id(api: Api, query: str) -> None:
    assert api.admin.get(f"/steps/{query}").status_code == 422


# Service discovery


def test_a_config_token_from_the_command_line_reads_deployed_services(
    server: Server, service: str, finished_deployment: dict[str, Any]
) -> None:
    made = server.cli("token", "config", "--days", "3")
    assert made.returncode == 0, made.stderr
    deployed = answer(server.api.client(made.stdout.strip()).get("/deployed-services/"))
    assert all(set(entry) >= {"id", "deployment_id", "config"} for entry in deployed)
    mine = next(entry for entry in deployed if entry["config"].get("service") == service)
    assert isinstance(mine["id"], int)


def test_deployed_services_come_from_the_last_success(server: Server, api: Api) -> None:
    script = shell('grep -q \'"fail": true\' "$DEPLOY_CONFIG_FILE" && exit 1; exit 0')
    name = server.add_service(script)
    token = api.config_token()
    success = api.run(name, {"host": "a.example.org"})
    assert api.run(name, {"fail": True})["state"] == "failure"
    deployed = answer(api.client(token).get("/deployed-services/"))
    mine = [entry for entry in deployed if entry["config"].get("service") == name]
    assert [(entry["deployment_id"], entry["config"]["env"]) for entry in mine] == [
        (success["id"], {"host": "a.example.org"})
    ]


def test_reports_of_a_running_deployment_are_visible_immediately(
    api: Api, held: tuple[dict[str, Any], Puppet]
) -> None:
    started, puppet = held
    puppet.print(report("One", "running"))
    with api.live() as live:
        live.subscribe(started["id"])
        live.wait_for(lambda message: message["type"] == "step" and message["state"] == "running")
    assert [(step["name"], step["state"]) for step in api.steps(started["id"])] == [
        ("One", "running"),
        ("Two", "pending"),
    ]
