"""Sign-in under attack, with two server processes, real PostgreSQL, and hundreds of concurrent guesses."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from urllib.parse import urlencode

import asyncpg
import httpx2
import pytest

from deploy.adapters.database import dsn_of
from deploy.domain.attempts import BROWSER_KNOWN_FOR, PER_ACCOUNT, PER_NETWORK
from tests.e2e.api import Api, answer
from tests.e2e.command_line import CommandLine
from tests.e2e.conftest import NewServer
from tests.e2e.processes import SECRET_KEY, external_postgres
from tests.e2e.server import PASSWORD, USER, Server, temporary_folder
from tests.e2e.waiting import TIMEOUT, wait_until

RIGHT, WRONG = "the right password", "a guess"
FEWER, AT_ONCE = 200, 60


class Target:
    """Two server processes on one database."""

    def __init__(self, server: Server, database_url: str) -> None:
        self.server = server
        self.api: Api = server.api
        self._dsn = dsn_of(database_url)
        self._networks = 0

    def user(self) -> str:
        """Add a user with the password RIGHT and return their name."""
        return str(self.api.create_user(self.server.new_name("user"), RIGHT)["name"])

    def address(self) -> str:
        """Return an unused address."""
        self._networks += 1
        return f"203.0.113.{self._networks}"

    def attempt(self, name: str, password: str, address: str, client: httpx2.Client | None = None) -> httpx2.Response:
        """Sign in from an address, as forwarded by a proxy on this machine, with a browser or as an API client."""
        body, headers = {"username": name, "password": password}, {"X-Forwarded-For": address}
        if client is not None:
            return client.post("/session", json=body, headers=headers)
        return self.api.anonymous.post("/token", data=body, headers=headers)

    def browser(self) -> httpx2.Client:
        """Return a browser, which keeps its cookies."""
        return httpx2.Client(base_url=self.api.base_url, timeout=TIMEOUT, trust_env=False)

    def attack(self, guesses: Sequence[tuple[str, str]]) -> list[httpx2.Response]:
        """Guess passwords for pairs of username and address, AT_ONCE at a time, on new connections."""

        async def send_guesses() -> list[httpx2.Response]:
            limits = httpx2.Limits(max_connections=AT_ONCE, max_keepalive_connections=0)
            timeout = httpx2.Timeout(TIMEOUT, pool=None)
            async with httpx2.AsyncClient(
                base_url=self.api.base_url, limits=limits, timeout=timeout, trust_env=False
            ) as client:
                found: list[httpx2.Response] = await asyncio.gather(
                    *(
                        client.post(
                            "/token",
                            data={"username": name, "password": WRONG},
                            headers={"X-Forwarded-For": address},
                        )
                        for name, address in guesses
                    )
                )
                return found

        return asyncio.run(send_guesses())

    def reserved(self) -> int:
        """Return how many attempts are currently counted in all buckets."""
        return self._number("SELECT coalesce(sum(attempts), 0) FROM password_attempts")

    def processes(self) -> int:
        """Return how many server processes are listening for changes."""
        return self._number("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fastdeploy listener'")

    def _number(self, query: str) -> int:
        async def read() -> int:
            connection = await asyncpg.connect(self._dsn)
            try:
                return int(await connection.fetchval(query))
            finally:
                await connection.close()

        return asyncio.run(read())


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with temporary_folder() as folder, external_postgres() as postgres:
        settings = {"DATABASE_URL": postgres.url, "SECRET_KEY": SECRET_KEY}
        with Server(folder, options=["--no-worker", "--workers", "2"], settings=settings) as server:
            made = Target(server, postgres.url)
            wait_until(lambda: made.processes() == 2, "both processes to start")
            yield made
            assert "Traceback" not in server.log_file.read_text(errors="replace")


def counted(responses: Sequence[httpx2.Response]) -> Counter[int]:
    """Count the responses by status after checking that each one is complete."""
    for response in responses:
        detail = response.json()["detail"]
        if response.status_code == 401:
            assert detail == "Incorrect username or password"
            assert response.headers["WWW-Authenticate"] == "Bearer"
        else:
            assert response.status_code == 429, detail
            assert detail.startswith("Too many")
            assert 1 <= int(response.headers["Retry-After"]) <= 300
    return Counter(response.status_code for response in responses)


@pytest.mark.parametrize("guesses", [100, pytest.param(600, marks=pytest.mark.slow)])
def test_parallel_guesses_at_one_account_from_one_address_are_limited(target: Target, guesses: int) -> None:
    name, address = target.user(), target.address()
    assert counted(target.attack([(name, address)] * guesses)) == {401: PER_ACCOUNT, 429: guesses - PER_ACCOUNT}


@pytest.mark.slow  # in the first tier: the test of the same name in tests/integration/test_sign_in.py
def test_parallel_guesses_at_one_account_from_many_addresses_are_limited(target: Target) -> None:
    name = target.user()
    guesses = [(name, f"198.51.{n // 250}.{n % 250}") for n in range(FEWER)]
    assert counted(target.attack(guesses))[401] == PER_ACCOUNT


@pytest.mark.slow  # in the first tier: integration/test_sign_in.py::…::test_addresses_of_an_ipv6_network_share_a_limit
def test_parallel_guesses_at_many_accounts_from_one_ipv6_network_are_limited(target: Target) -> None:
    names = [target.user(), *(f"nobody{n}" for n in range(100))]
    guesses = [(names[n % len(names)], f"2001:db8:7:7:{n:x}::1") for n in range(FEWER)]
    assert counted(target.attack(guesses))[401] == PER_NETWORK
    # The next network has its own limit.
    assert target.attempt(names[0], RIGHT, "2001:db8:7:8::1").status_code == 200


def test_a_known_browser_signs_in_during_an_attack(target: Target) -> None:
    name, office = target.user(), target.address()
    with target.browser() as known, target.browser() as unknown:
        assert target.attempt(name, RIGHT, office, known).status_code == 200
        attackers = [office, *(target.address() for _ in range(5))]
        target.attack([(name, attackers[n % len(attackers)]) for n in range(AT_ONCE)])
        rejected = target.attempt(name, RIGHT, target.address(), unknown)
        assert rejected.status_code == 429
        assert "use a browser that has signed in as this user before" in rejected.json()["detail"]
        for address in (office, target.address()):
            assert target.attempt(name, RIGHT, address, known).status_code == 200


def test_a_known_browser_stays_known_after_signing_out(target: Target) -> None:
    name = target.user()
    with target.browser() as known:
        assert target.attempt(name, RIGHT, target.address(), known).status_code == 200
        assert known.delete("/session").status_code == 204
        target.attack([(name, target.address()) for _ in range(20)])
        assert target.attempt(name, RIGHT, target.address(), known).status_code == 200


@pytest.mark.slow  # in the first tier: test_a_known_browser_signs_in_during_an_attack, with one user
def test_two_users_of_one_browser_are_both_known(target: Target) -> None:
    first, second = target.user(), target.user()
    with target.browser() as shared:
        for name in (first, second):
            assert target.attempt(name, RIGHT, target.address(), shared).status_code == 200
        target.attack([(name, target.address()) for name in (first, second) for _ in range(20)])
        for name in (first, second):
            assert target.attempt(name, RIGHT, target.address(), shared).status_code == 200


def test_an_api_client_signs_in_from_its_own_network_during_an_attack(target: Target) -> None:
    name, home = target.user(), target.address()
    assert target.attempt(name, RIGHT, home).status_code == 200
    target.attack([(name, target.address()) for _ in range(30)])
    assert target.attempt(name, RIGHT, home).status_code == 200
    assert target.attempt(name, RIGHT, target.address()).status_code == 429


def test_a_browser_cookie_is_not_a_token(target: Target) -> None:
    name = target.user()
    with target.browser() as known:
        target.attempt(name, RIGHT, target.address(), known)
        (cookie,) = [one.value for one in known.cookies.jar if one.name.startswith("fastdeploy_browser_")]
    rejected = target.api.client(cookie).get("/users/me")
    assert (rejected.status_code, rejected.json()) == (401, {"detail": "Could not validate credentials"})


@pytest.mark.slow  # in the first tier: the test of the same name in tests/integration/test_sign_in.py
@pytest.mark.parametrize("change", ["by themselves", "by an administrator"])
def test_a_changed_password_makes_browsers_unknown(target: Target, change: str) -> None:
    name, office = target.user(), target.address()
    with target.browser() as known:
        token = answer(target.attempt(name, RIGHT, office, known))["access_token"]
        client, new = target.api.client(token), "the next password"
        user = answer(client.get("/users/me"))
        if change == "by themselves":
            changed = client.post("/users/me/password", json={"current": RIGHT, "new": new})
        else:
            changed = target.api.admin.patch(f"/users/{user['id']}", json={"password": new})
        assert changed.is_success
        target.attack([(name, target.address()) for _ in range(20)])
        assert target.attempt(name, new, target.address(), known).status_code == 429


# In the first tier: integration/test_sign_in.py::…::test_parallel_guesses_at_the_current_password_are_limited.
@pytest.mark.slow
def test_guesses_at_the_current_password_are_limited(target: Target) -> None:
    name = target.user()
    client = target.api.client(answer(target.attempt(name, RIGHT, target.address()))["access_token"])
    body = {"current": WRONG, "new": "the next password"}

    async def send_guesses() -> list[httpx2.Response]:
        async with httpx2.AsyncClient(
            base_url=target.api.base_url, headers=client.headers, timeout=TIMEOUT, trust_env=False
        ) as many:
            posts = (many.post("/users/me/password", json=body) for _ in range(100))
            found: list[httpx2.Response] = await asyncio.gather(*posts)
            return found

    responses = asyncio.run(send_guesses())
    assert Counter(response.status_code for response in responses) == {403: PER_ACCOUNT, 429: 100 - PER_ACCOUNT}
    rejected = client.post("/users/me/password", json=body | {"current": RIGHT})
    assert rejected.status_code == 429
    assert rejected.json()["detail"].startswith("Too many wrong passwords. Try again in ")
    assert int(rejected.headers["Retry-After"]) > 0
    # An attacker with a stolen token cannot keep the user from signing in.
    assert target.attempt(name, RIGHT, target.address()).status_code == 200


def test_clients_that_disconnect_do_not_get_free_guesses(target: Target) -> None:
    name, address, before = target.user(), target.address(), target.reserved()
    form = urlencode({"username": name, "password": WRONG})
    request = (
        f"POST /token HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {address}\r\nContent-Length: {len(form)}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}"
    ).encode()
    for _ in range(PER_ACCOUNT):
        with socket.create_connection(("127.0.0.1", target.server.port)) as connection:
            connection.sendall(request)
    wait_until(lambda: target.reserved() - before == 2 * PER_ACCOUNT, "all attempts to be counted")
    assert target.attempt(name, RIGHT, target.address()).status_code == 429


def test_the_command_line_reports_a_wrong_password_with_the_time_to_wait(target: Target) -> None:
    name = target.user()
    target.attack([(name, target.address()) for _ in range(20)])
    with temporary_folder() as folder:
        login = ["login", target.api.base_url, "--username", name, "--password-stdin"]
        finished = CommandLine(folder, target.api.base_url).run(*login, stdin=f"{RIGHT}\n")
    assert finished.returncode == 4
    assert "Too many failed attempts to sign in as this user. Try again in 5 minutes" in " ".join(
        finished.stderr.split()
    )


def test_an_open_session_is_not_affected_by_an_attack(target: Target) -> None:
    name = target.user()
    with target.browser() as known:
        token = answer(target.attempt(name, RIGHT, target.address(), known))["access_token"]
        target.attack([(name, target.address()) for _ in range(20)])
        assert known.post("/session/refresh", headers={"X-Requested-With": "fastdeploy"}).status_code == 200
        assert target.api.client(token).get("/users/me").status_code == 200


def attributes(response: httpx2.Response) -> dict[str, set[str]]:
    """Return the attributes of each cookie that a response sets, by the beginning of the cookie's name."""
    cookies = response.headers.get_list("set-cookie")
    parts = [[part.strip() for part in cookie.split(";")] for cookie in cookies]
    return {found[0].split("=")[0].rstrip("0123456789"): {part.lower() for part in found[1:]} for found in parts}


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_cookies_have_their_attributes(target: Target, scheme: str) -> None:
    body = {"username": USER, "password": PASSWORD}
    found = attributes(target.api.anonymous.post("/session", json=body, headers={"X-Forwarded-Proto": scheme}))
    common = {"httponly", "samesite=strict", "path=/session"} | ({"secure"} if scheme == "https" else set())
    assert found == {
        "fastdeploy_session": common | {f"max-age={14 * 24 * 3600}"},
        "fastdeploy_browser_": common | {f"max-age={BROWSER_KNOWN_FOR.total_seconds():.0f}"},
    }


def test_settings_of_the_session_cookie_apply(new_server: NewServer) -> None:
    server = new_server(options=["--no-worker"], settings={"COOKIE_SECURE": "true", "SESSION_EXPIRE_DAYS": "0.5"})
    server.start()
    found = attributes(server.api.anonymous.post("/session", json={"username": USER, "password": PASSWORD}))
    assert "max-age=43200" in found["fastdeploy_session"]
    assert all("secure" in given for given in found.values())


def test_responses_with_tokens_are_not_cached(target: Target) -> None:
    with target.browser() as browser:
        responses = [
            browser.post("/session", json={"username": USER, "password": PASSWORD}),
            browser.post("/session/refresh", headers={"X-Requested-With": "fastdeploy"}),
            browser.post("/token", data={"username": USER, "password": PASSWORD}),
            target.api.admin.post("/config-token", json={"expiration_in_days": 1}),
        ]
    service = target.server.add_service("#!/bin/sh\n")
    responses.append(target.api.admin.post("/service-token", json={"service": service, "origin": "ci"}))
    for response in responses:
        assert response.status_code == 200, response.text
        assert "token" in response.text
        assert response.headers["Cache-Control"] == "no-store"
