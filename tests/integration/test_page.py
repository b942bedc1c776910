"""The built page's files are compressed if the client accepts it, and cached forever if their names contain a hash."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from fastapi import FastAPI

from deploy.entrypoints.routers import page

SCRIPT = "export const answer = 42;\n" * 100
IMMUTABLE = "public, max-age=31536000, immutable"


@pytest_asyncio.fixture
async def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client of a built page with a known script."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "assets" / "main-1a2b.js").write_text(SCRIPT)
    (tmp_path / "assets" / "main-1a2b.js.gz").write_bytes(gzip.compress(SCRIPT.encode()))
    (tmp_path / "assets" / "font-3c4d.woff2").write_bytes(b"font")
    monkeypatch.setattr(page, "WEB", tmp_path)
    app = FastAPI()
    app.include_router(page.router)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as made:
        made.headers.pop("accept-encoding")
        yield made


@pytest.mark.parametrize("encodings", ["gzip", "gzip, deflate, br", "br;q=1.0, gzip;q=0.8, *;q=0.1", "*", "GZIP"])
async def test_a_script_is_sent_compressed(client: httpx2.AsyncClient, encodings: str) -> None:
    response = await client.get("/ui/assets/main-1a2b.js", headers={"Accept-Encoding": encodings})
    assert response.text == SCRIPT
    assert response.headers["Content-Encoding"] == "gzip"
    assert int(response.headers["Content-Length"]) < len(SCRIPT) / 5
    assert response.headers["Content-Type"].split(";")[0] in {"text/javascript", "application/javascript"}
    assert response.headers["Cache-Control"] == IMMUTABLE
    assert response.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize("encodings", ["", "br", "identity", "gzip;q=0", "gzip; q=0.0", "*;q=0", "br, *;q=0"])
async def test_a_script_is_sent_uncompressed_on_request(client: httpx2.AsyncClient, encodings: str) -> None:
    response = await client.get("/ui/assets/main-1a2b.js", headers={"Accept-Encoding": encodings})
    assert response.text == SCRIPT
    assert "Content-Encoding" not in response.headers
    assert int(response.headers["Content-Length"]) == len(SCRIPT)
    assert response.headers["Cache-Control"] == IMMUTABLE
    assert response.headers["Vary"] == "Accept-Encoding"


async def test_a_file_without_a_compressed_version_is_sent_uncompressed(client: httpx2.AsyncClient) -> None:
    response = await client.get("/ui/assets/font-3c4d.woff2", headers={"Accept-Encoding": "gzip"})
    assert response.content == b"font"
    assert "Content-Encoding" not in response.headers
    assert response.headers["Cache-Control"] == IMMUTABLE


async def test_the_page_is_revalidated(client: httpx2.AsyncClient) -> None:
    for path in ("/ui/", "/ui/deployments/7"):
        response = await client.get(path, headers={"Accept-Encoding": "gzip"})
        assert (response.status_code, response.headers["Cache-Control"]) == (200, "no-cache")
    assert (await client.get("/ui/assets/gone.js")).status_code == 404
