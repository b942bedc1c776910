"""Apply the messages of a watched deployment once and in order, and print the lines that show them."""

from __future__ import annotations

import io
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from deploy.entrypoints.cli.client.hosts import failed_hosts, step_summary
from deploy.entrypoints.cli.client.listing import deployment_record, service_record
from deploy.entrypoints.cli.client.plain import PlainView, deployment_line, output_line, step_line
from deploy.entrypoints.cli.client.progress import ProgressView
from deploy.entrypoints.cli.client.screen import ASCII, Marks
from deploy.entrypoints.cli.client.transcript import Message, Sequencer, StateChange, StepChange, Transcript

START, END = "2026-11-22T22:30:26.000000Z", "2026-11-22T22:30:28.500000Z"


def numbered(seq: int, deployment_id: int = 5) -> Message:
    return {"type": "step", "deployment_id": deployment_id, "seq": seq}


def deployment(state: str, **more: Any) -> Message:
    return {
        "type": "deployment",
        "id": 5,
        "service": "shop",
        "user": "admin",
        "origin": "cli",
        "state": state,
        "created": START,
        "started": START if state != "queued" else None,
        "finished": END if state in ("success", "failure", "cancelled") else None,
        "reason": None,
        "cancel_requested": None,
        **more,
    }


def step(step_id: int, name: str, state: str, message: str = "", **more: Any) -> Message:
    has_begun, has_ended = state != "pending", state in ("success", "failure", "skipped")
    return {
        "type": "step",
        "id": step_id,
        "name": name,
        "state": state,
        "message": message,
        "position": step_id,
        "started": START if has_begun else None,
        "finished": END if has_ended else None,
        **more,
    }


def output(*texts: str) -> Message:
    return {"type": "output", "lines": [[number, START, text, None] for number, text in enumerate(texts, 1)]}


# --- Order ----------------------------------------------------------------------------------------------------------


def test_messages_are_accepted_once_and_in_order() -> None:
    order = Sequencer(5)
    taken, has_gap = order.take([numbered(1), numbered(2), numbered(2), numbered(1), numbered(3)])
    assert ([message["seq"] for message in taken], has_gap, order.last) == ([1, 2, 3], False, 3)


def test_messages_after_a_gap_are_not_accepted() -> None:
    order = Sequencer(5, last=2)
    taken, has_gap = order.take([numbered(3), numbered(6), numbered(4)])
    assert ([message["seq"] for message in taken], has_gap, order.last) == ([3], True, 3)


def test_messages_of_other_deployments_and_without_number_are_ignored() -> None:
    order = Sequencer(5)
    taken, has_gap = order.take([{"type": "ping"}, numbered(1, deployment_id=6), {"type": "service", "id": 5}])
    assert (taken, has_gap, order.last) == ([], False, 0)


@given(st.lists(st.integers(min_value=1, max_value=30)))
def test_accepted_messages_are_consecutive(numbers: list[int]) -> None:
    order = Sequencer(5)
    seen: list[int] = []
    for number in numbers:
        taken, _ = order.take([numbered(number)])
        seen += [message["seq"] for message in taken]
    assert seen == list(range(1, order.last + 1))


# --- Changes --------------------------------------------------------------------------------------------------------


def test_pending_and_removed_steps_are_not_shown() -> None:
    transcript = Transcript()
    assert transcript.take([step(1, "Build", "pending"), step(2, "Install", "pending")]) == []
    assert [pending["name"] for pending in transcript.pending()] == ["Build", "Install"]
    assert transcript.take([{**step(2, "Install", "pending"), "deleted": True}]) == []
    assert list(transcript.steps) == [1]


def test_a_step_is_shown_when_its_state_or_message_changes() -> None:
    transcript = Transcript()
    same = step(1, "Build", "running", "1 of 2")
    changes = transcript.take(
        [step(1, "Build", "running"), same, {**same, "last_line": 9}, step(1, "Build", "success")]
    )
    assert [
        (change.step["state"], change.step["message"]) for change in changes if isinstance(change, StepChange)
    ] == [
        ("running", ""),
        ("running", "1 of 2"),
        ("success", ""),
    ]
    assert (transcript.done, transcript.running()) == (1, [])


def test_a_deployment_is_shown_when_its_state_changes_or_it_is_cancelled() -> None:
    transcript = Transcript()
    asked = deployment("running", cancel_requested="Cancelled by admin.")
    changes = transcript.take([deployment("queued"), deployment("running"), deployment("running"), asked])
    assert [change.deployment["state"] for change in changes if isinstance(change, StateChange)] == [
        "queued",
        "running",
        "running",
    ]
    assert not transcript.is_over
    transcript.take([deployment("cancelled")])
    assert transcript.is_over


# --- Plain lines ----------------------------------------------------------------------------------------------------


def test_lines_match_the_documentation() -> None:
    assert deployment_line(deployment("queued")) == "deployment 5 (shop): queued"
    assert deployment_line(deployment("success")) == "deployment 5 (shop): success (2.5s)"
    failed = deployment("failure", reason="The step “Build” failed:\nno disk")
    assert deployment_line(failed) == "deployment 5 (shop): failure (2.5s): The step “Build” failed: no disk"
    asked = deployment("running", cancel_requested="Cancelled by admin.")
    assert deployment_line(asked) == "deployment 5 (shop): cancelling: Cancelled by admin."
    assert deployment_line(deployment("cancelled", started=None)) == "deployment 5 (shop): cancelled"
    assert step_line(step(1, "Build", "running")) == "step Build: running"
    assert step_line(step(1, "Build", "running", "1 of 2")) == "step Build: running: 1 of 2"
    assert step_line(step(1, "Build", "failure", "no\ndisk")) == "step Build: failure (2.5s): no disk"
    assert output_line("\x1b[31mred\x1b[0m  ") == "| red"
    assert output_line("") == "|"


def test_a_change_is_always_one_line() -> None:
    nasty = "a\r\nb\x0bc\u2028d\x1b[2Je\x00"
    lines = [
        step_line(step(1, nasty, "success", nasty)),
        output_line(nasty),
        deployment_line(deployment("failure", reason=nasty)),
    ]
    assert all(len(line.splitlines()) == 1 and "\x1b" not in line and "\x00" not in line for line in lines)


def plain(messages: list[Message], *, with_output: bool) -> list[str]:
    transcript, lines = Transcript(), list[str]()
    with PlainView(transcript, lines.append, lines.append, with_output=with_output) as view:
        view.show(transcript.take(messages))
    return lines


FAILED = [
    deployment("queued"),
    deployment("running"),
    step(1, "Build", "running"),
    output("compiling", "", "no space left"),
    step(1, "Build", "failure", "no disk"),
    deployment("failure", reason="The step “Build” failed: no disk"),
]


def test_a_failure_prints_the_end_of_the_output_before_the_outcome() -> None:
    assert plain(FAILED, with_output=False)[-4:] == [
        "step Build: failure (2.5s): no disk",
        "| compiling",
        "| no space left",
        "deployment 5 (shop): failure (2.5s): The step “Build” failed: no disk",
    ]


def test_output_lines_are_printed_once_and_in_order() -> None:
    assert plain(FAILED, with_output=True) == [
        "deployment 5 (shop): queued",
        "deployment 5 (shop): running",
        "step Build: running",
        "| compiling",
        "|",
        "| no space left",
        "step Build: failure (2.5s): no disk",
        "deployment 5 (shop): failure (2.5s): The step “Build” failed: no disk",
    ]


def test_each_waiting_reason_is_printed_once() -> None:
    transcript, lines = Transcript(), list[str]()
    view = PlainView(transcript, lines.append, lines.append, with_output=False)
    transcript.take([deployment("queued")])
    for reason in ("4 runs before it.", "4 runs before it.", "All workers are busy.", None):
        view.waiting(reason)
    assert lines == [
        "deployment 5 (shop): waiting: 4 runs before it.",
        "deployment 5 (shop): waiting: All workers are busy.",
    ]


def test_records_are_tab_separated() -> None:
    assert deployment_record(deployment("success")) == f"5\tshop\tsuccess\tadmin\tcli\t{START}\t2.500"
    service = {
        "id": 3,
        "name": "shop",
        "data": {"description": "The\nshop"},
        "last_deployment": None,
        "active_deployments": [deployment("running")],
    }
    assert service_record(service) == f"3\tshop\trunning\t{START}\tThe shop"
    assert service_record({**service, "active_deployments": []}) == "3\tshop\t\t\tThe shop"


def test_failed_hosts_are_listed() -> None:
    hosts = [
        {"host": "web1", "outcome": "ok", "message": ""},
        {"host": "web2", "outcome": "unreachable", "message": "no route\nto host"},
    ]
    assert failed_hosts(step(1, "Install", "failure", hosts=hosts)) == ["web2: unreachable: no route to host"]
    many = step(1, "Install", "failure", hosts=hosts, host_counts={"ok": 80, "unreachable": 3, "failed": 10})
    assert failed_hosts(many) == ["web2: unreachable: no route to host", "and 12 more hosts"]


def test_a_step_on_several_hosts_shows_counts_with_failures_first() -> None:
    counts = {"ok": 3, "changed": 195, "failed": 2}
    assert step_summary(step(1, "Verify", "failure", "web1: boom\nweb2: boom", host_counts=counts)) == (
        "2 failed, 3 ok, 195 changed"
    )
    assert step_summary(step(1, "Verify", "failure", "boom", host_counts={"failed": 1})) == "boom"
    assert len(step_summary(step(1, "Verify", "failure", "x" * 8000))) < 600


def test_failing_hosts_are_shown_while_watching() -> None:
    running = step(1, "Verify", "running")
    results = [
        {"type": "host", "step_id": 1, "host": f"web{n}", "outcome": outcome, "message": "no\nspace"}
        for n, outcome in enumerate(["ok", *["failed"] * 12])
    ]
    lines: list[str] = []
    transcript = Transcript()
    view = PlainView(transcript, lines.append, lines.append, with_output=False)
    view.show(transcript.take([running, *results]))
    assert lines[1] == "host web1: failed: no space (Verify)"
    assert len(lines) == 11
    assert "web1: failed: no space" in drawn([running, *results], width=80, marks=Marks())


def open_line(number: int, text: str) -> Message:
    return {"type": "open_line", "deployment_id": 5, "n": number, "at": START, "text": text}


def test_a_line_that_has_not_ended_is_shown_while_it_is_the_next_one() -> None:
    transcript = Transcript()
    transcript.take([deployment("running"), open_line(1, "10 %")])
    assert transcript.open_line == "10 %"
    transcript.take([open_line(1, "20 %")])
    assert transcript.open_line == "20 %"
    assert transcript.take([{"type": "output", "lines": [[1, START, "100 %", None]]}])
    assert transcript.open_line == ""
    transcript.take([open_line(1, "late")])
    assert transcript.open_line == ""


# --- On a terminal --------------------------------------------------------------------------------------------------


def drawn(messages: list[Message], *, width: int, marks: Marks, with_output: bool = False) -> str:
    stream = io.StringIO()
    console = Console(
        file=stream, width=width, height=30, force_terminal=True, color_system=None, legacy_windows=False
    )
    transcript = Transcript()
    with ProgressView(transcript, console, marks, with_output=with_output) as view:
        for message in messages:
            view.show(transcript.take([message]))
    return stream.getvalue()


def test_a_terminal_shows_header_steps_a_bar_and_the_outcome_with_its_reason() -> None:
    text = drawn(FAILED, width=80, marks=Marks())
    assert "shop · deployment 5 · by admin from cli" in text
    assert "0/1" in text
    assert "✘ Build" in text
    assert "✘ Deployment 5 of shop: failure, 2.5s" in text
    assert "The step “Build” failed: no disk" in text
    assert "| no space left" in text
    assert "fastdeploy deployments logs 5" in text


def test_a_terminal_shows_a_line_before_it_ends() -> None:
    progress = open_line(1, "\r10 %\r\x1b[32m20 %")
    assert "| 20 %" in drawn([deployment("running"), progress], width=80, marks=Marks(), with_output=True)


def test_lines_fit_a_narrow_terminal() -> None:
    long = [step(1, "A name of a step that is rather long", "success", "and a message that is even longer " * 3)]
    lines = drawn([deployment("running"), *long, deployment("success")], width=60, marks=Marks()).split("\n")
    visible = [line.replace("\x1b[2K", "").replace("\x1b[1A", "").split("\r")[-1] for line in lines]
    assert max(len(line) for line in visible) <= 60


def test_marks_are_ascii_without_unicode_support() -> None:
    messages = [deployment("running"), step(1, "Build", "success"), deployment("success")]
    text = drawn(messages, width=80, marks=ASCII)
    assert "+ Build" in text
    assert "✔" not in text


def test_markup_in_output_is_shown_unchanged() -> None:
    text = drawn([deployment("running"), output("[bold]x[/bold] :smile:")], width=80, marks=Marks(), with_output=True)
    assert "| [bold]x[/bold] :smile:" in text
