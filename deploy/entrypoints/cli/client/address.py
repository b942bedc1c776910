"""URLs of servers, as users type them."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit, urlunsplit

from deploy.entrypoints.cli.client.errors import UsageError

LOCAL = "http://127.0.0.1:8000"
# Paths of the web page, which users copy from the browser as part of the server's URL.
_PAGE = re.compile(r"/(ui(/.*)?|docs|openapi\.json|health/(live|ready))?$")


def base_url(text: str) -> str:
    """Return the URL of a server without a trailing slash. Keep a path prefix.

    The default scheme is `https`, or `http` for this machine. The URL of the web page is also accepted.

    Raises:
        UsageError: The URL is invalid or contains a username.
    """
    typed = text.strip()
    try:
        parts = urlsplit(typed if "://" in typed else f"{_scheme(typed)}://{typed}")
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{text!r} is not a valid server URL ({error}).") from error
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\\<>\"]", typed):
        raise UsageError(f"{text!r} is not a valid server URL. Use a URL such as https://deploy.example.com")
    if parts.username is not None:
        raise UsageError("Remove the user name and password from the URL. You are prompted for them.")
    return urlunsplit(SplitResult(parts.scheme, parts.netloc.lower(), _PAGE.sub("", parts.path), "", "")).rstrip("/")


def is_loopback(url: str) -> bool:
    """Return True if the URL points to this machine, where proxies and encryption are not needed."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def socket_url(url: str, client_id: str) -> str:
    """Return the URL of the WebSocket."""
    return f"ws{url.removeprefix('http')}/deployments/ws/{client_id}"


def page_url(url: str, deployment_id: int) -> str:
    """Return the URL of the web page of a deployment."""
    return f"{url}/ui/deployments/{deployment_id}"


def _scheme(typed: str) -> str:
    return "http" if is_loopback(f"//{typed}") else "https"
