"""For any secret, in any encoding, and however it is split: nothing of it is stored."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.adapters.runs.directory import Record
from deploy.domain.masking import Mask
from deploy.domain.masking.search import HEAD
from deploy.domain.reports import Line
from deploy.service_layer.ingest.entries import masked_entries

# Surround the secret. They occur in no secret and in no encoding of one.
BEFORE, AFTER = "⟦", "⟧"


def in_hex(text: str, find: str = "%[0-9A-F]{2}") -> str:
    return re.sub(find, lambda found: found[0].lower(), text)


ENCODERS: dict[str, Callable[[str], str]] = {
    "raw": str,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)[1:-1])[1:-1],
    "JSON in upper case": lambda text: re.sub(r"(?<=\\u)....", lambda found: found[0].upper(), json.dumps(text)[1:-1]),
    "Python": lambda text: repr(text)[1:-1],
    "Python bytes": lambda text: repr(text.encode())[2:-1],
    "Python in JSON": lambda text: json.dumps(repr(text)[1:-1], ensure_ascii=False)[1:-1],
    "YAML": lambda text: text.replace("'", "''"),
    "quote": quote,
    "quote with slashes": lambda text: quote(text, safe=""),
    "quote in lower case": lambda text: in_hex(quote(text)),
    "quote_plus": quote_plus,
    "quote_plus in lower case": lambda text: in_hex(quote_plus(text)),
    "encodeURIComponent": lambda text: quote(text, safe="!'()*"),
    "shlex": shlex.quote,
    "set -x": lambda text: text.replace("'", "'\\''"),
    "HTML": html.escape,
    "HTML without quotes": lambda text: html.escape(text, quote=False),
    "XML": lambda text: html.escape(text).encode("ascii", "xmlcharrefreplace").decode(),
    "hex": lambda text: text.encode().hex(),
    "hex in upper case": lambda text: text.encode().hex().upper(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 without padding": lambda text: base64.b64encode(text.encode()).decode().rstrip("="),
    "base64url": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
}
BASE64: dict[str, Callable[[bytes], bytes]] = {"base64": base64.b64encode, "base64url": base64.urlsafe_b64encode}

characters = st.characters(exclude_categories=["C", "Zl", "Zp", "Zs"], exclude_characters=BEFORE + AFTER)
# Without spaces at both ends: each line of a value is a secret of its own, without them.
secrets = st.text(characters | st.sampled_from(" '\"\\/<>&%+{}$`~é🔑"), min_size=4, max_size=40).filter(
    lambda text: text.strip() == text and "\x85" not in text
)
encoders = st.sampled_from(sorted(ENCODERS))
few = settings(max_examples=60, deadline=None)


def chunks_of(text: str, sizes: Sequence[int]) -> list[str]:
    """Split the text into chunks of these sizes, repeatedly."""
    chunks: list[str] = []
    while text:
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(text[:size])
        text = text[size:]
    return chunks


def stored(secret: str, *records: tuple[str, Any]) -> str:
    """Return what is stored of these records, of which each is a batch of its own, without what hides the secret."""
    mask = Mask([secret])
    batches = [masked_entries([Record(1, 0.0, *record)], mask) for record in records]
    kept = "".join(entry.text for batch in batches for entry in batch if isinstance(entry, Line))
    assert "*" in kept
    return kept.replace("***", "")


def is_hidden(kept: str, encoder: str) -> bool:
    """Return True if only what surrounds the secret was kept."""
    # If a line ends within the last characters of Base64, one of them remains. It holds two to four bits.
    optional = "'*" if encoder == "shlex" else "[A-Za-z0-9+/_-]?=*" if encoder.startswith("base64") else ""
    return re.fullmatch(BEFORE + optional + AFTER, kept) is not None


@pytest.mark.parametrize("encoder", sorted(ENCODERS))
@settings(max_examples=12, deadline=None)
@given(secret=secrets)
def test_every_encoding_is_masked(encoder: str, secret: str) -> None:
    text = f"{BEFORE}{ENCODERS[encoder](secret)}{AFTER}"
    kept = Mask([secret]).text(text).replace("***", "")
    assert kept.replace("'", "" if encoder == "shlex" else "'") == BEFORE + AFTER


@few
@given(secrets, st.sampled_from(sorted(BASE64)), st.binary(max_size=5), st.binary(max_size=5))
def test_base64_is_masked_at_every_offset(secret: str, encoder: str, before: bytes, after: bytes) -> None:
    data = secret.encode()
    text, other = (
        BASE64[encoder](before + middle + after).decode() for middle in (data, bytes(255 - byte for byte in data))
    )
    # The characters that do not depend on the secret.
    start = next(at for at in range(len(text)) if text[at] != other[at])
    stop = next(at for at in range(len(text), 0, -1) if text[at - 1] != other[at - 1])
    assert Mask([secret]).text(text) in {
        text[:start] + "***" + rest for rest in (text[stop:], text[stop:].lstrip("="))
    }


@few
@given(secrets, encoders, st.lists(st.integers(1, 50), min_size=1, max_size=4))
def test_a_secret_split_into_pieces_of_a_line_is_masked(secret: str, encoder: str, sizes: list[int]) -> None:
    *parts, last = chunks_of(f"{BEFORE}{ENCODERS[encoder](secret)}{AFTER}", sizes)
    assert is_hidden(stored(secret, *(("part", part) for part in parts), ("out", last)), encoder)
    events = [json.dumps({"text": part, "part": True}) for part in parts]
    events.append(json.dumps({"text": last}))
    assert is_hidden(stored(secret, *(("event", event) for event in events)), encoder)


@few
@given(secrets, encoders, st.integers(HEAD, 50))
def test_a_secret_broken_into_lines_is_masked(secret: str, encoder: str, width: int) -> None:
    lines = chunks_of(ENCODERS[encoder](secret), [width])
    lines[0] = BEFORE + lines[0]
    lines[-1] += AFTER
    assert is_hidden(stored(secret, *(("out", line) for line in lines)), encoder)
    for line_break in ("\n", "\\n", "\r\n"):
        kept = Mask([secret]).text(line_break.join(lines)).replace("***", "").replace(line_break, "")
        assert is_hidden(kept, encoder)


@few
@given(
    st.text("0123456789ABCDEF/+", min_size=8, max_size=40),
    st.lists(st.text("ghijklmnopqrstuvwxyz ,.'\"%&\\{}é", max_size=80), max_size=20),
)
def test_text_without_secrets_stays_unchanged(secret: str, lines: list[str]) -> None:
    mask = Mask([secret])
    entries = masked_entries([Record(1, 0.0, "out", line) for line in lines], mask)
    assert [entry.text for entry in entries if isinstance(entry, Line)] == lines
    assert mask.text("\n".join(lines)) == "\n".join(lines)
    assert mask.value({"lines": lines, "count": len(lines)}) == {"lines": lines, "count": len(lines)}
