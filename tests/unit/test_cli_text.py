"""Handle URLs, values, and keys from users, and text from scripts that must not control the terminal."""

from __future__ import annotations

import pytest
import typer

from deploy.domain.terminal import State
from deploy.entrypoints.cli.client.address import base_url, is_loopback, page_url, socket_url
from deploy.entrypoints.cli.client.api import service_not_found
from deploy.entrypoints.cli.client.errors import UsageError
from deploy.entrypoints.cli.client.options import numbered_lines, parse_values, read_values, validate_key
from deploy.entrypoints.cli.client.text import colored, duration, one_line, printable, seconds_between


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("https://deploy.example.com", "https://deploy.example.com"),
        ("https://deploy.example.com/", "https://deploy.example.com"),
        ("HTTPS://Deploy.Example.com:8443/", "https://deploy.example.com:8443"),
        ("deploy.example.com", "https://deploy.example.com"),
        ("deploy.example.com:8000", "https://deploy.example.com:8000"),
        ("localhost:8000", "http://localhost:8000"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("https://example.com/deploy/", "https://example.com/deploy"),
        ("https://example.com/deploy/ui/deployments/12?tab=log#end", "https://example.com/deploy"),
        ("https://example.com/ui", "https://example.com"),
        ("https://example.com/uikit", "https://example.com/uikit"),
        ("  https://example.com\n", "https://example.com"),
    ],
)
def test_server_urls_are_normalized(typed: str, address: str) -> None:
    assert base_url(typed) == address


@pytest.mark.parametrize(
    "typed", ["", "https://", "ftp://example.com", "https://name:secret@example.com", "https://a b", "https://x:port"]
)
def test_invalid_server_urls_are_rejected(typed: str) -> None:
    with pytest.raises(UsageError) as refusal:
        base_url(typed)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://localhost:8000", True),
        ("http://fastdeploy.localhost", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:8000/x", True),
        ("http://localhost.example.com", False),
        ("http://10.0.0.1", False),
    ],
)
def test_loopback_urls_are_recognized(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected


def test_a_path_prefix_is_kept_in_every_address() -> None:
    assert socket_url("https://example.com/deploy", "abc") == "wss://example.com/deploy/deployments/ws/abc"
    assert page_url("http://example.com/deploy", 7) == "http://example.com/deploy/ui/deployments/7"


def test_values_keep_everything_after_the_first_equals_sign() -> None:
    given = ["version=1.4.2", "empty=", "query=a=b&c=d", "tag=@latest", "count=3"]
    assert read_values(given, None) == {
        "version": "1.4.2",
        "empty": "",
        "query": "a=b&c=d",
        "tag": "@latest",
        "count": "3",
    }


@pytest.mark.parametrize("given", [["version"], ["=1"], [" =1"], ["a=1", "a=2"]])
def test_malformed_values_are_rejected(given: list[str]) -> None:
    with pytest.raises(typer.BadParameter):
        read_values(given, None)


@pytest.mark.parametrize("key", ["", "\n", "schlüssel", "x" * 201])
def test_keys_that_are_invalid_in_headers_are_rejected(key: str) -> None:
    with pytest.raises(typer.BadParameter):
        validate_key(key)


def test_value_files_allow_comments_and_errors_do_not_repeat_values() -> None:
    lines = numbered_lines("# the release\n\nversion=1.4.2\n  notes = all new \n")
    assert parse_values(lines, "--env-file") == {"version": "1.4.2", "notes": " all new"}
    with pytest.raises(typer.BadParameter) as refusal:
        parse_values(numbered_lines("a=1\nhunter2"), "--env-file")
    assert "line 2" in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain äöü ✔ 日本", "plain äöü ✔ 日本"),
        ("tab\tstays", "tab\tstays"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[Hcleared", "cleared"),
        ("\x1b]0;a title\x07after", "after"),
        ("\x1b]52;c;cm0gLXJm\x1b\\after", "after"),
        ("\x1bPq#0\x1b\\after", "after"),
        ("unfinished \x1b[", "unfinished "),
        ("unfinished \x1b", "unfinished "),
        ("bell\x07 nul\x00 csi\x9b31m", "bell␇ nul␀ csi\\x9b31m"),
        ("turned\u202eround", "turnedround"),
        (" 10%\r 50%\r100%\r", "100%"),
        ("two\nlines", "two lines"),
    ],
)
def test_printable_removes_control_sequences(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_colored_keeps_only_colors() -> None:
    line = "\x1b[0;32mok\x1b[0m \x1b]0;title\x07\x1b[38;2;1;2;3mx\x1b[?25h\x1b[m\x07"
    text, state = colored(line, State())
    assert text == "\x1b[0;32mok\x1b[0m \x1b[0;38;2;1;2;3mx␇\x1b[0m"
    assert state == State()


def test_colors_continue_on_the_next_line() -> None:
    _, state = colored("\x1b[31mfailed:", State())
    assert colored("disk full", state)[0] == "\x1b[0;31mdisk full\x1b[0m"


def test_a_message_becomes_one_line() -> None:
    assert one_line("  first\n\n  second\tthird\x1b[31m ") == "first second third"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, ""),
        (0.0, "0.0s"),
        (0.34, "0.3s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m 00s"),
        (125, "2m 05s"),
        (3599.6, "1h 00m"),
        (3720, "1h 02m"),
    ],
)
def test_durations_are_short_and_readable(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


def test_seconds_between_are_never_negative() -> None:
    early, late = "2026-11-22T22:30:26.823020Z", "2026-11-22T22:30:28Z"
    assert seconds_between(early, late) == pytest.approx(1.17698)
    assert seconds_between(late, early) == 0.0
    assert seconds_between(early, None) is None
    assert seconds_between(None, late) is None


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("hello-shel", ["hello-python", "hello-shell", "website"], "Did you mean hello-shell or hello-python?"),
        ("Website", ["hello-shell", "website"], "Did you mean website?"),
        ("xyz", ["hello-shell", "website"], "Available services: hello-shell, website"),
        ("xyz", [], "There are no services yet"),
    ],
)
def test_an_unknown_service_suggests_existing_ones(name: str, known: list[str], hint: str) -> None:
    assert hint in service_not_found(name, known)
