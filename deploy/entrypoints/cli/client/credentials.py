"""With what a request proves who is asking: a token from the environment, or a login that renews its own."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from deploy.entrypoints.cli.client.errors import NotSignedIn, Refused, WrongUsage
from deploy.entrypoints.cli.client.logins import Login
from deploy.entrypoints.cli.client.transport import Transport, answer

COOKIE = "fastdeploy_session"
TOKEN_VARIABLE = "FASTDEPLOY_TOKEN"  # noqa: S105 - a name
# Renewed when it would end within so many seconds: a request and a slow network fit into that.
RENEW_BEFORE = 30.0


class FixedToken:
    """A token from the environment. It cannot be renewed.

    `kind` and `service` are what the token says of itself, for better messages only; the server decides.
    """

    can_renew = False

    def __init__(self, token: str, url: str) -> None:
        if not token.isascii() or not token.isprintable() or " " in token:
            raise WrongUsage(f"{TOKEN_VARIABLE} holds no token.")
        self._token = token
        self._url = url
        claims = _claims(token)
        self.kind = str(claims.get("aud", "")).removeprefix("fastdeploy:") or "user"
        self.service = str(claims.get("sub", "")) if self.kind == "service" else None

    def token(self) -> str:
        """Return the token."""
        return self._token

    def renew(self) -> str:
        """Say that this is not possible.

        Raises:
            NotSignedIn: always.
        """
        raise NotSignedIn(
            f"{self._url} does not accept the token in {TOKEN_VARIABLE}: it has expired, was revoked, or is for "
            "another server."
        )


class Session:
    """A login: it exchanges its cookie for short-lived tokens as often as needed."""

    can_renew = True
    kind = "user"
    service = None

    def __init__(self, login: Login, transport: Transport) -> None:
        self._login = login
        self._transport = transport
        self._token = ""
        self._renew_at = 0.0

    def token(self) -> str:
        """Return a token that is good for a while."""
        return self._token if time.monotonic() < self._renew_at else self.renew()

    def renew(self) -> str:
        """Return a new token.

        Raises:
            NotSignedIn: the session has ended.
        """
        headers = {"Cookie": f"{COOKIE}={self._login.session}", "X-Requested-With": "fastdeploy"}
        response = self._transport.send("POST", "/session/refresh", headers=headers)
        try:
            fields = answer(response, self._login.url)
        except NotSignedIn as error:
            raise NotSignedIn(
                f"Your session at {self._login.url} has ended. Sign in again: fastdeploy login {self._login.url}"
            ) from error
        self._token, lifetime = token_of(fields, self._login.url)
        self._renew_at = time.monotonic() + max(lifetime - RENEW_BEFORE, lifetime / 2)
        return self._token


def token_of(fields: Any, url: str) -> tuple[str, float]:
    """Return the token, and its life in seconds, out of the answer to a sign-in.

    Raises:
        Refused: it is no such answer.
    """
    try:
        return str(fields["access_token"]), float(fields["expires_in"])
    except (TypeError, KeyError, ValueError) as error:
        raise Refused(f"What answers at {url} is no fastDeploy server.", 200) from error


def _claims(token: str) -> dict[str, Any]:
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}
