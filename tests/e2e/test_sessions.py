"""Sessions expire: tokens live for a few seconds, and HTTP and WebSocket report that they have expired."""

from collections.abc import Iterator

import pytest

from tests.e2e.api import Api, answer
from tests.e2e.folders import shell
from tests.e2e.jwts import claims_of
from tests.e2e.server import Server, temporary_folder
from tests.e2e.waiting import wait_until

SECONDS = 6


@pytest.fixture(scope="module")
def short_lived() -> Iterator[Server]:
    """Yield a server whose user tokens live for a few seconds."""
    settings = {"ACCESS_TOKEN_EXPIRE_MINUTES": str(SECONDS / 60)}
    with temporary_folder() as folder, Server(folder, settings=settings) as running:
        yield running


def fresh_token(api: Api) -> str:
    return api.sign_in(api.user, api.password)


def has_expired(api: Api, token: str) -> bool:
    response = api.client(token).get("/users/me")
    if response.status_code == 200:
        return False
    assert (response.status_code, response.json()) == (401, {"detail": "Could not validate credentials"})
    return True


def test_the_setting_determines_how_long_a_user_token_lives(short_lived: Server) -> None:
    claims = claims_of(fresh_token(short_lived.api))
    assert claims["exp"] - claims["iat"] == SECONDS


def test_a_session_that_is_not_renewed_gets_a_warning_and_ends(short_lived: Server) -> None:
    with short_lived.api.live(token := fresh_token(short_lived.api)) as live:
        warning = live.wait_for(lambda received: received["type"] == "warning")
        assert (warning["code"], warning["detail"]) == ("token_expires", "Your session is about to end.")
        assert live.wait_until_closed() == 1008
        assert [received["code"] for received in live.of_type("warning")] == ["token_expires", "session_ended"]
        assert has_expired(short_lived.api, token)


def test_a_renewed_session_continues(short_lived: Server) -> None:
    api = short_lived.api
    with api.live(first := fresh_token(api)) as live:

        def renewed_for_long_enough() -> bool:
            assert live.sign_in(fresh_token(api))["status"] == "success"
            return has_expired(api, first)

        wait_until(renewed_for_long_enough, "the first token to expire")
        assert live.is_silent()
        assert live.of_type("warning")[-1]["code"] == "token_expires"
        name, token = short_lived.new_name(), fresh_token(api)
        assert live.sign_in(token)["status"] == "success"
        folder = short_lived.services_dir / name
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "deploy.sh").write_text(shell("true"))
        assert answer(api.client(token).post("/services/sync"))["added"] == [name]
        live.wait_for(lambda received: received["type"] == "service" and received["name"] == name)


def test_a_browser_renews_its_token_with_its_cookie(short_lived: Server) -> None:
    api = short_lived.api
    client = api.client("")
    client.headers.pop("Authorization")
    opened = client.post("/session", json={"username": api.user, "password": api.password})
    token = answer(opened)["access_token"]
    cookie = opened.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert token.lower() not in cookie
    wait_until(lambda: has_expired(api, token), "the token to expire")
    assert client.post("/session/refresh").status_code == 401
    refreshed = answer(client.post("/session/refresh", headers={"X-Requested-With": "fastdeploy"}))
    assert not has_expired(api, refreshed["access_token"])
    assert client.delete("/session").status_code == 204
    assert client.post("/session/refresh", headers={"X-Requested-With": "fastdeploy"}).status_code == 401
