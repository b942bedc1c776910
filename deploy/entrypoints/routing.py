"""Behavior of all routes: HEAD requests, and paths with and without a trailing slash.

A redirect between the two forms of a path would drop the Authorization header.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TRIED = "fastdeploy.other_spelling"


def answer_both_spellings(app: FastAPI) -> None:
    """If no route matches a path, retry it with its trailing slash removed or added.

    If a path without its slash matches another route (`/services/names` matches `/services/{id}`), declare the path in
    both forms.
    """
    router = app.router
    not_found = router.default

    async def other_spelling(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if scope["type"] != "http" or _TRIED in scope or path == "/":
            await not_found(scope, receive, send)
            return
        other = path[:-1] if path.endswith("/") else f"{path}/"
        await router({**scope, "path": other, _TRIED: True}, receive, send)

    router.default = other_spelling


def describe_errors(app: FastAPI) -> None:
    """Describe 422 responses in the OpenAPI document as they are: a sentence, or a list without the invalid values."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        is_new = app.openapi_schema is None
        document = generate()
        if is_new:
            schemas = document["components"]["schemas"]
            detail = schemas["HTTPValidationError"]["properties"]["detail"]
            problems = {"type": "array", "items": detail.pop("items")}
            detail.pop("type")
            detail["anyOf"] = [{"type": "string"}, problems]
            schemas["HTTPValidationError"]["required"] = ["detail"]
            for name in ("ctx", "input"):
                schemas["ValidationError"]["properties"].pop(name, None)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


class HeadAsGet:
    """Middleware that answers HEAD like GET, but without the body (RFC 9110, 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward a request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, send_head)
