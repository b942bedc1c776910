"""Split a stream of bytes into lines of text."""

from __future__ import annotations

import codecs

# Bytes of an unfinished line to show.
OPEN_LIMIT = 1000
# Progress bars begin each state with one of these.
_REWRITES = (b"\r", b"\x1b[G", b"\x1b[1G")


def decoded(data: bytes) -> str:
    r"""Return `data` decoded as UTF-8, with invalid bytes shown as ``\xff``."""
    return data.decode("utf-8", "backslashreplace")


def open_text(line: bytes) -> str:
    """Return the part of an unfinished line to show: all of it, the last states of a progress bar, or its beginning.

    Never begin in the middle of text, because masking needs the beginning of a secret value to find it.
    """
    if len(line) > OPEN_LIMIT:
        tail = line[-OPEN_LIMIT:]
        starts = [at for at in map(tail.find, _REWRITES) if at >= 0]
        line = tail[min(starts) :] if starts else line[:OPEN_LIMIT]
    # Leave out an incomplete character at the end.
    return codecs.getincrementaldecoder("utf-8")("backslashreplace").decode(line)


def cut_point(data: bytes | bytearray, limit: int) -> int:
    """Return the position at which to cut `data`, which is longer than `limit`, without splitting a character."""
    if data[limit] & 0xC0 != 0x80:
        return limit
    for back in (1, 2, 3):
        byte = data[limit - back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return limit - back if length > back else limit
        if byte < 0x80:
            break
    return limit


class LineFramer:
    r"""Splits a stream of bytes into lines, regardless of the chunks in which it arrives.

    A line is one piece of kind `out`. A line that is longer than `limit` bytes has several pieces, and all but the
    last are of kind `part`. Lines end with ``\n`` or ``\r\n``.
    """

    def __init__(self, limit: int) -> None:
        self._limit = max(limit, 4)
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[tuple[str, str]]:
        """Return the pieces that `data` completes, as (kind, text)."""
        end = data.rfind(b"\n") + 1
        pieces: list[tuple[str, str]] = []
        if end:
            block = bytes(self._rest) + data[:end] if self._rest else data[:end]
            self._rest = bytearray(data[end:])
            pieces = self._lines(block)
        else:
            self._rest += data
        self._cut(self._rest, pieces)
        return pieces

    @property
    def rest(self) -> bytes:
        """The line that has not ended yet."""
        return bytes(self._rest)

    def close(self) -> list[tuple[str, str]]:
        """Return the last line if the stream ended without a newline."""
        rest, self._rest = decoded(bytes(self._rest)), bytearray()
        return [("out", rest)] if rest else []

    def _lines(self, block: bytes) -> list[tuple[str, str]]:
        if len(block) <= self._limit + 1:
            lines = decoded(block).replace("\r\n", "\n").split("\n")
            lines.pop()
            return [("out", line) for line in lines]
        pieces: list[tuple[str, str]] = []
        for line in block[:-1].split(b"\n"):
            if len(line) > self._limit:
                rest = bytearray(line)
                self._cut(rest, pieces)
                line = bytes(rest)  # noqa: PLW2901
            pieces.append(("out", decoded(line[:-1] if line.endswith(b"\r") else line)))
        return pieces

    def _cut(self, rest: bytearray, pieces: list[tuple[str, str]]) -> None:
        """Move complete pieces from the beginning of `rest`, a line that might continue, to `pieces`."""
        while len(rest) > self._limit:
            cut = cut_point(rest, self._limit)
            pieces.append(("part", decoded(bytes(rest[:cut]))))
            del rest[:cut]
