"""The table that maps errors to HTTP status codes."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from deploy.adapters.database import DATABASE_ERRORS, ReadTimeout, is_away, is_full, sql_state
from deploy.adapters.service_folders.processes import FoldersUnavailable
from deploy.domain.errors import (
    Conflict,
    DomainError,
    Forbidden,
    InvalidInput,
    NotFound,
    NotSignedIn,
    Overloaded,
    TooManyAttempts,
    TooManyWaiting,
    TryLater,
)
from deploy.domain.inputs import Fault, InvalidValues
from deploy.entrypoints.full_disk import FULL

log = logging.getLogger(__name__)

STATUS: dict[type[DomainError], int] = {
    NotSignedIn: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    InvalidInput: 422,
    TooManyAttempts: 429,
    TooManyWaiting: 429,
    Overloaded: 503,
}
AWAY = "The database cannot be reached. Nothing was changed; try again in a moment."
TOO_SLOW = (
    "Reading this took too long, so it was canceled. The database is busy: try again in a moment. "
    "If it keeps happening, ask for less, or contact your administrator."
)
UNEXPECTED = "Internal server error. See the server log, or contact your administrator."
RETRY_AFTER = {"Retry-After": "2"}
RETRY_AFTER_SPACE = {"Retry-After": "60"}


def domain_error(_request: Request, error: Exception) -> JSONResponse:
    """Return the response for a domain error, with the status code of its class."""
    if isinstance(error, InvalidValues):
        return JSONResponse({"detail": [_entry(fault) for fault in error.faults]}, 422)
    status = next(code for kind, code in STATUS.items() if isinstance(error, kind))
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    if isinstance(error, TryLater):
        headers = {"Retry-After": str(error.retry_after)}
    return JSONResponse({"detail": str(error)}, status, headers)


def _entry(fault: Fault) -> dict[str, Any]:
    return {"loc": ["body", *fault.path], "msg": fault.sentence, "type": "input"}


def invalid_request(_request: Request, error: Exception) -> JSONResponse:
    """Return the problems with a request, without its values, because these could contain secrets."""
    assert isinstance(error, RequestValidationError)
    faults = [{name: fault[name] for name in ("loc", "msg", "type")} for fault in error.errors()]
    return JSONResponse({"detail": jsonable_encoder(faults)}, 422)


def database_away(_request: Request, error: Exception) -> JSONResponse:
    """Return 503 with Retry-After while the database is unreachable."""
    log.warning("The database cannot be reached: %s", error)
    return JSONResponse({"detail": AWAY}, 503, RETRY_AFTER)


def disk_full(request: Request, error: Exception) -> JSONResponse:
    """Return 503 with Retry-After while a disk is full."""
    request.app.state.app_state.full_disk.notice(error)
    log.error("%s %s failed: %s", request.method, request.url.path, error)
    return JSONResponse({"detail": FULL}, 503, RETRY_AFTER_SPACE)


def read_timeout(request: Request, error: Exception) -> JSONResponse:
    """Return 503 for a read that took too long and was canceled."""
    log.warning("%s %s: %s", request.method, request.url.path, error)
    return JSONResponse({"detail": TOO_SLOW}, 503, RETRY_AFTER)


def database_error(request: Request, error: Exception) -> JSONResponse:
    """Return 503 for a lost connection or a full disk, and 422 for an invalid value. Raise every other error."""
    if is_away(error):
        return database_away(request, error)
    if is_full(error):
        return disk_full(request, error)
    if sql_state(error).startswith("22"):
        return JSONResponse({"detail": "A value contains a NUL character or a number that is out of range."}, 422)
    raise error


def system_error(request: Request, error: Exception) -> JSONResponse:
    """Return 503 if the database is unreachable or a disk is full, and 500 for OSErrors that a retry does not fix."""
    if is_away(error):
        return database_away(request, error)
    if is_full(error):
        return disk_full(request, error)
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return JSONResponse({"detail": UNEXPECTED}, 500)


def folders_unavailable(request: Request, error: Exception) -> JSONResponse:
    """Return 500 with the reason the service folders cannot be read. A retry would not help."""
    log.error("%s %s failed: %s", request.method, request.url.path, error)
    return JSONResponse({"detail": str(error)}, 500)


def unexpected_error(_request: Request, _error: Exception) -> JSONResponse:
    """Return 500 as JSON. The web server logs the error."""
    return JSONResponse({"detail": UNEXPECTED}, 500)


async def http_error(request: Request, error: Exception) -> Response:
    """Return 422 instead of FastAPI's 400 for undecodable bodies, so that all invalid bodies get the same status."""
    assert isinstance(error, HTTPException)
    if error.status_code == 400:
        return JSONResponse({"detail": error.detail}, 422)
    return await http_exception_handler(request, error)


def install(app: FastAPI) -> None:
    """Register the error handlers with an application."""
    app.add_exception_handler(DomainError, domain_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid_request)
    app.add_exception_handler(Exception, unexpected_error)
    app.add_exception_handler(FoldersUnavailable, folders_unavailable)
    app.add_exception_handler(ReadTimeout, read_timeout)
    for kind in DATABASE_ERRORS:
        app.add_exception_handler(kind, system_error if issubclass(kind, OSError) else database_error)
