"""Contract, tokens: each type only allows its own calls. Forged, revoked, and outdated tokens do not allow any."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.e2e.api import Api, answer
from tests.e2e.folders import shell
from tests.e2e.jwts import altered, claims_of, forged
from tests.e2e.server import Server

KINDS = ["user", "service", "deployment", "config"]
# The token types that each call accepts. These tests only check for 401; other tests check what the calls return.
CALLS = {
    ("GET", "/users/me"): {"user"},
    ("POST", "/service-token"): {"user"},
    ("GET", "/services/"): {"user"},
    ("GET", "/services/names/"): {"user"},
    ("POST", "/services/sync"): {"user"},
    ("DELETE", "/services/987654321"): {"user"},
    ("POST", "/deployments/"): {"service"},
    ("GET", "/deployments/"): {"user"},
    ("GET", "/deployments/987654321"): {"user", "service"},
    ("PUT", "/deployments/finish/"): {"deployment"},
    ("POST", "/steps/"): {"deployment"},
    ("GET", "/steps/"): {"user"},
    ("GET", "/deployed-services/"): {"config"},
}
OLD_PASSWORD, NEW_PASSWORD = "the old password", "the new password"


@pytest.fixture
def tokens(server: Server) -> Iterator[dict[str, str]]:
    """Yield one valid token of each type. The deployment is running."""
    with server.puppet() as (name, puppet):
        started = server.api.start(name)
        deployment_token = puppet.config()["access_token"]
        yield {
            "user": server.api.token,
            "service": server.api.service_token(name),
            "deployment": deployment_token,
            "config": server.api.config_token(),
        }
        puppet.exit()
        server.api.wait_until_final(started["id"])


@pytest.fixture
def another_user(server: Server) -> str:
    """Create a user with OLD_PASSWORD and return their name."""
    return str(server.api.create_user(server.new_name("user"), OLD_PASSWORD)["name"])


def is_rejected(response: httpx2.Response) -> bool:
    if response.status_code != 401:
        return False
    assert response.json() == {"detail": "Could not validate credentials"}
    assert response.headers["WWW-Authenticate"] == "Bearer"
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_allows_only_its_own_calls(api: Api, tokens: dict[str, str], kind: str) -> None:
    client = api.client(tokens[kind])
    opened = {call for call in CALLS if not is_rejected(client.request(*call))}
    assert opened == {call for call, kinds in CALLS.items() if kind in kinds}


@pytest.mark.parametrize("kind", ["service", "deployment", "config"])
def test_only_user_tokens_sign_in_to_the_websocket(api: Api, tokens: dict[str, str], kind: str) -> None:
    with pytest.raises(AssertionError, match="Could not validate credentials"):
        api.live(tokens[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_a_forged_token_is_rejected_everywhere(api: Api, tokens: dict[str, str], kind: str) -> None:
    token = tokens[kind]
    claims = claims_of(token)
    body, signature = token.rsplit(".", 1)
    forgeries = [
        forged(claims, key=b"", algorithm="none"),
        forged(claims, key=b"", algorithm="None"),
        forged(claims, key=b"another key"),
        forged(claims, key=b""),
        forged(claims, key=b"another key", algorithm="HS512"),
        altered(token, exp=claims["exp"] + 1),
        altered(token, sub="1"),
        altered(token, aud=claims["aud"].replace(kind, "user"), name="somebody"),
        f"{body}.",
        body,
        f"{body}.{signature[::-1]}",
        f"{token}x",
        token.upper(),
        f"{token}.{signature}",
        "..",
    ]
    call = next(call for call, kinds in CALLS.items() if kind in kinds)
    for forgery in forgeries:
        assert is_rejected(api.client(forgery).request(*call)), forgery


def test_a_deployment_token_works_only_for_its_deployment(server: Server, api: Api) -> None:
    with server.puppet() as (first, one), server.puppet() as (second, other):
        own_token, foreign = api.start(first), api.start(second)
        other.config()
        client = api.client(one.config()["access_token"])
        answer(client.post("/steps/", json={"name": "Mine", "state": "success", "deployment_id": foreign["id"]}))
        answer(client.put("/deployments/finish/", params={"deployment_id": foreign["id"]}))
        assert "Mine" in [step["name"] for step in api.steps(own_token["id"])]
        assert "Mine" not in [step["name"] for step in api.steps(foreign["id"])]
        assert api.deployment(foreign["id"])["state"] == "running"
        one.exit()
        other.exit()
        api.wait_until_final(foreign["id"])


def test_a_finished_deployment_does_not_accept_more_reports(server: Server, api: Api) -> None:
    with server.puppet() as (name, puppet):
        started = api.start(name)
        client = api.client(puppet.config()["access_token"])
        puppet.exit()
        api.wait_until_final(started["id"])
        assert client.post("/steps/", json={"name": "Late"}).status_code == 409
        assert answer(client.put("/deployments/finish/")) == {"detail": f"Deployment {started['id']} finished"}
        assert api.deployment(started["id"])["state"] == "success"
        assert "Late" not in [step["name"] for step in api.steps(started["id"])]


def test_a_deployment_token_expires_with_the_deployment_timeout(server: Server, api: Api) -> None:
    with server.puppet({"timeout": 7200}) as (name, puppet):
        started = api.start(name)
        claims = claims_of(puppet.config()["access_token"])
        assert claims["exp"] - claims["iat"] >= 7200
        puppet.exit()
        api.wait_until_final(started["id"])


def test_a_revoked_token_is_rejected_immediately(server: Server, api: Api) -> None:
    service = api.service(server.add_service(shell("true")))
    token = api.service_token(service["name"])
    assert api.client(token).get("/deployments/987654321").status_code == 404
    (record,) = answer(api.admin.get("/tokens/", params={"service_id": service["id"]}))
    assert (record["kind"], record["service"], record["origin"]) == ("service", service["name"], "ci")
    assert record["revoked"] is None
    assert api.admin.delete(f"/tokens/{record['id']}").status_code == 204
    assert is_rejected(api.client(token).post("/deployments/"))
    assert is_rejected(api.client(token).get("/deployments/987654321"))


def test_tokens_of_a_disabled_user_are_rejected(server: Server, api: Api, another_user: str) -> None:
    service = server.add_service(shell("true"))
    user_token = api.sign_in(another_user, OLD_PASSWORD)
    service_token = api.service_token(service, token=user_token)
    me = answer(api.client(user_token).get("/users/me"))
    assert api.admin.patch(f"/users/{me['id']}", json={"is_active": False}).is_success
    assert is_rejected(api.client(user_token).get("/users/me"))
    assert is_rejected(api.client(service_token).post("/deployments/"))
    refused = api.anonymous.post("/token", data={"username": another_user, "password": OLD_PASSWORD})
    assert (refused.status_code, refused.json()["detail"]) == (401, "Incorrect username or password")


def test_a_new_password_ends_existing_sessions(api: Api, another_user: str) -> None:
    before = [api.sign_in(another_user, OLD_PASSWORD), api.sign_in(another_user, OLD_PASSWORD)]
    client = api.client(before[0])
    body = {"current": "not the password", "new": NEW_PASSWORD}
    assert client.post("/users/me/password", json=body).status_code == 403
    body["current"] = OLD_PASSWORD
    assert client.post("/users/me/password", json=body).status_code == 204
    assert all(is_rejected(api.client(token).get("/users/me")) for token in before)
    refused = api.anonymous.post("/token", data={"username": another_user, "password": OLD_PASSWORD})
    assert refused.status_code == 401
    assert answer(api.client(api.sign_in(another_user, NEW_PASSWORD)).get("/users/me"))["name"] == another_user


def test_disabling_a_user_closes_open_connections(api: Api, another_user: str) -> None:
    with api.live(api.sign_in(another_user, OLD_PASSWORD)) as live:
        users = answer(api.admin.get("/users/"))
        number = next(user["id"] for user in users if user["name"] == another_user)
        assert api.admin.patch(f"/users/{number}", json={"is_active": False}).is_success
        assert live.wait_until_closed() == 1008
        assert live.of_type("warning")[-1]["code"] == "session_ended"


def test_users_manage_their_own_tokens_and_those_of_the_services_they_manage(
    server: Server, api: Api, another_user: str
) -> None:
    service = server.add_service(shell("true"))
    user_token = api.sign_in(another_user, OLD_PASSWORD)
    api.service_token(service, origin="of the administrator")
    api.service_token(service, token=user_token, origin="theirs")
    api.config_token()
    client = api.client(user_token)
    listed = {token["origin"]: token for token in answer(client.get("/tokens/")) if token["service"] == service}
    assert listed.keys() == {"theirs", "of the administrator"}
    assert all(token["service"] for token in answer(client.get("/tokens/")))
    config = next(token for token in answer(api.admin.get("/tokens/")) if token["kind"] == "config")
    assert client.delete(f"/tokens/{config['id']}").status_code == 403
    assert client.delete("/tokens/nonsense").status_code == 404
    for token in listed.values():
        assert client.delete(f"/tokens/{token['id']}").status_code == 204


def test_too_many_wrong_passwords_are_rate_limited(api: Api, another_user: str) -> None:
    wrong = {"username": another_user, "password": "a guess"}
    answers = [api.anonymous.post("/token", data=wrong) for _ in range(11)]
    assert [response.status_code for response in answers] == [401] * 10 + [429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert api.anonymous.post("/token", data=wrong | {"password": OLD_PASSWORD}).status_code == 429
    assert answer(api.client(api.sign_in(api.user, api.password)).get("/users/me"))["name"] == api.user
