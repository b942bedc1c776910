"""Log SQL statements with their durations (setting `LOG_SQL`), but never their values.

Values include password hashes, secrets, and output.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

from deploy.adapters.database.errors import driver_error

log = logging.getLogger(__name__)


def log_driver_statements(connection: asyncpg.Connection) -> None:
    """Log the statements that asyncpg executes directly."""
    connection.add_query_logger(_log_driver_statement)


def log_session_statements(engine: AsyncEngine) -> None:
    """Log SQLAlchemy's statements, which asyncpg does not log because SQLAlchemy prepares them first."""
    event.listen(engine.sync_engine, "before_cursor_execute", _begin)
    event.listen(engine.sync_engine, "after_cursor_execute", _end)
    event.listen(engine.sync_engine, "handle_error", _fail)


def _log_driver_statement(query: asyncpg.connection.LoggedQuery) -> None:
    _log(query.query, query.elapsed, query.exception)


def _begin(_connection: object, _cursor: object, _statement: str, _values: object, context: Any, _many: bool) -> None:
    context.begun = time.perf_counter()


def _end(_connection: object, _cursor: object, statement: str, _values: object, context: Any, _many: bool) -> None:
    _log(statement, time.perf_counter() - context.begun)


def _fail(failed: ExceptionContext) -> None:
    context: Any = failed.execution_context
    if context is not None and failed.statement is not None:
        error = driver_error(failed.sqlalchemy_exception or failed.original_exception)
        _log(failed.statement, time.perf_counter() - context.begun, error)


def _log(statement: str, seconds: float, error: BaseException | None = None) -> None:
    outcome = f" failed: {type(error).__name__}" if error is not None else ""
    log.info("SQL %.1f ms%s: %s", seconds * 1000, outcome, " ".join(statement.split()))
