"""Client for the HTTP API, with a login or a token."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from deploy.entrypoints.cli.client.address import base_url
from deploy.entrypoints.cli.client.credentials import TOKEN_VARIABLE, FixedToken, Session
from deploy.entrypoints.cli.client.errors import (
    ClientError,
    NeverConnected,
    NotSignedIn,
    Refused,
    Unavailable,
    Unreachable,
    UsageError,
)
from deploy.entrypoints.cli.client.logins import Logins, default_path
from deploy.entrypoints.cli.client.text import printable
from deploy.entrypoints.cli.client.transport import Transport, parse_response

URL_VARIABLE = "FASTDEPLOY_URL"
ATTEMPTS = 6
EVENTS_AT_ONCE, LINES_AT_ONCE = 1000, 5000


class Api:
    """Reads and starts deployments. Retries requests that are safe to repeat."""

    def __init__(
        self, transport: Transport, credentials: FixedToken | Session, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.transport = transport
        self.credentials = credentials
        self._sleep = sleep

    @property
    def url(self) -> str:
        """Return the URL of the server."""
        return self.transport.url

    def get(self, path: str, **params: Any) -> Any:
        """Send a GET request and return the result. Omit parameters that are None."""
        given = {name: value for name, value in params.items() if value is not None}
        return self._request("GET", path, params=given, repeatable=True)

    def post(self, path: str, body: Any = None, *, key: str | None = None) -> Any:
        """Send a POST request and return the result. With a `key` (Idempotency-Key), retry it if necessary."""
        headers = {"Idempotency-Key": key} if key is not None else {}
        return self._request("POST", path, json=body, headers=headers, repeatable=key is not None)

    def events(self, deployment_id: int, after: int) -> dict[str, Any]:
        """Return the messages of a deployment after number `after`, without retries."""
        params = {"after": after, "limit": EVENTS_AT_ONCE}
        fields: dict[str, Any] = self._once("GET", f"/deployments/{deployment_id}/events", {"params": params})
        return fields

    def deployment(self, deployment_id: int) -> dict[str, Any]:
        """Return a deployment with its steps."""
        try:
            fields: dict[str, Any] = self.get(f"/deployments/{deployment_id}")
        except Refused as error:
            raise self.explain(error, deployment_id) from error
        return fields

    def waiting_reason(self, deployment_id: int) -> str | None:
        """Return the reason a deployment is waiting. Do not retry.

        Return None if it is not waiting or if the server is unreachable.
        """
        try:
            waiting = self._once("GET", f"/deployments/{deployment_id}", {})["waiting"]
        except (Unreachable, Unavailable):
            return None
        return str(waiting["reason"]) if waiting else None

    def services(self) -> list[dict[str, Any]]:
        """Return all services."""
        found: list[dict[str, Any]] = self.get("/services/")
        return found

    def service_id(self, name: str) -> int:
        """Return the ID of a service.

        Raises:
            Refused: The service does not exist. The message suggests similar names.
        """
        ids = {str(service["name"]): int(service["id"]) for service in self.services()}
        if name not in ids:
            raise Refused(service_not_found(name, sorted(ids)), 404)
        return ids[name]

    def require_user(self, action: str) -> None:
        """Check that the credentials belong to a user, which `action` requires.

        Raises:
            UsageError: The token in the environment has another type.
        """
        if self.credentials.kind != "user":
            raise UsageError(
                f"To {action}, unset {TOKEN_VARIABLE} and sign in as a user: fastdeploy login {self.url}\n"
                f"The {self.credentials.kind} token in {TOKEN_VARIABLE} does not allow it."
            )

    def explain(self, error: Refused, deployment_id: int) -> ClientError:
        """Return a clearer error for a request about a deployment."""
        if error.status == 404:
            return Refused(f"Deployment {deployment_id} does not exist on {self.url}.", 404)
        if error.status == 403 and self.credentials.service:
            return Refused(
                f"The service token is for {self.credentials.service}; deployment {deployment_id} belongs to "
                "another service.",
                403,
            )
        return error

    def _request(self, method: str, path: str, *, repeatable: bool, **parts: Any) -> Any:
        in_doubt: Unreachable | None = None
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._once(method, path, parts)
            except (Unavailable, Unreachable) as error:
                never_connected = isinstance(error, NeverConnected)
                if isinstance(error, Unreachable) and not never_connected:
                    in_doubt = in_doubt or error  # the server could have processed the request
                if not repeatable or attempt == ATTEMPTS or (attempt == 1 and never_connected):
                    raise (in_doubt or error) from None
                self._sleep(error.retry_after if isinstance(error, Unavailable) else 1.0)
        raise AssertionError

    def _once(self, method: str, path: str, parts: Mapping[str, Any]) -> Any:
        headers = {**parts.get("headers", {}), "Authorization": f"Bearer {self.credentials.token()}"}
        response = self.transport.send(method, path, **{**parts, "headers": headers})
        if response.status_code == 401:
            headers["Authorization"] = f"Bearer {self.credentials.renew()}"
            response = self.transport.send(method, path, **{**parts, "headers": headers})
        return parse_response(response, self.url)


def open_api(environment: Mapping[str, str] = os.environ, logins: Logins | None = None) -> Api:
    """Return a client for the server in the environment, or for the current login.

    Raises:
        NotSignedIn: There is no login and no token.
        UsageError: A token is set, but its server is unknown.
    """
    known = logins or Logins(default_path())
    token, named = environment.get(TOKEN_VARIABLE, "").strip(), environment.get(URL_VARIABLE, "").strip()
    url = base_url(named) if named else None
    login = known.at(url) if url else known.current()
    if token and (url or login):
        url = url or (login.url if login else "")
        return Api(Transport(url), FixedToken(token, url))
    if token:
        raise UsageError(f"{TOKEN_VARIABLE} is set, but {URL_VARIABLE} is not. Set it to the URL of the server.")
    if login is None:
        target = f" to {url}" if url else ""
        raise NotSignedIn(
            f"You are not signed in{target}. Sign in with: fastdeploy login {url or 'URL'}\n"
            f"In a CI job, set {URL_VARIABLE} and {TOKEN_VARIABLE} instead. "
            "To start a server, run: fastdeploy serve"
        )
    transport = Transport(login.url)
    return Api(transport, Session(login, transport))


def service_not_found(name: str, known: list[str]) -> str:
    """Return the error message for a service that does not exist, with similar names."""
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    if near:
        hint = f"Did you mean {' or '.join(near)}?"
    elif known:
        hint = f"Available services: {', '.join(known[:10])}{', …' if len(known) > 10 else ''}"
    else:
        hint = "There are no services yet. Sync them with: fastdeploy services sync"
    return f"Service {printable(name)} does not exist. {hint}"
