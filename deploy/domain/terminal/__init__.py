"""Show a line of output as a terminal does. The page has the same model in frontend/src/lib/terminal/.

`sequences` recognizes escape sequences, `style` interprets colors, `row` is the grid of cells that a line with cursor
movements writes to, and `line` applies all of them to a line.
"""

from deploy.domain.terminal.line import Rendered, Segment, State, plain_text, render, to_ansi
from deploy.domain.terminal.style import Style

__all__ = ["Rendered", "Segment", "State", "Style", "plain_text", "render", "to_ansi"]
