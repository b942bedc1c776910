"""The server's own URL, for links in responses."""

from __future__ import annotations

from starlette.requests import Request

from deploy.config import Settings


def public_url(request: Request, settings: Settings) -> str:
    """Return the URL at which clients reach the server: from the settings, or the address that it listens on.

    The Host header is not used: a client, or an attacker who makes a client send requests, can set it to anything.
    """
    if configured := settings.public_url or settings.api_url:
        return configured.rstrip("/")
    host, port = request.scope.get("server") or ("localhost", None)
    if port is None and "/" in host:  # a Unix socket
        host = "localhost"
    shown = f"[{host}]" if ":" in host else host
    place = f"{shown}:{port}" if port else shown
    return f"{request.url.scheme}://{place}{request.scope.get('root_path', '')}"
