"""Sessions end: a token of a few seconds, and what HTTP and WebSocket say when its time is over."""

from collections.abc import Iterator

import pytest

from tests.e2e.api import Api, answer
from tests.e2e.folders import shell
from tests.e2e.jwts import claims_of
from tests.e2e.server import Server, temporary_folder
from tests.e2e.waiting import wait_until

SECONDS = 6


@pytest.fixture(scope="module")
def hasty() -> Iterator[Server]:
    """A server whose user tokens live for a few seconds."""
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


def test_the_setting_says_how_long_a_user_token_lives(hasty: Server) -> None:
    claims = claims_of(fresh_token(hasty.api))
    assert claims["exp"] - claims["iat"] == SECONDS


def test_a_session_that_is_not_renewed_is_warned_and_ended(hasty: Server) -> None:
    with hasty.api.live(token := fresh_token(hasty.api)) as live:
        warning = live.wait_for(lambda told: told["type"] == "warning")
        assert (warning["code"], warning["detail"]) == ("token_expires", "Your session is about to end.")
        assert live.wait_until_closed() == 1008
        assert [told["code"] for told in live.of_type("warning")] == ["token_expires", "session_ended"]
        assert has_expired(hasty.api, token)


def test_a_session_that_is_renewed_goes_on(hasty: Server) -> None:
    api = hasty.api
    with api.live(first := fresh_token(api)) as live:

        def renewed_for_long_enough() -> bool:
            assert live.sign_in(fresh_token(api))["status"] == "success"
            return has_expired(api, first)

        wait_until(renewed_for_long_enough, "the first token having expired")
        assert live.silent()
        assert live.of_type("warning")[-1]["code"] == "token_expires"
        name, token = hasty.new_name(), fresh_token(api)
        assert live.sign_in(token)["status"] == "success"
        folder = hasty.services_dir / name
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "deploy.sh").write_text(shell("true"))
        assert answer(api.client(token).post("/services/sync"))["added"] == [name]
        live.wait_for(lambda told: told["type"] == "service" and told["name"] == name)


def test_a_browser_renews_its_token_by_its_cookie(hasty: Server) -> None:
    api = hasty.api
    client = api.client("")
    client.headers.pop("Authorization")
    opened = client.post("/session", json={"username": api.user, "password": api.password})
    token = answer(opened)["access_token"]
    cookie = opened.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert token.lower() not in cookie
    wait_until(lambda: has_expired(api, token), "the token having expired")
    assert client.post("/session/refresh").status_code == 401
    refreshed = answer(client.post("/session/refresh", headers={"X-Requested-With": "fastdeploy"}))
    assert not has_expired(api, refreshed["access_token"])
    assert client.delete("/session").status_code == 204
    assert client.post("/session/refresh", headers={"X-Requested-With": "fastdeploy"}).status_code == 401
