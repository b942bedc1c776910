"""Split a line into text, control characters, and escape sequences."""

from __future__ import annotations

import re

# Everything that is not plain text. The last range changes the direction of text: an implementation of the Unicode
# bidirectional algorithm does not need it, and it can make a line look like a different one.
SPECIAL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

TOKEN = re.compile(
    r"(?P<text>[^\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+)"
    # Colors, cursor movements, and erasures.
    r"|\x1b\[(?P<parameters>[0-?]*)[ -/]*(?P<final>[@-~])?"
    # Links, titles, and other strings, up to their terminator.
    r"|\x1b(?P<kind>[\]PX^_])(?P<string>[^\x07\x18\x1a\x1b]*)(?:\x07|\x1b\\|\x18|\x1a)?"
    r"|\x1b(?P<set>[()])(?P<charset>[0-~])"
    r"|\x1b[ -/]*(?P<escape>[0-~]?)"
    r"|(?P<control>.)",
    re.DOTALL,
)
# Controls that move the cursor or change text that is already there. Other lines only ever append.
MOVES = re.compile(r"[\x08\x0b\x0c\r]|\x1b\[[0-?]*[ -/]*[@-ln-~]|\x1b[78DEMc]")
# A carriage return at the end of a line, possibly followed by a change of colors, as in files with Windows line ends.
LINE_END = re.compile(r"\r+((?:\x1b\[[0-9;:]*m|\x1b\(B|\x0f)*)\Z")

LINK = re.compile(r"8;[^;]*;(https?://[!-~]{1,2000})", re.IGNORECASE)
# The characters ` to ~ in the line drawing character set of DEC terminals.
DRAWING = str.maketrans(
    "`abcdefghijklmnopqrstuvwxyz{|}~",
    "◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·",
)


def picture(control: str) -> str:
    """Return the visible text for a control character that has no effect on the line."""
    code = ord(control)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    return f"\\x{code:02x}" if code < 0xA0 else " " if code < 0x202A else ""
