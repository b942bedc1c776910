"""Test the responses to errors that are not caused by the request."""

from __future__ import annotations

import logging

import httpx2
import pytest
from fastapi import FastAPI

from deploy.adapters.database import Unreachable
from deploy.adapters.service_folders.processes import FoldersUnavailable
from deploy.entrypoints import errors


async def response_to(error: Exception) -> httpx2.Response:
    """Return the response of a route that raises this error."""
    app = FastAPI()
    errors.install(app)

    @app.get("/trouble")
    async def fail() -> None:
        raise error

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as client:
        response: httpx2.Response = await client.get("/trouble")
        return response


async def test_a_database_outage_asks_to_retry() -> None:
    response = await response_to(Unreachable("refused"))
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
    assert response.json()["detail"].startswith("The database cannot be reached")


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied", "/etc/shadow"), FileNotFoundError("a.key")]
)
async def test_a_file_error_is_logged_but_not_returned(error: OSError, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        response = await response_to(error)
    assert (response.status_code, response.json()) == (500, {"detail": errors.UNEXPECTED})
    assert "Retry-After" not in response.headers
    (record,) = caplog.records
    assert record.getMessage() == "GET /trouble failed"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


async def test_a_services_folder_error_is_returned() -> None:
    response = await response_to(FoldersUnavailable("The services folder cannot be read"))
    assert (response.status_code, response.json()) == (500, {"detail": "The services folder cannot be read"})
