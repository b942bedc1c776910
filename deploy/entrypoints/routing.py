"""Paths answer with and without their trailing slash. A redirect between them would lose the Authorization header."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

_TRIED = "fastdeploy.other_spelling"


def answer_both_spellings(app: FastAPI) -> None:
    """Try a path that no route has with its slash taken off, or put on.

    A path that is another route's with the slash missing (`/services/names`, where `/services/{id}` is one) has to be
    declared in both spellings.
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
