"""The web page: built files under /ui/. Every other path under /ui/ returns the page itself."""

from __future__ import annotations

import re
from importlib.resources import files
from mimetypes import guess_type
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

WEB = Path(str(files("deploy"))) / "_web"
MISSING = (
    "<!doctype html><title>fastDeploy</title><h1>The web page is not built</h1>"
    "<p>The API is available. To build the page, run <code>just build-page</code>, then reload.</p>"
)
# The names of built assets contain a hash of their content, so an asset never changes. The page that references them
# does.
IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}
REVALIDATE = {"Cache-Control": "no-cache"}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def root() -> RedirectResponse:
    """Redirect to the page, which is under /ui/ because the API has the short paths."""
    return RedirectResponse("/ui/")


@router.get("/ui/{path:path}")
async def page(path: str, request: Request) -> Response:
    """Return a built file, or the page, which routes the path itself."""
    asset = _asset(path)
    if asset is not None:
        caching = IMMUTABLE if path.startswith("assets/") else REVALIDATE
        return _file(asset, caching, request.headers.get("accept-encoding", ""))
    index = WEB / "index.html"
    if path.startswith("assets/"):
        return Response(status_code=404)
    return FileResponse(index, headers=REVALIDATE) if index.is_file() else HTMLResponse(MISSING, 503)


@router.get("/docs")
async def api_docs(request: Request) -> HTMLResponse:
    """Return the interactive API documentation; its script is served from here, not from a CDN."""
    return get_swagger_ui_html(
        openapi_url=str(request.app.openapi_url),
        title="fastDeploy API",
        swagger_js_url="/ui/swagger-ui/swagger-ui-bundle.js",
        swagger_css_url="/ui/swagger-ui/swagger-ui.css",
        swagger_favicon_url="/ui/favicon.svg",
    )


def _file(asset: Path, caching: dict[str, str], encodings: str) -> Response:
    """Return a file, compressed if the build created a compressed copy and the client accepts it.

    API responses are never compressed, because the length of a compressed response can reveal a secret in it.
    """
    small = asset.with_name(f"{asset.name}.gz")
    if not small.is_file():
        return FileResponse(asset, headers=caching)
    headers = {**caching, "Vary": "Accept-Encoding"}
    if not takes_gzip(encodings):
        return FileResponse(asset, headers=headers)
    kind = guess_type(asset.name)[0] or "application/octet-stream"
    return FileResponse(small, headers={**headers, "Content-Encoding": "gzip"}, media_type=kind)


def takes_gzip(encodings: str) -> bool:
    """Return True if an Accept-Encoding header (RFC 9110, 12.5.3) accepts gzip."""
    weights = {}
    for part in encodings.lower().split(","):
        name, _, weight = part.partition(";")
        weights[name.strip()] = weight.replace(" ", "")
    refused = re.compile(r"q=0(\.0*)?")
    given = weights.get("gzip", weights.get("*"))
    return given is not None and not refused.fullmatch(given)


def _asset(path: str) -> Path | None:
    try:
        asset = (WEB / path).resolve()
        return asset if path and asset.is_relative_to(WEB) and asset.is_file() else None
    except (OSError, ValueError):
        return None  # not a valid file name
