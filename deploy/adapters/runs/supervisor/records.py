"""Write records to the spool."""

from __future__ import annotations

import os
import time

from .plain_json import quoted, sentence

SPOOL_INTERVAL = 0.25  # seconds between attempts to write to a full disk


class Spool:
    """Appends numbered, timestamped records. While the disk is full, buffers them and retries."""

    def __init__(self, spool: int, wake: int) -> None:
        self._spool = spool
        self._wake = wake
        self._number = 0
        self._pending = b""
        self._blocked_since = 0.0
        self.complete = False  # the last record has been written
        self.retry_at = 0.0  # monotonic; only meaningful while blocked

    @property
    def blocked(self) -> bool:
        return bool(self._pending)

    def append(self, kind: str, data: str) -> None:
        """Write one record. `data` is its JSON."""
        self._number += 1
        self.complete = kind == "exit"
        self._write(f'[{self._number},{time.time():.6f},"{kind}",{data}]\n')

    def extend(self, pieces: list[tuple[str, str]]) -> None:
        """Write texts that were read at the same time, as (kind, text)."""
        if not pieces:
            return
        at = f"{time.time():.6f}"
        first = self._number + 1
        self._number += len(pieces)
        self._write(
            "".join(
                [
                    f'[{number},{at},"{kind}",{sentence(text) if kind == "note" else quoted(text)}]\n'
                    for number, (kind, text) in enumerate(pieces, first)
                ]
            )
        )

    def note(self, template: str, *values: str) -> None:
        """Write a sentence of our own for the log. `{}` in the template stands for a value."""
        self.append("note", sentence(template, *values))

    def flush(self) -> None:
        """Write pending records. After an error (a full disk or a quota), they stay pending until the next attempt."""
        written = False
        while self._pending:
            try:
                self._pending = self._pending[os.write(self._spool, self._pending) :]
            except OSError:
                self.retry_at = time.monotonic() + SPOOL_INTERVAL
                self._blocked_since = self._blocked_since or time.monotonic()
                break
            written = True
        if written:
            self._wake_reader()
        if self._blocked_since and not self._pending:
            seconds, self._blocked_since = time.monotonic() - self._blocked_since, 0.0
            if not self.complete:
                self.note(f"The output could not be written to the disk for {seconds:.0f} s, and the run waited.")

    def sync(self) -> None:
        """Sync the spool to disk if the file system supports it."""
        try:
            os.fdatasync(self._spool)
        except OSError:
            pass

    def _write(self, records: str) -> None:
        self._pending += records.encode("ascii")
        self.flush()

    def _wake_reader(self) -> None:
        try:
            os.write(self._wake, b"\n")
        except OSError:
            pass  # the FIFO is full, so the reader will wake up anyway
