"""Middleware for all HTTP requests: a size limit for bodies, security headers, and reads during migrations."""

from __future__ import annotations

import json

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deploy.adapters.database import DATABASE_ERRORS, is_outdated

BODY_LIMIT = 1 << 20
POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Only Swagger UI needs inline scripts and styles.
DOCS_POLICY = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'").replace(
    "script-src 'self'", "script-src 'self' 'unsafe-inline'"
)
HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
]


class BodyTooLarge(HTTPException):
    """The body is larger than `BODY_LIMIT` bytes.

    This is an HTTPException, because code that reads bodies lets HTTPExceptions pass.
    """

    def __init__(self) -> None:
        super().__init__(413, f"The request body is larger than {BODY_LIMIT} bytes.")


class Safety:
    """Rejects oversized bodies (413), and adds security headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        policy = DOCS_POLICY if scope["path"].rstrip("/") == "/docs" else POLICY
        headers = [*HEADERS, (b"content-security-policy", policy.encode())]

        async def careful_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = list(message.get("headers", []))
                message["headers"] = [*own, *headers, *_caching(own)]
            await send(message)

        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > BODY_LIMIT:
            await _refuse(careful_send)
            return
        try:
            await self._app(scope, _counted(receive), careful_send)
        except BodyTooLarge:
            await _refuse(careful_send)


class RetryReads:
    """Repeats a GET request once if a migration has outdated a prepared statement that it uses.

    The bus and `in_unit_of_work` do the same for everything else.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward a request."""
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def watched_send(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(dict(scope), receive, watched_send)
        except DATABASE_ERRORS as error:
            if has_begun or not is_outdated(error):
                raise
            await self._app(scope, receive, send)


def _caching(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the header that prevents caching, unless the response says how it can be cached.

    Responses contain what one user is allowed to see, and sometimes tokens (RFC 6750, section 5.3).
    """
    is_decided = any(name.lower() == b"cache-control" for name, _ in headers)
    return [] if is_decided else [(b"cache-control", b"no-store")]


def _counted(receive: Receive) -> Receive:
    received = 0

    async def counting() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > BODY_LIMIT:
            raise BodyTooLarge
        return message

    return counting


async def _refuse(send: Send) -> None:
    body = json.dumps({"detail": BodyTooLarge().detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
