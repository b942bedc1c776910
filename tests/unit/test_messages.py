"""Test the JSON messages that clients receive."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.adapters.repository import StoredEvent
from deploy.domain.events import CancelRequested, DeploymentChanged, DeploymentQueued, Event, LinePrinted, StepChanged
from deploy.domain.model import Deployment, DeploymentState, Service, Step, StepState
from deploy.service_layer.messages import (
    CHARACTERS_PER_MESSAGE,
    LINES_PER_MESSAGE,
    deployment_fields,
    service_message,
    stored_events,
)
from deploy.service_layer.output import lines_of
from tests.runs import START, a_deployment, at


def printed(number: int, text: str = "hello", second: float = 1, step_id: int | None = None) -> LinePrinted:
    return LinePrinted(text, at(second), number, step_id)


def messages(events: list[Event], deployment: Deployment | None = None) -> list[dict[str, Any]]:
    """Return the messages for these events."""
    return [json.loads(event.message) for event in stored_events(deployment or a_deployment(), events)]


def a_step(**fields: Any) -> Step:
    return Step(**{"id": 4, "deployment_id": 7, "name": "Build", "position": 1, **fields})


class TestTimes:
    @pytest.mark.parametrize(
        ("moment", "text"),
        [
            (None, None),
            (datetime(2026, 3, 1, 12, tzinfo=timezone.utc), "2026-03-01T12:00:00Z"),
            (datetime(2026, 3, 1, 12, 0, 0, 250_000, timezone.utc), "2026-03-01T12:00:00.250000Z"),
            (datetime(2026, 3, 1, 14, tzinfo=timezone(timedelta(hours=2))), "2026-03-01T12:00:00Z"),
        ],
    )
    def test_times_are_in_utc(self, moment: datetime | None, text: str | None) -> None:
        (message,) = messages([StepChanged(a_step(started=moment))])
        assert message["started"] == text

    @pytest.mark.parametrize("number", [2**63, -(2**64), 10**400])
    def test_times_are_in_utc_next_to_huge_numbers(self, number: int) -> None:
        (message,) = messages([StepChanged(a_step(started=at(0.25), detail={"n": [number]}))])
        assert (message["started"], message["detail"]) == ("2026-03-01T12:00:00.250000Z", {"n": [number]})

    def test_times_of_lines_are_in_utc(self) -> None:
        east = at(1).astimezone(timezone(timedelta(hours=2)))
        lines: list[Event] = [LinePrinted("a", east, 1, None), LinePrinted("b", east, 2, None), printed(3, second=2)]
        (message,) = messages(lines)
        assert [line[1] for line in message["lines"]] == ["2026-03-01T12:00:01Z"] * 2 + ["2026-03-01T12:00:02Z"]


class TestDeploymentMessage:
    def test_the_message_has_the_expected_fields(self) -> None:
        deployment = a_deployment(state=DeploymentState.SUCCESS, started=at(1), finished=at(2), lines=3, seq=8)
        (message,) = messages([DeploymentChanged(7)], deployment)
        assert message == {
            "type": "deployment",
            "deployment_id": 7,
            "id": 7,
            "service_id": 3,
            "service": "shop",
            "origin": "GitHub",
            "user": "ada",
            "state": "success",
            "created": "2026-03-01T12:00:00Z",
            "started": "2026-03-01T12:00:01Z",
            "finished": "2026-03-01T12:00:02Z",
            "context": {"env": {}},
            "reason": None,
            "exit_code": None,
            "retry_of": None,
            "cancel_requested": None,
            "expected_seconds": None,
            "secret_inputs": [],
            "lines": 3,
            "seq": 9,
            "environment": "",
            "held": None,
            "run_ended": None,
        }

    def test_the_seq_matches_the_message(self) -> None:
        deployment = a_deployment(seq=4)
        first, second = messages([DeploymentChanged(7), DeploymentChanged(7)], deployment)
        assert (first["seq"], second["seq"], deployment.seq) == (5, 6, 6)

    def test_internal_fields_are_not_sent(self) -> None:
        fields = deployment_fields(a_deployment(idempotency_key="secret", worker_id="w1", job_id=3))
        assert not {"idempotency_key", "worker_id", "job_id", "spool_offset"} & fields.keys()


class TestStepMessage:
    def test_the_message_has_the_expected_fields(self) -> None:
        step = a_step(
            state=StepState.SUCCESS,
            description="Makes it",
            message="done",
            started=at(1),
            finished=at(2),
            run_order=1,
            first_line=3,
            last_line=9,
            detail={"a": 1},
            hosts=[{"host": "web1", "outcome": "ok", "duration": 0.5, "message": "", "diff": None}],
            host_counts={"ok": 1},
        )
        (message,) = messages([StepChanged(step)])
        assert message == {
            "type": "step",
            "id": 4,
            "deployment_id": 7,
            "name": "Build",
            "description": "Makes it",
            "state": "success",
            "started": "2026-03-01T12:00:01Z",
            "finished": "2026-03-01T12:00:02Z",
            "message": "done",
            "position": 1,
            "run_order": 1,
            "first_line": 3,
            "last_line": 9,
            "detail": {"a": 1},
            "hosts": [],
            "host_counts": {"ok": 1},
            "expected_seconds": None,
            "deleted": False,
            "seq": 1,
        }

    def test_a_removed_step_is_marked_deleted(self) -> None:
        (message,) = messages([StepChanged(a_step(), deleted=True)])
        assert message["deleted"] is True


class TestServiceMessage:
    @pytest.mark.parametrize(("deleted", "is_deleted"), [(None, False), (START, True)])
    def test_the_message_has_the_expected_fields(self, deleted: datetime | None, is_deleted: bool) -> None:
        service = Service(id=3, name="shop", data={"description": "A shop"}, deleted=deleted)
        assert json.loads(service_message(service)) == {
            "type": "service",
            "id": 3,
            "name": "shop",
            "data": {"description": "A shop"},
            "deleted": is_deleted,
        }


class TestOutputMessage:
    def test_the_message_has_the_expected_fields(self) -> None:
        (message,) = messages([printed(1, "a"), printed(2, "b", step_id=4)])
        assert message == {
            "type": "output",
            "deployment_id": 7,
            "seq": 1,
            "lines": [[1, "2026-03-01T12:00:01Z", "a", None], [2, "2026-03-01T12:00:01Z", "b", 4]],
        }

    def test_the_number_of_the_last_line_is_stored_with_the_message(self) -> None:
        stored = list(stored_events(a_deployment(), [printed(1), printed(2), StepChanged(a_step()), printed(3)]))
        assert [(event.seq, event.last_line) for event in stored] == [(1, 2), (2, None), (3, 3)]

    def test_lines_per_message_are_limited(self) -> None:
        found = messages([printed(n) for n in range(1, 2 * LINES_PER_MESSAGE + 2)])
        assert [len(message["lines"]) for message in found] == [LINES_PER_MESSAGE, LINES_PER_MESSAGE, 1]

    def test_characters_per_message_are_limited(self) -> None:
        half = "x" * (CHARACTERS_PER_MESSAGE // 2)
        found = messages([printed(1, half), printed(2, half), printed(3, "y"), printed(4, half)])
        assert [[line[0] for line in message["lines"]] for message in found] == [[1, 2], [3, 4]]

    def test_a_longer_line_gets_its_own_message(self) -> None:
        found = messages([printed(1), printed(2, "x" * (CHARACTERS_PER_MESSAGE + 1)), printed(3)])
        assert [[line[0] for line in message["lines"]] for message in found] == [[1], [2], [3]]

    @pytest.mark.parametrize("text", ["a\x00b", "\ud800", "ä ü €", "\u2028", '"\\', "\x1b[31mred"])
    def test_any_text_is_sent(self, text: str) -> None:
        (stored,) = stored_events(a_deployment(), [printed(1, text)])
        assert stored.message.encode()  # in the form in which it is sent
        assert "\x00" not in stored.message  # PostgreSQL cannot store it
        assert [line.text for line in lines_of(stored.message)] == [text]

    def test_lines_are_read_back_unchanged(self) -> None:
        (stored,) = stored_events(a_deployment(), [printed(1, "a", 0.25, 4)])
        (line,) = lines_of(stored.message)
        assert line.fields() == {"n": 1, "at": at(0.25), "text": "a", "step_id": 4}


class TestOrder:
    def test_internal_events_create_no_message(self) -> None:
        assert messages([DeploymentQueued(a_deployment()), CancelRequested(7)]) == []

    def test_messages_keep_the_order_of_the_events(self) -> None:
        found = messages([printed(1), StepChanged(a_step()), printed(2), DeploymentChanged(7), printed(3)])
        assert [message["type"] for message in found] == ["output", "step", "output", "deployment", "output"]

    @given(st.lists(st.sampled_from(["line", "long", "step", "deployment"]), max_size=40), st.integers(0, 1000))
    def test_nothing_is_lost_and_numbers_have_no_gaps(self, kinds: list[str], seq: int) -> None:
        events: list[Event] = []
        for number, kind in enumerate(kinds, 1):
            text = "x" * (CHARACTERS_PER_MESSAGE // 3) if kind == "long" else "x"
            is_line = kind in ("line", "long")
            events.append(
                printed(number, text)
                if is_line
                else StepChanged(a_step(position=number))
                if kind == "step"
                else DeploymentChanged(7)
            )
        stored: list[StoredEvent] = list(stored_events(a_deployment(seq=seq), events))
        assert [event.seq for event in stored] == list(range(seq + 1, seq + 1 + len(stored)))
        lines = [line.n for event in stored if event.last_line is not None for line in lines_of(event.message)]
        assert lines == [event.number for event in events if isinstance(event, LinePrinted)]
        others = [json.loads(event.message)["type"] for event in stored if event.last_line is None]
        assert others == [kind for kind in kinds if kind in ("step", "deployment")]
