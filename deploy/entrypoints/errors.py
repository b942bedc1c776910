"""The one table from errors to status codes."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from deploy.adapters.database import DATABASE_ERRORS, is_away, sql_state
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
    TryLater,
)
from deploy.domain.inputs import Fault, InvalidAnswers

log = logging.getLogger(__name__)

STATUS: dict[type[DomainError], int] = {
    NotSignedIn: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    InvalidInput: 422,
    TooManyAttempts: 429,
    Overloaded: 503,
}
AWAY = "The database cannot be reached at the moment. Nothing was changed; try again in a moment."
UNEXPECTED = "Something went wrong on the server. Its log says what; tell whoever runs it."
RETRY_AFTER = {"Retry-After": "2"}


def domain_error(_request: Request, error: Exception) -> JSONResponse:
    """Answer with the status of the error's class."""
    if isinstance(error, InvalidAnswers):
        return JSONResponse({"detail": [_told(fault) for fault in error.faults]}, 422)
    status = next(code for kind, code in STATUS.items() if isinstance(error, kind))
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    if isinstance(error, TryLater):
        headers = {"Retry-After": str(error.retry_after)}
    return JSONResponse({"detail": str(error)}, status, headers)


def _told(fault: Fault) -> dict[str, Any]:
    return {"loc": ["body", *fault.path], "msg": fault.sentence, "type": "input"}


def invalid_request(_request: Request, error: Exception) -> JSONResponse:
    """Say what is wrong with a body, without its values: a secret may be among them."""
    assert isinstance(error, RequestValidationError)
    told = [{name: fault[name] for name in ("loc", "msg", "type")} for fault in error.errors()]
    return JSONResponse({"detail": jsonable_encoder(told)}, 422)


def database_away(_request: Request, error: Exception) -> JSONResponse:
    """The database comes and goes; whoever asks is told to come again."""
    log.warning("The database is away: %s", error)
    return JSONResponse({"detail": AWAY}, 503, RETRY_AFTER)


def database_error(request: Request, error: Exception) -> JSONResponse:
    """Tell a lost connection from a statement that the database refused."""
    if is_away(error):
        return database_away(request, error)
    if sql_state(error).startswith("22"):
        return JSONResponse({"detail": "A value cannot be stored (a NUL character, or a number out of range)."}, 422)
    raise error


def system_error(request: Request, error: Exception) -> JSONResponse:
    """A file, most likely: nothing that comes again would mend."""
    if is_away(error):
        return database_away(request, error)
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return JSONResponse({"detail": UNEXPECTED}, 500)


def folders_unavailable(request: Request, error: Exception) -> JSONResponse:
    """Say why the service folders cannot be read; nothing that comes again would mend."""
    log.error("%s %s failed: %s", request.method, request.url.path, error)
    return JSONResponse({"detail": str(error)}, 500)


async def http_error(request: Request, error: Exception) -> Response:
    """FastAPI says 400 of a body that is not even text; to clients it is one more invalid body (422)."""
    assert isinstance(error, HTTPException)
    if error.status_code == 400:
        return JSONResponse({"detail": error.detail}, 422)
    return await http_exception_handler(request, error)


def install(app: FastAPI) -> None:
    """Register the table with an application."""
    app.add_exception_handler(DomainError, domain_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid_request)
    app.add_exception_handler(FoldersUnavailable, folders_unavailable)
    for kind in DATABASE_ERRORS:
        app.add_exception_handler(kind, system_error if issubclass(kind, OSError) else database_error)
