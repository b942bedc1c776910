"""Contract, HTTP: every row of the table, and every sentence around it."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.e2e.api import Api, answer
from tests.e2e.folders import Puppet, report, say, shell, steps
from tests.e2e.server import PASSWORD, USER, Server

DEPLOYMENT = {"id", "service_id", "origin", "user", "started", "finished", "context"}
STEP = {"id", "deployment_id", "name", "state", "started", "finished", "message"}
CALLS = [
    ("GET", "/users/me"),
    ("POST", "/service-token"),
    ("GET", "/services/"),
    ("GET", "/services/names/"),
    ("POST", "/services/sync"),
    ("DELETE", "/services/987654321"),
    ("POST", "/deployments/"),
    ("GET", "/deployments/"),
    ("GET", "/deployments/987654321"),
    ("PUT", "/deployments/finish/"),
    ("POST", "/steps/"),
    ("GET", "/steps/"),
    ("GET", "/deployed-services/"),
]
OPEN_CALLS = [("POST", "/token"), ("GET", "/health/live"), ("GET", "/health/ready")]


@pytest.fixture(scope="module")
def service(server: Server) -> str:
    """A service that succeeds with one step."""
    return server.add_service(shell(say("Build")), config={"description": "Quick", "steps": steps("Build")})


@pytest.fixture(scope="module")
def done(server: Server, service: str) -> dict[str, Any]:
    """A deployment of it that is over."""
    return server.api.run(service, {"BRANCH": "main"})


@pytest.fixture
def held(server: Server) -> Iterator[tuple[dict[str, Any], Puppet]]:
    """A deployment that runs until it is told to end."""
    with server.puppet({"steps": steps("One", "Two")}) as (name, puppet):
        started = server.api.start(name)
        puppet.config()
        yield started, puppet
        puppet.exit()
        server.api.wait_until_final(started["id"])


def other_spelling(path: str) -> str:
    return path[:-1] if path.endswith("/") else f"{path}/"


def refused(response: httpx2.Response, status: int, detail: str) -> None:
    assert (response.status_code, response.json()) == (status, {"detail": detail})


# Errors and spellings


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_without_a_token_nobody_is_signed_in(api: Api, method: str, path: str) -> None:
    response = api.anonymous.request(method, path)
    refused(response, 401, "Not authenticated")
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_a_bad_token_is_not_valid(api: Api, method: str, path: str) -> None:
    response = api.client("nonsense").request(method, path)
    refused(response, 401, "Could not validate credentials")
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path"), [*CALLS, *OPEN_CALLS])
def test_each_path_answers_with_and_without_its_trailing_slash(api: Api, method: str, path: str) -> None:
    spellings = (path, other_spelling(path))
    assert {api.anonymous.request(method, spelling).status_code for spelling in spellings} in ({401}, {422}, {200})
    if (method, path) in CALLS and path != "/services/sync":
        with_token = {api.admin.request(method, spelling).status_code for spelling in spellings}
        assert len(with_token) == 1
        assert with_token.isdisjoint({301, 302, 303, 307, 308, 405})


@pytest.mark.parametrize("scheme", ["Basic", "Token", ""])
def test_another_scheme_than_bearer_is_no_token(api: Api, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {api.token}".strip()}
    refused(api.anonymous.get("/users/me", headers=headers), 401, "Not authenticated")


# Signing in


def test_name_and_password_make_a_user_token(api: Api) -> None:
    signed_in = answer(api.anonymous.post("/token", data={"username": USER, "password": PASSWORD}))
    assert set(signed_in) == {"access_token", "token_type"}
    assert signed_in["token_type"] == "bearer"
    assert answer(api.client(signed_in["access_token"]).get("/users/me"))["name"] == USER


@pytest.mark.parametrize(("name", "password"), [(USER, "wrong"), ("nobody", PASSWORD), (USER, " ")])
def test_a_wrong_password_and_a_wrong_name_get_the_same_answer(api: Api, name: str, password: str) -> None:
    response = api.anonymous.post("/token", data={"username": name, "password": password})
    refused(response, 401, "Incorrect username or password")
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("form", [{}, {"username": USER}, {"password": PASSWORD}, {"grant_type": "implicit"}])
def test_an_incomplete_form_is_invalid(api: Api, form: dict[str, str]) -> None:
    response = api.anonymous.post("/token", data=form)
    assert response.status_code == 422
    assert response.json()["detail"]


def test_a_user_sees_himself_without_his_password(api: Api) -> None:
    response = api.admin.get("/users/me")
    me = answer(response)
    assert isinstance(me["id"], int)
    assert me["name"] == USER
    assert "password" not in response.text
    assert "argon2" not in response.text


# Services


def test_services_are_listed_with_their_config(server: Server, api: Api) -> None:
    config = {"description": "Ünïcode", "deploy_script": "go.sh", "steps": steps("A"), "own": {"key": [1, None]}}
    name = server.add_service(files={"go.sh": shell("true")}, config=config)
    found = api.service(name)
    assert isinstance(found["id"], int)
    assert found["name"] == name
    assert {key: found["data"][key] for key in config} == config


def test_names_are_those_of_the_folders(server: Server, api: Api) -> None:
    name = server.new_name("unsynced")
    folder = server.services_dir / name
    folder.mkdir()
    try:
        names = answer(api.admin.get("/services/names/"))
        assert names == sorted(path.name for path in server.services_dir.iterdir() if path.is_dir())
        assert name in names
    finally:
        folder.rmdir()


def test_sync_brings_folders_into_the_database(server: Server, api: Api) -> None:
    server.add_service(shell("true"))
    assert answer(api.admin.post("/services/sync"))["detail"] == "Services synced"


def test_a_deleted_service_is_gone(server: Server, api: Api) -> None:
    name = server.add_service(shell("true"))
    found, token = api.service(name), api.service_token(name)
    assert answer(api.admin.delete(f"/services/{found['id']}")) == {"detail": f"Service {found['id']} deleted"}
    assert api.admin.delete(f"/services/{found['id']}").status_code == 404
    assert name not in [service["name"] for service in answer(api.admin.get("/services/"))]
    assert api.client(token).post("/deployments/").status_code in {401, 404}


@pytest.mark.parametrize("number", [987654321, 2**63 - 1])
def test_a_service_that_is_not_there_cannot_be_deleted(api: Api, number: int) -> None:
    refused(api.admin.delete(f"/services/{number}"), 404, "Service not found")


# Service tokens


@pytest.mark.parametrize(("days", "lifetime"), [(None, 1), (1, 1), (180, 180)])
def test_a_service_token_lives_as_many_days_as_asked(api: Api, service: str, days: int | None, lifetime: int) -> None:
    body = {"service": service, "origin": "ci"} | ({} if days is None else {"expiration_in_days": days})
    made = answer(api.admin.post("/service-token", json=body))
    assert set(made) == {"service_token", "token_type"}
    assert made["token_type"] == "bearer"
    payload = made["service_token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["exp"] - claims["iat"] == lifetime * 86_400


@pytest.mark.parametrize(
    "body",
    [
        {"expiration_in_days": 0},
        {"expiration_in_days": 181},
        {"expiration_in_days": -1},
        {"expiration_in_days": "many"},
        {"origin": None},
        {"origin": 5},
        {"service": None},
        {"service": ["a"]},
    ],
)
def test_an_impossible_service_token_is_invalid(api: Api, service: str, body: dict[str, Any]) -> None:
    wanted = {"service": service, "origin": "ci", **body}
    response = api.admin.post("/service-token", json={key: value for key, value in wanted.items() if value})
    assert response.status_code == 422 or (body == {"expiration_in_days": 0} and response.is_success)
    response = api.admin.post("/service-token", json=wanted)
    assert response.status_code == 422
    assert response.json()["detail"]


def test_there_is_no_token_for_a_service_that_does_not_exist(api: Api) -> None:
    refused(api.admin.post("/service-token", json={"service": "nope", "origin": "ci"}), 404, "Service not found")


# Deployments


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
def test_a_deployment_needs_no_context(api: Api, service: str, body: bytes) -> None:
    client = api.client(api.service_token(service))
    headers = {"Content-Type": "application/json"} if body else {}
    started = answer(client.post("/deployments/", content=body, headers=headers))
    assert started["context"] == {"env": {}}
    assert api.wait_until_final(started["id"])["state"] == "success"


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b'{"env": []}', b'{"env": "a=b"}', b'{"env": null}', b"\xff"])
def test_a_deployment_with_an_impossible_context_is_invalid(api: Api, service: str, body: bytes) -> None:
    client = api.client(api.service_token(service))
    response = client.post("/deployments/", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert response.json()["detail"]


def test_a_deployment_is_read_by_a_user_and_by_its_service(api: Api, service: str, done: dict[str, Any]) -> None:
    for token in (api.token, api.service_token(service)):
        found = answer(api.client(token).get(f"/deployments/{done['id']}"))
        assert set(found) >= DEPLOYMENT | {"state", "steps"}
        assert [(step["name"], step["state"]) for step in found["steps"]] == [("Build", "success")]
        assert set(found["steps"][0]) >= STEP


def test_a_deployment_of_another_service_is_none_of_its_business(
    server: Server, api: Api, done: dict[str, Any]
) -> None:
    token = api.service_token(server.add_service(shell("true")))
    refused(api.client(token).get(f"/deployments/{done['id']}"), 403, "Wrong service token")


def test_a_deployment_that_does_not_exist_is_not_found(api: Api, service: str) -> None:
    for token in (api.token, api.service_token(service)):
        refused(api.client(token).get("/deployments/987654321"), 404, "Deployment not found")


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


@pytest.mark.parametrize(
    "body",
    [{}, {"state": "success"}, {"name": ""}, {"name": "x", "state": "odd"}, {"name": "x", "started": "soon"}],
)
def test_an_impossible_step_is_invalid(api: Api, held: tuple[dict[str, Any], Puppet], body: dict[str, Any]) -> None:
    response = api.client(held[1].config()["access_token"]).post("/steps/", json=body)
    assert response.status_code == 422


def test_steps_come_in_the_order_of_their_execution(server: Server, api: Api) -> None:
    script = shell(say("Second", "running") + say("Second") + say("First") + say("Extra"))
    name = server.add_service(script, config={"steps": steps("First", "Second")})
    done = api.run(name)
    assert [step["name"] for step in api.steps(done["id"])] == ["Second", "First", "Extra"]
    assert [step["name"] for step in done["steps"]] == ["Second", "First", "Extra"]


@pytest.mark.parametrize("query", ["", "?deployment_id=x", "?deployment_id=0", "?deployment_id=99999999999999999999"])
def test_the_steps_of_which_deployment(api: Api, query: str) -> None:
    assert api.admin.get(f"/steps/{query}").status_code == 422


# Operations


def test_a_config_token_from_the_command_line_reads_the_deployed_services(
    server: Server, service: str, done: dict[str, Any]
) -> None:
    made = server.cli("token", "config", "--days", "3")
    assert made.returncode == 0, made.stderr
    deployed = answer(server.api.client(made.stdout.strip()).get("/deployed-services/"))
    assert all(set(entry) >= {"id", "deployment_id", "config"} for entry in deployed)
    mine = next(entry for entry in deployed if entry["config"].get("service") == service)
    assert isinstance(mine["id"], int)


def test_what_is_discovered_is_the_last_success(server: Server, api: Api) -> None:
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


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_everybody_may_ask_for_health(api: Api, path: str) -> None:
    assert api.anonymous.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/", "/ui/", "/docs", "/openapi.json"])
def test_the_page_and_the_documents_are_open(api: Api, path: str) -> None:
    # 503: the page says how to build it, where it has not been.
    assert api.client().get(path).status_code in {200, 307, 503}


def test_reports_of_a_running_deployment_are_seen_at_once(api: Api, held: tuple[dict[str, Any], Puppet]) -> None:
    started, puppet = held
    puppet.print(report("One", "running"))
    with api.live() as live:
        live.subscribe(started["id"])
        live.wait_for(lambda message: message["type"] == "step" and message["state"] == "running")
    assert [(step["name"], step["state"]) for step in api.steps(started["id"])] == [
        ("One", "running"),
        ("Two", "pending"),
    ]
