"""The row of cells that a line of output writes to."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from deploy.domain.terminal.style import PLAIN, Style

# The width of the terminal for cursor movements. Text can be longer, because lines are never wrapped.
COLUMNS = 1000
TAB = 8
# The number of cells that one line can move or erase. Movements that exceed it are ignored, so that a hostile line
# does not take quadratic time.
BUDGET = 2_000_000


class Row:
    """Cells with text and style. The second cell of a wide character is empty."""

    def __init__(self) -> None:
        self._done: list[tuple[str, Style]] = []
        self._lead = ""  # zero-width text before the first cell
        self._texts: list[str] = []
        self._styles: list[Style] = []
        self._column = self._saved = 0
        self._budget = BUDGET

    def write(self, text: str, style: Style) -> None:
        """Write text at the cursor, over the text that is already there."""
        self._pad()
        if text.isascii():
            self._put(list(text), style)
            return
        import wcwidth  # noqa: PLC0415 - takes longer than 100 ms, and few lines need it

        cells: list[str] = []
        for cluster in wcwidth.iter_graphemes(text):
            width = wcwidth.wcswidth(cluster)
            if width > 0:
                cells += [cluster, *[""] * (width - 1)]
            else:
                self._put(cells, style)
                self.annotate(cluster)
                cells = []
        self._put(cells, style)

    def annotate(self, text: str) -> None:
        """Append text without a width to the cell before the cursor."""
        self._pad()
        before = self._column - 1
        while before > 0 and self._texts[before] == "":
            before -= 1
        if not self._can_move(len(self._texts[before] if before >= 0 else self._lead)):
            return
        if before >= 0:
            self._texts[before] += text
        else:
            self._lead += text

    def move_to(self, column: int) -> None:
        """Move the cursor to a column, counting from 0, within the terminal or the text."""
        self._column = max(0, min(column, max(len(self._texts), COLUMNS - 1)))

    def move_by(self, columns: int) -> None:
        """Move the cursor to the right, or to the left if the number is negative."""
        self.move_to(self._column + columns)

    def tab(self, count: int = 1) -> None:
        """Move the cursor to the next tab stop, or back if the number is negative."""
        stop = self._column // TAB if count > 0 else -(-self._column // TAB)
        self.move_to((stop + max(-COLUMNS, min(count, COLUMNS))) * TAB)

    def save(self) -> None:
        """Save the column of the cursor."""
        self._saved = self._column

    def restore(self) -> None:
        """Move the cursor back to the saved column."""
        self._column = self._saved

    def erase(self, mode: int) -> None:
        """Erase from the cursor to the end (0), from the start to the cursor (1), or everything (2)."""
        if mode == 0:
            self._split(self._column)
            del self._texts[self._column :], self._styles[self._column :]
        elif mode == 1:
            self.blank(self._column + 1, start=0)
            self._lead = ""
        elif mode == 2:
            self._texts, self._styles, self._lead = [], [], ""

    def blank(self, count: int, start: int | None = None) -> None:
        """Replace cells with spaces, from the cursor by default."""
        first = self._column if start is None else start
        size = max(0, min(count, len(self._texts) - first))
        if self._can_move(size):
            self._replace(first, size, [" "] * size, PLAIN)

    def delete(self, count: int) -> None:
        """Delete cells at the cursor, and move the rest to the left."""
        if self._column < len(self._texts) and self._can_move(len(self._texts) - self._column):
            self._replace(self._column, min(count, len(self._texts)), [], PLAIN)

    def insert(self, count: int) -> None:
        """Insert spaces at the cursor. Text that they push out of the terminal is lost."""
        size = max(len(self._texts), COLUMNS)
        count = min(count, size - self._column)
        if self._column < len(self._texts) and self._can_move(len(self._texts) - self._column + count):
            self._replace(self._column, 0, [" "] * count, PLAIN)
            del self._texts[size:], self._styles[size:]

    def leave(self) -> None:
        """Continue on another row. Keep the text of this one, separated by a space."""
        if self._texts or self._lead:
            self._done += [(" ", PLAIN)] if self._done else []
            self._done += self._pieces()
        self._texts, self._styles, self._lead = [], [], ""
        self._column = self._saved = 0

    def pieces(self) -> Iterator[tuple[str, Style]]:
        """Yield the text with its styles."""
        yield from self._done
        if self._done and (self._texts or self._lead):
            yield " ", PLAIN
        yield from self._pieces()

    def _pieces(self) -> Iterator[tuple[str, Style]]:
        if self._lead:
            yield self._lead, PLAIN
        at = 0
        for style, same in groupby(self._styles):
            size = sum(1 for _ in same)
            yield "".join(self._texts[at : at + size]), style
            at += size

    def _put(self, cells: list[str], style: Style) -> None:
        self._replace(self._column, len(cells), cells, style)
        self._column += len(cells)

    def _replace(self, first: int, size: int, cells: list[str], style: Style) -> None:
        self._split(first)
        self._split(first + size)
        self._texts[first : first + size] = cells
        self._styles[first : first + size] = [style] * len(cells)

    def _split(self, at: int) -> None:
        """Replace a wide character that begins before this cell and ends in or after it with spaces."""
        first = at
        while 0 < first < len(self._texts) and self._texts[first] == "":
            first -= 1
        end = at
        while first < at and end < len(self._texts) and self._texts[end] == "":
            end += 1
        self._texts[first:end] = [" "] * (end - first)

    def _pad(self) -> None:
        gap = self._column - len(self._texts)
        if gap > 0:
            size = gap if self._can_move(gap) else 0
            self._texts += [" "] * size
            self._styles += [PLAIN] * size
            self._column = len(self._texts)

    def _can_move(self, cells: int) -> bool:
        self._budget -= cells
        return self._budget >= 0
