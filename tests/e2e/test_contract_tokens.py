"""Contract, tokens: each type opens its own doors and no others; what is forged, revoked or outdated opens none."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.e2e.api import Api, answer
from tests.e2e.folders import shell
from tests.e2e.jwts import altered, claims_of, forged
from tests.e2e.server import Server

KINDS = ["user", "service", "deployment", "config"]
# Whom the contract lets in, call by call. What a call says then is for others to test: not 401, at any rate.
DOORS = {
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
HIS_PASSWORD, HIS_NEW_PASSWORD = "his old password", "his new password"


@pytest.fixture
def tokens(server: Server) -> Iterator[dict[str, str]]:
    """One good token of each type; the deployment runs."""
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
def somebody(server: Server) -> str:
    """The name of a new user; his password is HIS_PASSWORD."""
    return str(server.api.create_user(server.new_name("user"), HIS_PASSWORD)["name"])


def not_valid(response: httpx2.Response) -> bool:
    if response.status_code != 401:
        return False
    assert response.json() == {"detail": "Could not validate credentials"}
    assert response.headers["WWW-Authenticate"] == "Bearer"
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_opens_its_own_doors_only(api: Api, tokens: dict[str, str], kind: str) -> None:
    client = api.client(tokens[kind])
    opened = {door for door in DOORS if not not_valid(client.request(*door))}
    assert opened == {door for door, kinds in DOORS.items() if kind in kinds}


@pytest.mark.parametrize("kind", ["service", "deployment", "config"])
def test_only_a_user_signs_in_on_the_websocket(api: Api, tokens: dict[str, str], kind: str) -> None:
    with pytest.raises(AssertionError, match="Could not validate credentials"):
        api.live(tokens[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_a_forged_token_opens_nothing(api: Api, tokens: dict[str, str], kind: str) -> None:
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
    door = next(door for door, kinds in DOORS.items() if kind in kinds)
    for forgery in forgeries:
        assert not_valid(api.client(forgery).request(*door)), forgery


def test_a_deployment_token_is_good_for_its_own_deployment(server: Server, api: Api) -> None:
    with server.puppet() as (first, one), server.puppet() as (second, other):
        mine, foreign = api.start(first), api.start(second)
        other.config()
        client = api.client(one.config()["access_token"])
        answer(client.post("/steps/", json={"name": "Mine", "state": "success", "deployment_id": foreign["id"]}))
        answer(client.put("/deployments/finish/", params={"deployment_id": foreign["id"]}))
        assert "Mine" in [step["name"] for step in api.steps(mine["id"])]
        assert "Mine" not in [step["name"] for step in api.steps(foreign["id"])]
        assert api.deployment(foreign["id"])["state"] == "running"
        one.exit()
        other.exit()
        api.wait_until_final(foreign["id"])


def test_a_deployment_that_is_over_takes_no_more_reports(server: Server, api: Api) -> None:
    with server.puppet() as (name, puppet):
        started = api.start(name)
        client = api.client(puppet.config()["access_token"])
        puppet.exit()
        api.wait_until_final(started["id"])
        assert client.post("/steps/", json={"name": "Late"}).status_code == 409
        assert answer(client.put("/deployments/finish/")) == {"detail": f"Deployment {started['id']} finished"}
        assert api.deployment(started["id"])["state"] == "success"
        assert "Late" not in [step["name"] for step in api.steps(started["id"])]


def test_a_deployment_token_lives_as_long_as_the_deployment_may_run(server: Server, api: Api) -> None:
    with server.puppet({"timeout": 7200}) as (name, puppet):
        started = api.start(name)
        claims = claims_of(puppet.config()["access_token"])
        assert claims["exp"] - claims["iat"] >= 7200
        puppet.exit()
        api.wait_until_final(started["id"])


def test_a_revoked_token_is_worthless_at_once(server: Server, api: Api) -> None:
    service = api.service(server.add_service(shell("true")))
    token = api.service_token(service["name"])
    assert api.client(token).get("/deployments/987654321").status_code == 404
    (record,) = answer(api.admin.get("/tokens/", params={"service_id": service["id"]}))
    assert (record["kind"], record["service"], record["origin"]) == ("service", service["name"], "ci")
    assert record["revoked"] is None
    assert api.admin.delete(f"/tokens/{record['id']}").status_code == 204
    assert not_valid(api.client(token).post("/deployments/"))
    assert not_valid(api.client(token).get("/deployments/987654321"))


def test_a_disabled_user_is_out(server: Server, api: Api, somebody: str) -> None:
    service = server.add_service(shell("true"))
    user_token = api.sign_in(somebody, HIS_PASSWORD)
    service_token = api.service_token(service, token=user_token)
    me = answer(api.client(user_token).get("/users/me"))
    assert api.admin.patch(f"/users/{me['id']}", json={"is_active": False}).is_success
    assert not_valid(api.client(user_token).get("/users/me"))
    assert not_valid(api.client(service_token).post("/deployments/"))
    refused = api.anonymous.post("/token", data={"username": somebody, "password": HIS_PASSWORD})
    assert (refused.status_code, refused.json()["detail"]) == (401, "Incorrect username or password")


def test_a_new_password_ends_the_sessions_of_the_old_one(api: Api, somebody: str) -> None:
    before = [api.sign_in(somebody, HIS_PASSWORD), api.sign_in(somebody, HIS_PASSWORD)]
    client = api.client(before[0])
    body = {"current": "not his password", "new": HIS_NEW_PASSWORD}
    assert client.post("/users/me/password", json=body).status_code == 403
    body["current"] = HIS_PASSWORD
    assert client.post("/users/me/password", json=body).status_code == 204
    assert all(not_valid(api.client(token).get("/users/me")) for token in before)
    refused = api.anonymous.post("/token", data={"username": somebody, "password": HIS_PASSWORD})
    assert refused.status_code == 401
    assert answer(api.client(api.sign_in(somebody, HIS_NEW_PASSWORD)).get("/users/me"))["name"] == somebody


def test_an_open_connection_of_a_disabled_user_ends(api: Api, somebody: str) -> None:
    with api.live(api.sign_in(somebody, HIS_PASSWORD)) as live:
        users = answer(api.admin.get("/users/"))
        number = next(user["id"] for user in users if user["name"] == somebody)
        assert api.admin.patch(f"/users/{number}", json={"is_active": False}).is_success
        assert live.wait_until_closed() == 1008
        assert live.of_type("warning")[-1]["code"] == "session_ended"


def test_users_manage_their_own_tokens_only(server: Server, api: Api, somebody: str) -> None:
    service = server.add_service(shell("true"))
    user_token = api.sign_in(somebody, HIS_PASSWORD)
    api.service_token(service)
    api.service_token(service, token=user_token, origin="his")
    client = api.client(user_token)
    (his,) = answer(client.get("/tokens/"))
    assert his["origin"] == "his"
    others = [token for token in answer(api.admin.get("/tokens/")) if token["id"] != his["id"]]
    assert client.delete(f"/tokens/{others[0]['id']}").status_code == 403
    assert client.delete("/tokens/nonsense").status_code == 404
    assert client.delete(f"/tokens/{his['id']}").status_code == 204


def test_too_many_wrong_passwords_have_to_wait(api: Api, somebody: str) -> None:
    wrong = {"username": somebody, "password": "a guess"}
    answers = [api.anonymous.post("/token", data=wrong) for _ in range(11)]
    assert [response.status_code for response in answers] == [401] * 10 + [429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert api.anonymous.post("/token", data=wrong | {"password": HIS_PASSWORD}).status_code == 429
    assert answer(api.client(api.sign_in(api.user, api.password)).get("/users/me"))["name"] == api.user
