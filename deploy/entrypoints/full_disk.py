"""React to a full disk: one log line per minute, and a reason for the readiness check."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.adapters.database import DATABASE_ERRORS, Database, is_full
from deploy.adapters.database.disk import probe_disk

FULL = "The disk of the database is full. Nothing was changed. Free up space on it, then try again."
LOG_INTERVAL = 60.0  # seconds
MIN_FREE = 1 << 20  # bytes


class FullDisk(logging.Filter):
    """Knows whether a disk is full, from errors, and keeps these errors from flooding the log.

    As a filter of log handlers, it lets one message about a full disk pass per minute, without a traceback. Background
    tasks fail again every few seconds until space is freed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_full = False
        self._quiet_until = 0.0
        self._passing: logging.LogRecord | None = None

    def notice(self, error: BaseException | None) -> None:
        """Remember that an error means a full disk, if it does."""
        self._is_full = self._is_full or (error is not None and is_full(error))

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True if the message is to be logged."""
        error = _error_in(record)
        if error is None or record is self._passing:
            return True
        self.notice(error)
        now = time.monotonic()
        if now < self._quiet_until:
            return False
        self._quiet_until, self._passing = now + LOG_INTERVAL, record  # every handler gets the same record
        record.exc_info = record.exc_text = None
        return True

    @contextmanager
    def limiting_log(self) -> Iterator[None]:
        """Filter what the current handlers log."""
        handlers = list(logging.getLogger().handlers)
        for handler in handlers:
            handler.addFilter(self)
        try:
            yield
        finally:
            for handler in handlers:
                handler.removeFilter(self)

    async def reasons(self, database: Database, data_dir: Path) -> list[str]:
        """Return why nothing can be stored, as a list of sentences. Check again whether a full disk still is."""
        if self._is_full:
            try:
                await probe_disk(database)
                self._is_full = False
            except DATABASE_ERRORS as error:
                self._is_full = is_full(error)
        return [FULL] if self._is_full else _reasons_of_folder(data_dir)


def _error_in(record: logging.LogRecord) -> BaseException | None:
    """Return the error in a log message that means a full disk, if there is one."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    logged = record.exc_info[1] if record.exc_info else None
    errors = (error for error in (*arguments, logged) if isinstance(error, BaseException))
    return next((error for error in errors if is_full(error)), None)


def _reasons_of_folder(data_dir: Path) -> list[str]:
    try:
        free = shutil.disk_usage(data_dir).free
    except OSError:
        return []  # this process has no data folder
    return [f"The disk with the data folder {data_dir} is full. Free up space on it."] if free < MIN_FREE else []
