"""Read the script's pipes, and limit how much output is stored."""

from __future__ import annotations

import fcntl
import os
import sys

from .framing import LineFramer, open_text

CHUNK = 256 * 1024  # bytes to handle at once
PACKETS = 1024
READ = 64 * 1024
PAGE = 4096  # longer output of one call arrives as several packets of this size
FIONREAD = 0x541B


class Stream:
    """One of the script's pipes: its output, or the events of a callback plugin.

    Standard output and standard error share a pipe in packet mode, so each read returns what one call has written (or
    a page of it). A step report that follows unfinished text, such as the progress on standard error, starts a new
    line, because a report is only recognized as a whole line.
    """

    def __init__(self, fd: int, limit: int, *, events: bool = False) -> None:
        self.fd = fd
        self.unread = 0  # bytes to read before the stream can be abandoned
        self.ended = False
        self._framer = LineFramer(limit)
        self._limit = limit
        self._events = events
        self._too_long = False
        self._is_split = False
        self._packet = b"\n"
        os.set_blocking(fd, False)

    def read(self) -> tuple[list[tuple[str, str]], int]:
        """Return the lines that the next output completes, and its size in bytes."""
        pieces: list[tuple[str, str]] = []
        packets: list[bytes] = []
        size = 0
        while size < CHUNK and len(packets) < PACKETS:
            data = self._next()
            if not data:
                break
            if self._packet[-1:] != b"\n" and is_report(data) and len(self._packet) < PAGE:
                pieces += self._framer.feed(b"".join(packets))
                pieces += self._framer.close()
                packets.clear()
            self._packet = data
            packets.append(data)
            size += len(data)
        pieces += self._framer.feed(b"".join(packets))
        if self.ended:
            pieces += self._framer.close()
        if pieces:
            self._is_split = pieces[-1][0] == "part"
        self.unread -= size
        return self._as_events(pieces) if self._events else pieces, size

    def _next(self) -> bytes:
        """Return the next packet, or nothing if there is none yet or the stream has ended."""
        try:
            data = os.read(self.fd, READ)
        except BlockingIOError:
            return b""
        self.ended = not data
        return data

    def open_line(self) -> str:
        """Return the text to show of the line that has not ended yet, or an empty string.

        Show nothing of reports, and nothing of a long line after its first piece.
        """
        line = b"" if self._events or self._is_split else self._framer.rest
        return "" if line.startswith(b"{") else open_text(line)

    def rest(self) -> list[tuple[str, str]]:
        """Return the incomplete last line when the stream is abandoned."""
        pieces = self._framer.close()
        return self._as_events(pieces) if self._events else pieces

    def count_unread(self) -> None:
        size = fcntl.ioctl(self.fd, FIONREAD, b"\0\0\0\0")
        self.unread = int.from_bytes(size, sys.byteorder)

    def _as_events(self, pieces: list[tuple[str, str]]) -> list[tuple[str, str]]:
        events: list[tuple[str, str]] = []
        for kind, text in pieces:
            if kind == "part":
                self._too_long = True
            elif self._too_long:
                self._too_long = False
                events.append(("note", f"An event of more than {self._limit} bytes was discarded."))
            elif text:
                events.append(("event", text))
        return events


def is_report(packet: bytes) -> bool:
    """Return True if the first line of a packet looks like a step report."""
    if not packet.startswith(b"{"):
        return False
    line = packet.partition(b"\n")[0].rstrip()
    return line.endswith(b"}") and b'"name"' in line and b'"state"' in line


class OutputLimit:
    """Keeps up to `limit` bytes of output.

    After that, keeps only possible reports (lines that start with ``{``), up to twice the limit.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = 0
        self._stage = 0  # 0: keep everything; 1: keep only reports; 2: keep nothing
        self._line = "new"  # decision for the current line after a `part`: "kept" or "dropped"

    def keep(self, pieces: list[tuple[str, str]], size: int) -> list[tuple[str, str]]:
        """Return the `pieces` (`size` bytes in total) to store. Add a note when the limit is reached."""
        if self._stage == 0 and self._kept + size <= self._limit:
            self._kept += size
            if pieces and pieces[-1][0] != "event":
                self._line = "kept" if pieces[-1][0] == "part" else "new"
            return pieces
        kept: list[tuple[str, str]] = []
        for kind, text in pieces:
            self._piece(kind, text, kept)
        return kept

    @property
    def is_reached(self) -> bool:
        """Return True if output is no longer kept completely."""
        return self._stage > 0

    def _piece(self, kind: str, text: str, kept: list[tuple[str, str]]) -> None:
        state = "dropped"
        if (kind == "event" or self._line != "dropped") and self._fits(kind, text, kept):
            self._kept += len(text) + 1
            kept.append((kind, text))
            state = "kept"
        if kind != "event":
            self._line = state if kind == "part" else "new"

    def _fits(self, kind: str, text: str, kept: list[tuple[str, str]]) -> bool:
        after = self._kept + len(text) + 1
        if self._stage == 0:
            if after <= self._limit:
                return True
            self._next_stage(
                kept,
                f"The output limit of {self._limit} bytes is reached. From here on, only step reports are kept.",
            )
        report = text.startswith("{") and (kind == "event" or self._line == "new")
        if self._stage != 1 or not report:
            return False
        if after <= 2 * self._limit:
            return True
        self._next_stage(kept, "Twice the output limit is reached. Nothing after this line is kept.")
        return False

    def _next_stage(self, kept: list[tuple[str, str]], note: str) -> None:
        self._stage += 1
        if self._line == "kept":
            kept.append(("out", ""))
            self._line = "dropped"
        kept.append(("note", note))
