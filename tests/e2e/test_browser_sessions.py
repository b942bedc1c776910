"""Browser sessions: users list their own sessions and sign out other browsers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from tests.e2e.api import Api, answer
from tests.e2e.live import Live
from tests.e2e.server import Server
from tests.e2e.waiting import TIMEOUT, wait_until

PASSWORD = "her own password"


class Browser:
    """A browser with its cookie, for one user."""

    def __init__(self, base_url: str, user: str, agent: str) -> None:
        self.http = httpx2.Client(base_url=base_url, headers={"User-Agent": agent}, timeout=TIMEOUT, trust_env=False)
        body = {"username": user, "password": PASSWORD}
        self.token = str(answer(self.http.post("/session", json=body))["access_token"])

    @property
    def cookie(self) -> str:
        return str(self.http.cookies["fastdeploy_session"])

    def ask(self, method: str, path: str) -> httpx2.Response:
        return self.http.request(method, path, headers={"Authorization": f"Bearer {self.token}"})

    def sessions(self) -> list[dict[str, Any]]:
        return list(answer(self.ask("GET", "/sessions/")))

    def own(self) -> str:
        """Return the ID of this browser's session."""
        (current,) = [one for one in self.sessions() if one["current"]]
        return str(current["id"])

    def refresh(self) -> httpx2.Response:
        return self.http.post("/session/refresh", headers={"X-Requested-With": "fastdeploy"})

    def is_signed_in(self) -> bool:
        """Return True if the cookie still gets new tokens. If so, the current token must also be valid."""
        if self.refresh().status_code == 200:
            assert self.ask("GET", "/users/me").status_code == 200
            return True
        wait_until(lambda: self.ask("GET", "/users/me").status_code == 401, "the token to end with its session")
        return False


@contextmanager
def browsers(server: Server, user: str, *agents: str) -> Iterator[list[Browser]]:
    made = [Browser(server.base_url, user, agent) for agent in agents]
    yield made
    for browser in made:
        browser.http.close()


@pytest.fixture
def user(server: Server) -> str:
    return str(server.api.create_user(server.new_name("user"), PASSWORD)["name"])


def test_sessions_are_listed_newest_first_and_mark_the_current_one(server: Server, user: str) -> None:
    with browsers(server, user, "Firefox", "Chromium") as (first, second):
        listed = first.sessions()
        assert [(one["user_agent"], one["current"]) for one in listed] == [("Chromium", False), ("Firefox", True)]
        assert [one["current"] for one in second.sessions()] == [True, False]
        assert all(one["created"] < one["expires"] for one in listed)
        assert listed[1]["last_used"] is not None
    # A program that signs in with POST /token does not have a browser session.
    client = server.api.client(server.api.sign_in(user, PASSWORD))
    assert [one["current"] for one in answer(client.get("/sessions/"))] == [False, False]


def test_a_session_id_is_not_a_cookie(server: Server, user: str) -> None:
    with browsers(server, user, "Firefox") as (browser,):
        number = browser.own()
        assert number != browser.cookie
        assert browser.cookie not in browser.ask("GET", "/sessions/").text
        thief = httpx2.Client(base_url=server.base_url, cookies={"fastdeploy_session": number}, trust_env=False)
        refused = thief.post("/session/refresh", headers={"X-Requested-With": "fastdeploy"})
        assert refused.status_code == 401
        thief.close()


def test_ending_one_session_keeps_the_others(server: Server, user: str) -> None:
    with browsers(server, user, "Firefox", "Chromium", "Safari") as (own_sessions, lost, other):
        watching = [live_of(server, browser) for browser in (own_sessions, lost, other)]
        assert own_sessions.ask("DELETE", f"/sessions/{lost.own()}").status_code == 204
        assert watching[1].wait_until_closed() == 1008
        assert watching[1].of_type("warning")[-1]["code"] == "session_ended"
        assert [browser.is_signed_in() for browser in (own_sessions, lost, other)] == [True, False, True]
        assert [one["user_agent"] for one in own_sessions.sessions()] == ["Safari", "Firefox"]
        for live, browser in ((watching[0], own_sessions), (watching[2], other)):
            assert live.sign_in(browser.token)["status"] == "success"
            assert not live.of_type("warning")
        for live in watching:
            live.close()


def live_of(server: Server, browser: Browser) -> Live:
    live = Live(server.base_url)
    assert live.sign_in(browser.token)["status"] == "success"
    return live


def test_all_other_sessions_can_be_ended(server: Server, user: str) -> None:
    with browsers(server, user, "Firefox", "Chromium", "Safari") as (first, own_sessions, last):
        assert own_sessions.ask("DELETE", "/sessions/").status_code == 204
        assert [browser.is_signed_in() for browser in (first, own_sessions, last)] == [False, True, False]
        assert [one["user_agent"] for one in own_sessions.sessions()] == ["Chromium"]
        assert own_sessions.ask("DELETE", "/sessions/").status_code == 204
        assert own_sessions.is_signed_in()


def test_signing_out_revokes_the_token(server: Server, user: str) -> None:
    with browsers(server, user, "Firefox", "Chromium") as (own_sessions, other):
        assert own_sessions.http.delete("/session").status_code == 204
        assert not own_sessions.is_signed_in()
        assert other.is_signed_in()


def test_users_cannot_end_sessions_of_others(server: Server, api: Api, user: str) -> None:
    with browsers(server, user, "Firefox") as (browser,):
        for number in (browser.own(), browser.cookie, "gone", "%00"):
            refused = api.admin.delete(f"/sessions/{number}")
            assert (refused.status_code, refused.json()) == (404, {"detail": "Session not found"})
        assert api.admin.delete("/sessions/").status_code == 204
        assert browser.is_signed_in()
        assert browser.own() not in [one["id"] for one in answer(api.admin.get("/sessions/"))]


def test_another_site_cannot_refresh_a_session(server: Server, user: str) -> None:
    with browsers(server, user, "Firefox") as (browser,):
        foreign = {"Origin": "https://elsewhere.example"}
        asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-requested-with"}
        preflight = browser.http.options("/session/refresh", headers=foreign | asks)
        assert not [name for name in preflight.headers if name.startswith("access-control-")]
        # Without CORS permission, a browser sends at most a plain form, which is not sufficient.
        assert browser.http.post("/session/refresh", headers=foreign, data={"a": "b"}).status_code == 401


def test_a_password_change_ends_sessions(server: Server, user: str) -> None:
    with browsers(server, user, "Firefox", "Chromium") as (own_sessions, other):
        changed = own_sessions.http.post(
            "/users/me/password",
            headers={"Authorization": f"Bearer {own_sessions.token}"},
            json={"current": PASSWORD, "new": "another password"},
        )
        assert changed.status_code == 204
        assert [browser.is_signed_in() for browser in (own_sessions, other)] == [False, False]
