"""Read the code blocks of the how-to guides, so that tests execute exactly what the pages show."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

HOW_TOS = Path(__file__).parents[1] / "docs" / "how-to"


def blocks(page: str, language: str, *, below: str | None = None) -> list[str]:
    """Return the code blocks in a language on a page, in order. With `below`, only those below that heading or tab.

    The page is named relative to the folder of the how-to guides.
    """
    text = (HOW_TOS / f"{page}.md").read_text(encoding="utf-8")
    if below is not None:
        _, marker, text = text.partition(f"\n{below}\n")
        assert marker, f"{page}.md does not contain {below!r}"
        text = section(text, r"=== |#" if below.startswith("===") else r"#")
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(code) for _, code in found]


def section(text: str, end: str) -> str:
    """Return the text before the first line outside code blocks that starts with `end`."""
    lines, in_code = [], False
    for line in text.splitlines(keepends=True):
        in_code ^= line.lstrip().startswith("```")
        if not in_code and re.match(end, line):
            break
        lines.append(line)
    return "".join(lines)


def block(page: str, language: str, *, below: str | None = None) -> str:
    """Return the only code block in a language on a page, or below a heading or tab of it."""
    (code,) = blocks(page, language, below=below)
    return code
