"""Credentials for requests: a token from the environment, or a login that renews its tokens."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from deploy.entrypoints.cli.client.errors import NotSignedIn, Refused, UsageError
from deploy.entrypoints.cli.client.logins import Login
from deploy.entrypoints.cli.client.transport import Transport, parse_response

COOKIE = "fastdeploy_session"
TOKEN_VARIABLE = "FASTDEPLOY_TOKEN"  # noqa: S105 - a name
# Renew a token this many seconds before it expires, to leave time for a slow request.
RENEW_BEFORE = 30.0


class FixedToken:
    """A token from the environment, which cannot be renewed.

    `kind` and `service` are read from the token without verification and are only used in messages.
    """

    can_renew = False

    def __init__(self, token: str, url: str) -> None:
        if not token.isascii() or not token.isprintable() or " " in token:
            raise UsageError(f"{TOKEN_VARIABLE} is not a valid token.")
        self._token = token
        self._url = url
        claims = _claims(token)
        self.kind = str(claims.get("aud", "")).removeprefix("fastdeploy:") or "user"
        self.service = str(claims.get("sub", "")) if self.kind == "service" else None

    def token(self) -> str:
        """Return the token."""
        return self._token

    def renew(self) -> str:
        """Raise an error, because a fixed token cannot be renewed.

        Raises:
            NotSignedIn: Always.
        """
        raise NotSignedIn(
            f"{self._url} does not accept the token in {TOKEN_VARIABLE}. It may have expired, have been revoked, or "
            "belong to another server."
        )


class Session:
    """A login that exchanges its session cookie for short-lived tokens."""

    can_renew = True
    kind = "user"
    service = None

    def __init__(self, login: Login, transport: Transport) -> None:
        self._login = login
        self._transport = transport
        self._token = ""
        self._renew_at = 0.0

    def token(self) -> str:
        """Return a valid token. Renew it if necessary."""
        return self._token if time.monotonic() < self._renew_at else self.renew()

    def renew(self) -> str:
        """Return a new token.

        Raises:
            NotSignedIn: The session has ended.
        """
        headers = {"Cookie": f"{COOKIE}={self._login.session}", "X-Requested-With": "fastdeploy"}
        response = self._transport.send("POST", "/session/refresh", headers=headers)
        try:
            fields = parse_response(response, self._login.url)
        except NotSignedIn as error:
            raise NotSignedIn(
                f"Your session at {self._login.url} has ended. Sign in again: fastdeploy login {self._login.url}"
            ) from error
        self._token, lifetime = parse_token(fields, self._login.url)
        self._renew_at = time.monotonic() + max(lifetime - RENEW_BEFORE, lifetime / 2)
        return self._token


def parse_token(fields: Any, url: str) -> tuple[str, float]:
    """Return the token and its lifetime in seconds from the response to a sign-in.

    Raises:
        Refused: The response does not contain a token.
    """
    try:
        return str(fields["access_token"]), float(fields["expires_in"])
    except (TypeError, KeyError, ValueError) as error:
        raise Refused(f"{url} does not look like a fastDeploy server.", 200) from error


def _claims(token: str) -> dict[str, Any]:
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}
