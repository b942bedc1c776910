"""What is answered when something goes wrong that is nobody's request."""

from __future__ import annotations

import logging

import httpx2
import pytest
from fastapi import FastAPI

from deploy.adapters.database import Unreachable
from deploy.adapters.service_folders.processes import FoldersUnavailable
from deploy.entrypoints import errors


async def answer_to(error: Exception) -> httpx2.Response:
    """Return what a client gets of a route that raises this."""
    app = FastAPI()
    errors.install(app)

    @app.get("/trouble")
    async def trouble() -> None:
        raise error

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as client:
        response: httpx2.Response = await client.get("/trouble")
        return response


async def test_a_database_that_is_away_comes_again() -> None:
    response = await answer_to(Unreachable("refused"))
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
    assert response.json()["detail"].startswith("The database cannot be reached")


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied", "/etc/shadow"), FileNotFoundError("a.key")]
)
async def test_trouble_with_a_file_is_logged_and_not_told(error: OSError, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        response = await answer_to(error)
    assert (response.status_code, response.json()) == (500, {"detail": errors.UNEXPECTED})
    assert "Retry-After" not in response.headers
    (record,) = caplog.records
    assert record.getMessage() == "GET /trouble failed"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


async def test_trouble_with_the_services_folder_is_told() -> None:
    response = await answer_to(FoldersUnavailable("The services folder cannot be read"))
    assert (response.status_code, response.json()) == (500, {"detail": "The services folder cannot be read"})
