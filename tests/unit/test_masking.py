"""Mask secret values in a run's output and reports."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from deploy.adapters.runs.directory import Record
from deploy.domain.masking import Mask
from deploy.domain.model import HostResult, Outcome
from deploy.domain.reports import CUT, HostReported, Line, read_line
from deploy.service_layer.ingest.entries import masked_entries
from tests.runs import History, at, ended, line, reported

PEM = "-----BEGIN KEY-----\nAAAA1111\n  BBBB2222  \nxy\n-----END KEY-----\n"


@pytest.mark.parametrize(
    ("values", "text", "expected"),
    [
        ((), "nothing is hidden", "nothing is hidden"),
        (("hunter2",), "password: hunter2!", "password: ***!"),
        (("hunter2",), "hunter2 hunter2", "*** ***"),
        (("hunter2",), "Hunter2", "Hunter2"),
        (("abc",), "abc is too short to be hidden", "abc is too short to be hidden"),
        (("hunter", "hunter2"), "hunter2 and hunter", "*** and ***"),
        (("my long password", "long"), "my long password!", "***!"),
        (("my long password", "long"), "a long day", "a *** day"),
        (("abcdef", "defghi"), "xabcdefghix", "x***x"),
        (("aaaa",), "aaaaaa", "***"),
        (('say "hi"',), '{"said": "say \\"hi\\""}', '{"said": "***"}'),
        (("Grüße",), 'Grüße "Gr\\u00fc\\u00dfe" Gr%C3%BC%C3%9Fe', '*** "***" ***'),
        (("it's\\me",), "'it\\\\'s' \"it's\\\\me\"", "'it\\\\'s' \"***\""),
        (("p&ss word",), "https://u:p%26ss%20word@host", "https://u:***@host"),
        (("p&ss/the word",), "/p%26ss/the%20word?key=p%26ss%2Fthe+word", "/***?key=***"),
        (("it's (p&ss)!*",), "encodeURIComponent: it's%20(p%26ss)!*.", "encodeURIComponent: ***."),
        (("it's me",), "+ login 'it'\\''s me'", "+ login '***'"),
        (("it's me",), "+ login 'it'\"'\"'s me'", "+ login '***'"),
        (("hunter2",), "Authorization: Basic aHVudGVyMg==", "Authorization: Basic ***"),
        ((PEM,), "AAAA1111", "***"),
        ((PEM,), "> BBBB2222 <", "> *** <"),
        ((PEM,), "xy", "xy"),
        (("{{ 7*7 }}",), "a {{ 7*7 }} b", "a *** b"),
        (("0012345",), "0012345 12345 012345 12346", "*** *** 0*** 12346"),
        (("7654321",), "7654321.0 is 7654321", "*** is ***"),
        (("98765.40", " +00123456\n"), "98765.4, 123456", "***, ***"),
        (("\u0661\u0662\u0663\u0664",), "1234", "***"),
        (("0042", "infinity", "nano", "1" * 5000), "42 inf nan", "42 inf nan"),
        ((".*.*",), "not a pattern .*.*", "not a pattern ***"),
    ],
)
def test_secrets_in_text_are_masked(values: tuple[str, ...], text: str, expected: str) -> None:
    assert Mask(values).text(text) == expected


def test_nested_data_is_masked_completely() -> None:
    value = {"a": ["hunter2", {"x-hunter2": 1.5}], "n": 123456, "ok": True, "none": None}
    expected = {"a": ["***", {"x-***": 1.5}], "n": "***", "ok": True, "none": None}
    assert Mask(["hunter2", "123456"]).value(value) == expected


def test_a_secret_converted_to_a_number_is_masked() -> None:
    value = {"n": 12345, "float": 12345.0, "other": 12346, "list": [98765.4]}
    expected = {"n": "***", "float": "***", "other": 12346, "list": ["***"]}
    assert Mask(["0012345", "98765.40"]).value(value) == expected


def test_every_kind_of_entry_is_masked() -> None:
    mask = Mask(["hunter2"])
    assert mask.entry(line("is hunter2")) == line("is ***")
    step = reported("Use hunter2", message="hunter2", detail={"key": "hunter2"})
    assert mask.entry(step) == reported("Use ***", message="***", detail={"key": "***"})
    result = HostResult(task="t", host="hunter2", outcome=Outcome.OK, message="hunter2", diff="+hunter2")
    hidden = HostResult(task="t", host="***", outcome=Outcome.OK, message="***", diff="+***")
    assert mask.entry(HostReported(result, at(1))) == HostReported(hidden, at(1))
    assert mask.entry(ended(1, message="hunter2 failed")) == ended(1, message="*** failed")


def test_a_value_equal_to_a_protocol_keyword_does_not_break_it() -> None:
    mask = Mask(["success", "name", "task-1"])
    reported_line = mask.entry(read_line('{"name": "Build name", "state": "success"}', at(1)))
    assert reported_line == reported("Build ***", "success")
    planned = reported("Install", "running", planned=True, detail={"task": "task-1", "play": "task-1"})
    assert mask.entry(planned) == reported(
        "Install", "running", planned=True, detail={"task": "task-1", "play": "***"}
    )


def test_a_value_split_by_a_limit_is_masked() -> None:
    secret = "0123456789" * 10
    history, mask = History(), Mask([secret])
    for fields in ({"name": "A", "message": "x" * 65_500 + secret}, {"name": "y" * 450 + secret}):
        history.take(mask.entry(read_line(json.dumps({"state": "success", **fields}), at(1))))
    assert "0123" not in str(history.messages)
    assert history.step("A").message == "x" * 65_500 + "***"


def test_a_value_split_by_the_callback_plugin_is_masked() -> None:
    secret = "0123456789" * 10
    said = f"{'x' * 8_189}{secret}"[:8_192] + f"{CUT}8250;"
    history = History(["Install"])
    task = {"task": "t", "name": "Install"}
    events = [
        {"event": "task_start", **task},
        {"event": "host_result", "host": "web1", "outcome": "ok", "message": said, "diff": said, **task},
        {"event": "task_end", "state": "success", "message": f"web1: {said}\nweb2: {said}", **task},
    ]
    records = [Record(1, 0.0, "event", json.dumps(event)) for event in events]
    history.take(*masked_entries(records, Mask([secret])))
    shown = f"{history.step('Install')} {history.results}"
    assert "x0" not in shown
    assert shown.count("x***\\n… (cut here: 8,250 bytes in all)") == 4


@pytest.mark.parametrize("size", [3, 100_000])
def test_the_longest_part_of_a_value_is_found_at_any_length(size: int) -> None:
    secret = "ab" * size + "c"
    mask = Mask([secret])
    assert mask.output(Line("x" + secret[:-1], at(1), continues=True)).text == "x***"
    assert mask.output(Line("c, and so on", at(1))).text == "***, and so on"


def test_a_follower_that_continues_a_run_masks_the_rest_of_a_value() -> None:
    mask = Mask(["hunter2-hunter2"])
    mask.resume()
    event = json.dumps({"text": "-hunter2 said"})
    records = [Record(2, 0.0, "out", "unter2 y"), Record(3, 0.0, "event", event), Record(4, 0.0, "out", "unter2 z")]
    texts = [entry.text for entry in masked_entries(records, mask) if isinstance(entry, Line)]
    assert texts == ["*** y", "*** said", "unter2 z"]
    mask.resume()
    # Possibly the end of a value, but more likely a number: too short to decide.
    assert mask.output(line("2 files")) == line("2 files")


def test_a_value_across_two_parts_of_a_long_line_is_masked() -> None:
    mask = Mask(["hunter2-hunter2"])
    records = [Record(1, 0.0, "part", "x hunter2-h"), Record(2, 0.0, "note", "n"), Record(3, 0.0, "out", "unter2 y")]
    texts = [entry.text for entry in masked_entries(records, mask) if isinstance(entry, Line)]
    assert texts == ["x ***", "[fastdeploy] n", "*** y"]
    (later,) = masked_entries([Record(4, 0.0, "out", "unter2 is a word")], mask)
    assert later.text == "unter2 is a word"  # type: ignore[union-attr]


def test_a_value_across_two_parts_of_a_playbooks_line_is_masked() -> None:
    mask = Mask(["hunter2-hunter2"])
    first, last = json.dumps({"text": "x hunter2-h", "part": True}), json.dumps({"text": "unter2 y\nunter2 z"})
    records = [Record(1, 0.0, "event", first), Record(2, 0.0, "out", "unter2 o"), Record(3, 0.0, "event", last)]
    texts = [entry.text for entry in masked_entries(records, mask) if isinstance(entry, Line)]
    assert texts == ["x ***", "unter2 o", "*** y", "unter2 z"]


def test_values_in_our_own_sentences_are_masked_but_not_our_words() -> None:
    mask = Mask(["hunter2", "processes", "deploy.sh"])
    note = ["Some processes are still running: {}, {}.", "hunter2 (7)", "{} (8)"]
    end = {"code": None, "signal": None, "cause": "not_started", "message": ["{} has no processes.", "deploy.sh"]}
    old = "Some processes are still running: hunter2 (7)."  # from a supervisor that an earlier version started
    records = [Record(1, 0.0, "note", note), Record(2, 0.0, "note", old), Record(3, 0.0, "exit", end)]
    first, second, last = masked_entries(records, mask)
    assert isinstance(first, Line)
    assert isinstance(second, Line)
    assert first.text == "[fastdeploy] Some processes are still running: *** (7), {} (8)."
    assert second.text == "[fastdeploy] Some *** are still running: *** (7)."
    assert getattr(last, "message", None) == "*** has no processes."


@pytest.mark.parametrize(
    "text",
    [
        "  - dG9wIHNlY3JldCB0b3AgIHNlY3JldCB0b3Agc2VjcmV0IHRvcCAgc2VjcmV0\n  - IHRvcCBzZWNyZXQ=",
        '"lines": [\n    "dG9wIHNlY3JldCB0b3AgIHNlY3JldCB0b3Agc2VjcmV0IHRvcCAg",\n    "c2VjcmV0IHRvcCBzZWNyZXQ="\n]',
        '"stdout": "dG9wIHNlY3JldCB0b3AgIHNlY3JldCB0b3Agc2VjcmV0IHRvcCAg\\nc2VjcmV0IHRvcCBzZWNyZXQ="',
        "\x1b[0;32mdG9wIHNlY3JldCB0b3AgIHNlY3JldCB0b3Agc2VjcmV0IHRvcCAg\x1b[0m\n\x1b[0;32mc2VjcmV0IHRvcCBzZWNyZXQ=\x1b[0m",
        "key: top secret top  secret\n    top secret top  secret top secret",
        'key: "top secret top  secret\\\n  \\ top secret top  secret top\\\n  \\ secret"',
        "746f702073656372657420746f702020736563726574\n20746f702073656372657420746f70\n20207365637265742074\n6f7020736563726574",
    ],
    ids=["list", "JSON list", "JSON", "colors", "YAML", "quoted YAML", "hex"],
)
def test_values_that_ansible_and_other_programs_break_into_lines_are_masked(text: str) -> None:
    secret = "top secret top  secret top secret top  secret top secret"
    remains = Mask([secret]).text(text)
    assert not re.search("secret|top|c2Vj|dG9w|7365|746f|IHRv", remains), remains


def test_unknown_secrets_mask_everything() -> None:
    mask = Mask((), everything=True)
    assert mask.entry(line("anything")) == line("***")
    data: dict[str, Any] = {"a": ["b"]}
    assert mask.value(data) == {"***": ["***"]}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Waiting ", "Waiting "),
        ("key hunter2", "key ***"),
        ("key hunter", "key ***"),
        ("key hunt", "key ***"),
        ("a hun", "a hun"),
        ("key hunter2 and more", "key *** and more"),
    ],
)
def test_a_line_that_has_not_ended_does_not_show_the_beginning_of_a_value(text: str, shown: str) -> None:
    mask = Mask(["hunter2"])
    assert mask.open_line(text) == shown
    assert mask.output(Line("2 is a number", at(0))).text == "2 is a number"
