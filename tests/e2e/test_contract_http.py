"""Contract, HTTP: errors, trailing slashes, sign-in, services and their tokens, and health."""

from typing import Any

import httpx2
import pytest

from tests.e2e.api import Api, answer
from tests.e2e.folders import say, shell, steps
from tests.e2e.jwts import claims_of
from tests.e2e.server import PASSWORD, USER, Server

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
    """Add a service that succeeds with one step."""
    return server.add_service(shell(say("Build")), config={"description": "Quick", "steps": steps("Build")})


def other_spelling(path: str) -> str:
    return path[:-1] if path.endswith("/") else f"{path}/"


def check_error(response: httpx2.Response, status: int, detail: str) -> None:
    assert (response.status_code, response.json()) == (status, {"detail": detail})


# Errors and spellings


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_requests_without_a_token_are_rejected(api: Api, method: str, path: str) -> None:
    response = api.anonymous.request(method, path)
    check_error(response, 401, "Not authenticated")
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_invalid_tokens_are_rejected(api: Api, method: str, path: str) -> None:
    response = api.client("nonsense").request(method, path)
    check_error(response, 401, "Could not validate credentials")
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path"), [*CALLS, *OPEN_CALLS])
def test_each_path_works_with_and_without_a_trailing_slash(api: Api, method: str, path: str) -> None:
    spellings = (path, other_spelling(path))
    assert {api.anonymous.request(method, spelling).status_code for spelling in spellings} in ({401}, {422}, {200})
    if (method, path) in CALLS and path != "/services/sync":
        with_token = {api.admin.request(method, spelling).status_code for spelling in spellings}
        assert len(with_token) == 1
        assert with_token.isdisjoint({301, 302, 303, 307, 308, 405})


@pytest.mark.parametrize("scheme", ["Basic", "Token", ""])
def test_only_the_bearer_scheme_is_accepted(api: Api, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {api.token}".strip()}
    check_error(api.anonymous.get("/users/me", headers=headers), 401, "Not authenticated")


# Signing in


def test_name_and_password_return_a_user_token(api: Api) -> None:
    signed_in = answer(api.anonymous.post("/token", data={"username": USER, "password": PASSWORD}))
    assert set(signed_in) == {"access_token", "token_type"}
    assert signed_in["token_type"] == "bearer"
    assert answer(api.client(signed_in["access_token"]).get("/users/me"))["name"] == USER


@pytest.mark.parametrize(
    ("name", "password"), [(USER, "wrong"), ("nobody", PASSWORD), (USER, " "), (USER, ""), ("", PASSWORD), ("", "")]
)
def test_a_wrong_password_and_an_unknown_user_get_the_same_response(api: Api, name: str, password: str) -> None:
    response = api.anonymous.post("/token", data={"username": name, "password": password})
    check_error(response, 401, "Incorrect username or password")
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("form", [{}, {"username": USER}, {"password": PASSWORD}, {"grant_type": "implicit"}])
def test_an_incomplete_form_is_invalid(api: Api, form: dict[str, str]) -> None:
    response = api.anonymous.post("/token", data=form)
    assert response.status_code == 422
    assert response.json()["detail"]


def test_users_see_themselves_without_the_password_hash(api: Api) -> None:
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


def test_service_names_are_the_folder_names(server: Server, api: Api) -> None:
    name = server.new_name("unsynced")
    folder = server.services_dir / name
    folder.mkdir()
    try:
        names = answer(api.admin.get("/services/names/"))
        assert names == sorted(path.name for path in server.services_dir.iterdir() if path.is_dir())
        assert name in names
    finally:
        folder.rmdir()


def test_sync_reads_folders_into_the_database(server: Server, api: Api) -> None:
    server.add_service(shell("true"))
    assert answer(api.admin.post("/services/sync"))["detail"] == "Services synced"


def test_a_deleted_service_is_no_longer_listed(server: Server, api: Api) -> None:
    name = server.add_service(shell("true"))
    found, token = api.service(name), api.service_token(name)
    assert answer(api.admin.delete(f"/services/{found['id']}")) == {"detail": f"Service {found['id']} deleted"}
    assert api.admin.delete(f"/services/{found['id']}").status_code == 404
    assert name not in [service["name"] for service in answer(api.admin.get("/services/"))]
    assert api.client(token).post("/deployments/").status_code in {401, 404}


@pytest.mark.parametrize("number", [987654321, 2**63 - 1])
def test_deleting_a_missing_service_is_not_found(api: Api, number: int) -> None:
    check_error(api.admin.delete(f"/services/{number}"), 404, "Service not found")


# Service tokens


@pytest.mark.parametrize(("days", "lifetime"), [(None, 1), (1, 1), (180, 180)])
def test_a_service_token_expires_after_the_requested_days(
    api: Api, service: str, days: int | None, lifetime: int
) -> None:
    body = {"service": service, "origin": "ci"} | ({} if days is None else {"expiration_in_days": days})
    made = answer(api.admin.post("/service-token", json=body))
    assert set(made) == {"service_token", "token_type"}
    assert made["token_type"] == "bearer"
    claims = claims_of(made["service_token"])
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
def test_an_invalid_service_token_request_is_rejected(api: Api, service: str, body: dict[str, Any]) -> None:
    response = api.admin.post("/service-token", json={"service": service, "origin": "ci", **body})
    assert response.status_code == 422
    assert response.json()["detail"]


@pytest.mark.parametrize("missing", ["service", "origin"])
def test_an_incomplete_service_token_request_is_rejected(api: Api, service: str, missing: str) -> None:
    body = {"service": service, "origin": "ci"}
    del body[missing]
    assert api.admin.post("/service-token", json=body).status_code == 422


def test_a_service_token_requires_an_existing_service(api: Api) -> None:
    check_error(api.admin.post("/service-token", json={"service": "nope", "origin": "ci"}), 404, "Service not found")


# Open to everyone


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_health_does_not_need_a_token(api: Api, path: str) -> None:
    assert api.anonymous.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/", "/ui/", "/docs", "/openapi.json"])
def test_the_page_and_the_api_docs_do_not_need_a_token(api: Api, path: str) -> None:
    # 503: the page has not been built, and the response explains how to build it.
    assert api.client().get(path).status_code in {200, 307, 503}
