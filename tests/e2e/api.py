"""A client of the HTTP API for tests and benchmarks, with plain calls and the few steps that all of them need."""

import time
from typing import Any

import httpx2

from tests.e2e.live import Live
from tests.e2e.waiting import TIMEOUT, wait_until

FINAL = frozenset({"success", "failure", "cancelled"})
# Seconds. A user token lives for 30 minutes.
RENEW_AFTER = 600.0


class Api:
    """The API of one server, used as its administrator. `client(token)` uses other tokens."""

    def __init__(self, base_url: str, user: str, password: str) -> None:
        self.base_url = base_url
        self.user = user
        self.password = password
        self._clients: dict[str | None, httpx2.Client] = {}
        self._token: tuple[str, float] | None = None
        self._service_tokens: dict[str, str] = {}

    def client(self, token: str | None = None) -> httpx2.Client:
        """Return a client that sends this token, if any, with each request."""
        if token not in self._clients:
            headers = {"Authorization": f"Bearer {token}"} if token is not None else None
            self._clients[token] = httpx2.Client(
                base_url=self.base_url, headers=headers, timeout=TIMEOUT, trust_env=False
            )
        return self._clients[token]

    @property
    def anonymous(self) -> httpx2.Client:
        """A client without a token."""
        return self.client()

    @property
    def admin(self) -> httpx2.Client:
        """The administrator's client."""
        return self.client(self.token)

    @property
    def token(self) -> str:
        """The administrator's user token, which is renewed when it gets old."""
        if self._token is None or time.monotonic() - self._token[1] > RENEW_AFTER:
            self._token = (self.sign_in(self.user, self.password), time.monotonic())
        return self._token[0]

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def sign_in(self, user: str, password: str) -> str:
        """Return a user token."""
        return str(
            answer(self.anonymous.post("/token", data={"username": user, "password": password}))["access_token"]
        )

    def create_user(self, name: str, password: str, *, is_admin: bool = False) -> dict[str, Any]:
        """Add a user."""
        body = {"name": name, "password": password, "is_admin": is_admin}
        return dict(answer(self.admin.post("/users/", json=body)))

    def service_token(self, service: str, *, origin: str = "ci", days: int = 1, token: str | None = None) -> str:
        """Return a new service token."""
        body = {"service": service, "origin": origin, "expiration_in_days": days}
        client = self.client(token) if token else self.admin
        return str(answer(client.post("/service-token", json=body))["service_token"])

    def config_token(self) -> str:
        """Return a new config token."""
        return str(answer(self.admin.post("/config-token", json={"expiration_in_days": 1}))["config_token"])

    def sync(self) -> dict[str, Any]:
        """Sync the service folders to the database."""
        return dict(answer(self.admin.post("/services/sync")))

    def service(self, name: str) -> dict[str, Any]:
        """Return a service by its name."""
        return next(service for service in answer(self.admin.get("/services/")) if service["name"] == name)

    def start(self, service: str, env: dict[str, Any] | None = None, *, token: str | None = None) -> dict[str, Any]:
        """Start a deployment with a service token."""
        if token is None:
            if service not in self._service_tokens:
                self._service_tokens[service] = self.service_token(service)
            token = self._service_tokens[service]
        body = {"env": env} if env is not None else None
        return dict(answer(self.client(token).post("/deployments/", json=body)))

    def deployment(self, deployment_id: int) -> dict[str, Any]:
        """Return a deployment with its steps."""
        return dict(answer(self.admin.get(f"/deployments/{deployment_id}")))

    def wait_until_final(self, deployment_id: int, timeout: float = TIMEOUT) -> dict[str, Any]:
        """Return a deployment once it is final and its run has ended."""
        return self.wait_for_state(deployment_id, *FINAL, timeout=timeout)

    def wait_for_state(self, deployment_id: int, *states: str, timeout: float = TIMEOUT) -> dict[str, Any]:
        """Return a deployment once it is in one of these states."""

        def reached() -> dict[str, Any] | None:
            deployment = self.deployment(deployment_id)
            return deployment if deployment["state"] in states else None

        found = wait_until(reached, f"deployment {deployment_id} to be {' or '.join(states)}", timeout)
        assert found is not None
        return found

    def run(self, service: str, env: dict[str, Any] | None = None) -> dict[str, Any]:
        """Start a deployment and return it once it is final."""
        return self.wait_until_final(self.start(service, env)["id"])

    def steps(self, deployment_id: int) -> list[dict[str, Any]]:
        """Return the steps of a deployment in order."""
        return list(answer(self.admin.get("/steps/", params={"deployment_id": deployment_id})))

    def events(self, deployment_id: int, after: int = 0) -> list[dict[str, Any]]:
        """Return the stored messages of a deployment after number `after`."""
        found: list[dict[str, Any]] = []
        while True:
            params = {"after": after, "limit": 1000}
            page = answer(self.admin.get(f"/deployments/{deployment_id}/events", params=params))
            found += page["events"]
            after = page["last_seq"]
            if not page["more"]:
                return found

    def lines(self, deployment_id: int) -> list[str]:
        """Return all output of a deployment, line by line."""
        found: list[str] = []
        after: int | None = 0
        while after is not None:
            params = {"after": after, "limit": 10_000}
            page = answer(self.admin.get(f"/deployments/{deployment_id}/output", params=params))
            found += [line["text"] for line in page["lines"]]
            after = page["next_after"]
        return found

    def live(self, token: str | None = None, *, origin: str | None = None) -> Live:
        """Return a WebSocket connection that is signed in."""
        connection = Live(self.base_url, origin=origin)
        reply = connection.sign_in(token or self.token)
        assert reply["status"] == "success", reply
        return connection


def answer(response: httpx2.Response) -> Any:
    """Return the JSON of a response, which must be successful."""
    assert response.is_success, f"{response.request.method} {response.url}: {response.status_code} {response.text}"
    return response.json()
