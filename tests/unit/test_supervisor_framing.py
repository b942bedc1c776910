"""Test the supervisor's line framing with any bytes in any chunks."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.adapters.runs.supervisor.framing import OPEN_LIMIT, LineFramer, open_text
from deploy.adapters.runs.supervisor.output import OutputLimit
from deploy.adapters.runs.supervisor.plain_json import from_json, quoted, to_json
from deploy.adapters.runs.supervisor.system import signal_name

Pieces = list[tuple[str, str]]

# Few different bytes, so that newlines, carriage returns, and split characters often occur together.
awkward = st.lists(
    st.sampled_from(
        [b"a", b"{", b"\n", b"\r", b"\r\n", b"\0", "é".encode(), "€".encode(), "🚀".encode(), b"\xff", b"\xe2"]
    ),
    max_size=60,
).map(b"".join)
streams = awkward | st.binary(max_size=200)


def in_chunks(data: bytes, seed: int) -> list[bytes]:
    chosen = random.Random(seed)  # noqa: S311 - chunks, no secrets
    chunks = []
    while data:
        size = chosen.randint(1, 12)
        chunks.append(data[:size])
        data = data[size:]
    return chunks


def framed(chunks: list[bytes], limit: int) -> Pieces:
    framer = LineFramer(limit)
    pieces: Pieces = []
    for chunk in chunks:
        pieces += framer.feed(chunk)
    return pieces + framer.close()


def joined(pieces: Pieces) -> str:
    return "".join(text if kind == "part" else text + "\n" for kind, text in pieces)


def documented(data: bytes) -> str:
    """Return the expected text of `data`: UTF-8 with invalid bytes escaped, Unix newlines, and a final newline."""
    text = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
    return text if not text or text.endswith("\n") else text + "\n"


@given(streams, st.integers(), st.integers(4, 24))
def test_the_joined_parts_are_the_stream(data: bytes, seed: int, limit: int) -> None:
    assert joined(framed(in_chunks(data, seed), limit)) == documented(data)


@given(streams, st.integers(), st.integers(4, 24))
def test_the_chunks_do_not_matter(data: bytes, seed: int, limit: int) -> None:
    assert framed(in_chunks(data, seed), limit) == framed([data], limit)


@given(streams, st.integers(), st.integers(4, 24))
def test_parts_do_not_exceed_the_limit(data: bytes, seed: int, limit: int) -> None:
    for _, text in framed(in_chunks(data, seed), limit):
        escaped = text.count("\\x")
        assert len(text.encode()) - 3 * escaped <= limit


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\\"), max_size=80), st.integers(4, 24))
def test_characters_are_not_split(text: str, limit: int) -> None:
    assert "".join(piece for _, piece in framed([text.encode()], limit)) == text


@given(streams, st.integers(), st.integers(4, 24))
def test_buffered_output_is_no_longer_than_a_part(data: bytes, seed: int, limit: int) -> None:
    framer = LineFramer(limit)
    for chunk in in_chunks(data, seed):
        framer.feed(chunk)
        assert len(framer._rest) <= limit


@pytest.mark.parametrize(
    ("data", "pieces"),
    [
        (b"", []),
        (b"\n", [("out", "")]),
        (b"one\ntwo", [("out", "one"), ("out", "two")]),
        (b"dos\r\nunix\n", [("out", "dos"), ("out", "unix")]),
        (b"12345678\n", [("out", "12345678")]),
        (b"123456789\n", [("part", "12345678"), ("out", "9")]),
        (b"12345678\r\n", [("part", "12345678"), ("out", "")]),
        (b"1234567\xe2\x82\xac\n", [("part", "1234567"), ("out", "€")]),
        (b"a\0b\xff\n", [("out", "a\0b\\xff")]),
    ],
)
def test_lines_become_records(data: bytes, pieces: Pieces) -> None:
    assert framed([data], 8) == pieces


def test_output_within_the_limit_is_kept() -> None:
    limit = OutputLimit(8)
    assert limit.keep([("out", "123"), ("out", "456")], 8) == [("out", "123"), ("out", "456")]


def test_only_reports_are_kept_after_the_limit_and_a_note_says_so() -> None:
    limit = OutputLimit(8)
    kept = limit.keep([("out", "1234567"), ("out", "8"), ("out", '{"n":1}'), ("out", "9"), ("out", '{"n":2}')], 30)
    assert [kind for kind, _ in kept] == ["out", "note", "out", "note"]
    assert kept[0] == ("out", "1234567")
    assert kept[2] == ("out", '{"n":1}')
    assert "8 bytes" in kept[1][1]
    assert limit.keep([("out", "{}"), ("event", "{}")], 6) == []


def test_a_line_that_crosses_the_limit_is_closed_and_its_rest_dropped() -> None:
    limit = OutputLimit(8)
    assert limit.keep([("part", "1234")], 5) == [("part", "1234")]
    kept = limit.keep([("part", "5678"), ("out", "{9"), ("out", "{}")], 12)
    assert [kind for kind, _ in kept] == ["out", "note", "out"]
    assert kept[0] == ("out", "")
    assert kept[2] == ("out", "{}")


@given(
    st.lists(
        st.tuples(st.sampled_from(["out", "part", "event"]), st.text(st.sampled_from("a{"), max_size=6)), max_size=40
    ),
    st.integers(0, 40),
)
def test_kept_output_never_exceeds_twice_the_limit(pieces: Pieces, limit: int) -> None:
    keeper = OutputLimit(limit)
    kept = [piece for each in pieces for piece in keeper.keep([each], len(each[1]) + 1)]
    assert sum(len(text) + 1 for kind, text in kept if kind != "note" and text) <= 2 * limit
    assert sum(kind == "note" for kind, _ in kept) <= 2


@given(st.text())
def test_strings_are_quoted_as_in_json(text: str) -> None:
    assert json.loads(quoted(text)) == text
    assert quoted(text).isascii()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_settings_are_read_as_json(value: object) -> None:
    assert from_json(json.dumps(value)) == value
    assert from_json(f"  {json.dumps(value, indent=1)}\n") == value


@pytest.mark.parametrize("text", ["", "nonsense", '{"a":1} {', '{"a"', "[1,]", '{"cancel": "half'])
def test_invalid_json_is_rejected(text: str) -> None:
    with pytest.raises(ValueError):
        from_json(text)


def test_outcomes_are_written_as_json() -> None:
    outcome: dict[str, str | int | None] = {"code": 3, "signal": None, "message": 'a "quoted" ü'}
    assert json.loads(to_json(outcome)) == outcome


@pytest.mark.parametrize(
    ("number", "name"), [(9, "SIGKILL"), (15, "SIGTERM"), (6, "SIGABRT"), (17, "SIGCHLD"), (40, "SIG40")]
)
def test_signals_have_names(number: int, name: str) -> None:
    assert signal_name(number) == name


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"Waiting ", "Waiting "),
        ("Gr\u00fc".encode()[:-1], "Gr"),
        (b"\xff", "\\xff"),
        (b"x" * 2 * OPEN_LIMIT, "x" * OPEN_LIMIT),
        (b"".join(b"\r%4d %%" % n for n in range(1000)), "\r" + "\r".join(f"{n:4} %" for n in range(858, 1000))),
        (b"\x1b[1G99 %" * 200, "\x1b[1G99 %" * 125),
    ],
    ids=["all", "incomplete", "invalid", "long", "progress", "columns"],
)
def test_the_last_states_of_a_progress_bar_or_the_beginning_of_a_line_are_shown(line: bytes, shown: str) -> None:
    assert open_text(line) == shown
