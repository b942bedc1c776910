"""The ways in which programs write a value: verbatim, escaped, and encoded."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import quote

# Shorter values occur by chance. Masking them would make the log unreadable and reveal where they occur.
MIN_LENGTH = 4
# Limits the conversion time, which grows with the length. Real numbers are shorter.
MAX_NUMBER_LENGTH = 300

# Every way of escaping text leaves these characters as they are.
_PLAIN = re.compile(r"[A-Za-z0-9_.-]*\Z")
# What encoders for URLs leave as it is, besides letters, digits, and `_.-~`: Python, other strict encoders, the
# functions encodeURIComponent and encodeURI of browsers, and forms, which also write spaces in another way.
_URL_WRITERS = (("/", "%20"), ("", "%20"), ("!'()*", "%20"), (";/?:@&=+$,#!'()*", "%20"), ("", "+"), ("*", "+"))
# What `printf %q` of Bash escapes, and what is special between double quotes.
_SHELL_SPECIAL = re.compile(r"[ \t!\"$&'()*,;<>?\[\\\]^`{|}]")
_DOUBLE_QUOTED = re.compile(r'["\\$`]')
_CONTROLS = str.maketrans({"\\": "\\\\", "'": "\\'", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\x1b": "\\E"})


class Spelling(NamedTuple):
    """A way to write a value. `before` and `after` count characters next to it that depend on it partially (Base64)."""

    text: str
    before: int = 0
    after: int = 0


def spellings(values: Iterable[str]) -> set[Spelling]:
    """Return the ways to write the values, and the lines of multi-line values."""
    parts = {part for value in values for part in _parts(value) if len(part) >= MIN_LENGTH}
    return {spelling for part in parts for spelling in _spellings(part)}


def _parts(value: str) -> Iterator[str]:
    yield value
    for line in value.splitlines():
        yield line
        yield line.strip()


def _spellings(part: str) -> Iterator[Spelling]:
    data = part.encode("utf-8", "replace")
    yield Spelling(part)
    yield from map(Spelling, (data.hex(), data.hex().upper()))
    yield from _in_base64(data)
    yield from map(Spelling, _as_numbers(part))
    if not _PLAIN.match(part):
        for written in (_in_json, _in_code, _in_urls, _in_shells, _in_markup):
            yield from map(Spelling, written(part))


def _in_base64(data: bytes) -> Iterator[Spelling]:
    """Yield the encoded data at each of the three offsets within a longer text.

    Leave out the first and last character where they also depend on the neighboring bytes.
    """
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + data)
        partial = (offset + len(data)) % 3
        end = len(encoded) - (4 - partial if partial else 0)
        core = encoded[(0, 2, 3)[offset] : end].decode("ascii")
        for text in {core, core.translate({ord("+"): "-", ord("/"): "_"})}:
            yield Spelling(text, before=int(offset > 0), after=int(partial > 0))


def _in_json(part: str) -> Iterator[str]:
    """Yield the text as a JSON string, also within another JSON string."""
    for text in (json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1]):
        yield text
        yield text.replace("/", "\\/")
        yield re.sub(r"\\u[0-9a-f]{4}", lambda found: "\\u" + found[0][2:].upper(), text)
        yield json.dumps(text, ensure_ascii=False)[1:-1]


def _in_code(part: str) -> Iterator[str]:
    """Yield the text as a literal of Python, YAML, or SQL. Ansible prints the Python literals within JSON, too."""
    escaped = part.replace("\\", "\\\\")
    for text in (repr(part)[1:-1], ascii(part)[1:-1], repr(part.encode("utf-8", "replace"))[2:-1]):
        yield text
        yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield escaped.replace("'", "\\'")
    yield part.replace("'", "''")


def _in_urls(part: str) -> Iterator[str]:
    for safe, space in _URL_WRITERS:
        written = {char: quote(char, safe=safe, errors="replace") for char in set(part)} | {" ": space}
        for tilde in ("~", "%7E") if "~" in part else ("~",):
            upper = written | {"~": tilde}
            for table in (upper, {char: _lower(text) for char, text in upper.items()}):
                yield part.translate({ord(char): text for char, text in table.items()})


def _lower(text: str) -> str:
    return text.lower() if text.startswith("%") else text


def _in_shells(part: str) -> Iterator[str]:
    yield from (part.replace("'", "'\\''"), shlex.quote(part).strip("'"))  # as printed by `set -x`
    yield _SHELL_SPECIAL.sub(r"\\\g<0>", part)
    yield _DOUBLE_QUOTED.sub(r"\\\g<0>", part)
    yield part.translate(_CONTROLS)


def _in_markup(part: str) -> Iterator[str]:
    """Yield the text in HTML or XML, with each name that writers use for a quotation mark."""
    text = html.escape(part, quote=False)
    for double, single in (
        ('"', "'"),
        ("&quot;", "&#x27;"),
        ("&#34;", "&#39;"),
        ("&quot;", "&#39;"),
        ("&quot;", "&apos;"),
    ):
        escaped = text.replace('"', double).replace("'", single)
        yield escaped
        yield escaped.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _as_numbers(text: str) -> Iterator[str]:
    """Yield the numbers that a playbook or script could convert the text to: `01067 | int` prints 1067."""
    if len(text) > MAX_NUMBER_LENGTH:
        return
    for convert in (int, float):
        try:
            number = str(convert(text))
        except ValueError:
            continue
        if len(number) >= MIN_LENGTH and any(map(str.isdigit, number)):
            yield number
