"""Addresses of servers, as people type them."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit, urlunsplit

from deploy.entrypoints.cli.client.errors import WrongUsage

LOCAL = "http://127.0.0.1:8000"
# What somebody gets who copies the address out of a browser: the page's own paths are no part of the server's address.
_PAGE = re.compile(r"/(ui(/.*)?|docs|openapi\.json|health/(live|ready))?$")


def base_url(text: str) -> str:
    """Return the address of a server without a slash at its end; a path prefix stays.

    Without a scheme it is `https`, or `http` for this very machine. An address that was copied from the page is
    understood, too.

    Raises:
        WrongUsage: it is no address, or has a password in it.
    """
    typed = text.strip()
    try:
        parts = urlsplit(typed if "://" in typed else f"{_scheme(typed)}://{typed}")
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise WrongUsage(f"{text!r} is no address of a server ({error}).") from error
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\\<>\"]", typed):
        raise WrongUsage(f"{text!r} is no address of a server. It looks like https://deploy.example.com")
    if parts.username is not None:
        raise WrongUsage("Leave name and password out of the address; they are asked for.")
    return urlunsplit(SplitResult(parts.scheme, parts.netloc.lower(), _PAGE.sub("", parts.path), "", "")).rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether the address is this very machine: no proxy leads there, and nobody listens in between."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def socket_url(url: str, client_id: str) -> str:
    """Return the address of the WebSocket."""
    return f"ws{url.removeprefix('http')}/deployments/ws/{client_id}"


def page_url(url: str, deployment_id: int) -> str:
    """Return where a person looks at a deployment."""
    return f"{url}/ui/deployments/{deployment_id}"


def _scheme(typed: str) -> str:
    return "http" if is_loopback(f"//{typed}") else "https"
