"""Every response has the security headers, and only the page that needs inline scripts may use them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest
import pytest_asyncio

from deploy.entrypoints.fastapi_app import create_app
from deploy.entrypoints.middleware import BODY_LIMIT

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
STRICT = {
    "default-src": "'self'",
    "img-src": "'self' data:",
    "style-src": "'self'",
    "script-src": "'self'",
    "connect-src": "'self'",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
WITH_INLINE = STRICT | {"style-src": "'self' 'unsafe-inline'", "script-src": "'self' 'unsafe-inline'"}


@pytest_asyncio.fixture(loop_scope="session")
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client of the application. Requests that need the database are rejected before they reach it."""
    transport = httpx2.ASGITransport(create_app())
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as made:
        yield made


def policy_of(response: httpx2.Response) -> dict[str, str]:
    """Return the directives of the only Content-Security-Policy."""
    (policy,) = response.headers.get_list("Content-Security-Policy")
    return dict(directive.strip().split(" ", 1) for directive in policy.split(";"))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/ui/", {200, 503}),
        ("/ui/assets/missing.js", {404}),
        ("/openapi.json", {200}),
        ("/health/live", {200}),
        ("/deployments", {405}),
        ("/deployed", {404}),
        ("/docsy", {404}),
        ("/docs-of-others", {404}),
        ("/docs/other", {404}),
        ("/d", {404}),
        ("/missing", {404}),
    ],
)
async def test_other_paths_have_the_strict_policy(client: httpx2.AsyncClient, path: str, status: set[int]) -> None:
    response = await client.request("PATCH" if status == {405} else "GET", path)
    assert response.status_code in status
    assert policy_of(response) == STRICT
    assert {name: response.headers[name] for name in HEADERS} == HEADERS


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
async def test_the_api_docs_may_use_inline_scripts(client: httpx2.AsyncClient, path: str) -> None:
    response = await client.get(path, follow_redirects=False)
    assert response.status_code in {200, 307}
    assert policy_of(response) == WITH_INLINE
    assert {name: response.headers[name] for name in HEADERS} == HEADERS


async def test_a_refused_body_has_the_headers(client: httpx2.AsyncClient) -> None:
    response = await client.post("/token", content=b"x" * (BODY_LIMIT + 1))
    assert response.status_code == 413
    assert policy_of(response) == STRICT
    assert {name: response.headers[name] for name in HEADERS} == HEADERS
