"""Test which request bodies are accepted and how they are read."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from deploy.domain.model import StepState
from deploy.domain.reports import MAX_DEPTH, step_report
from deploy.entrypoints.schemas.deployments import StepIn

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


class TestTimesOfSteps:
    @pytest.mark.parametrize(
        "reported",
        [
            "2026-03-01T12:00:00Z",
            "2026-03-01T12:00:00+00:00",
            "2026-03-01T14:00:00+02:00",
            # As sent by older scripts, in any time zone of the server.
            "2026-03-01T12:00:00",
            "2026-03-01 12:00:00.000000",
        ],
    )
    def test_times_are_in_utc(self, reported: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        step = StepIn.model_validate({"name": "A", "started": reported, "finished": reported})
        assert (step.started, step.finished) == (NOON, NOON)
        assert step.started is not None
        assert step.started.tzinfo is timezone.utc

    @pytest.mark.parametrize("reported", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "noon", [], {}])
    def test_invalid_times_are_rejected(self, reported: object) -> None:
        with pytest.raises(ValidationError):
            StepIn.model_validate({"name": "A", "started": reported})

    def test_times_are_optional(self) -> None:
        assert StepIn.model_validate({"name": "A", "started": None}).started is None


class TestStatesOfSteps:
    @pytest.mark.parametrize(
        ("reported", "state"),
        [
            ("ok", StepState.SUCCESS),
            ("Changed", StepState.SUCCESS),
            ("SUCCESS", StepState.SUCCESS),
            ("failed", StepState.FAILURE),
            ("unreachable", StepState.FAILURE),
            ("Skipped", StepState.SKIPPED),
            (StepState.RUNNING, StepState.RUNNING),
        ],
    )
    def test_states_are_read_as_in_a_line(self, reported: str, state: StepState) -> None:
        assert StepIn.model_validate({"name": "A", "state": reported}).state is state

    @pytest.mark.parametrize("reported", ["", "odd", "okay", None, 1, True, ["ok"], {}])
    def test_other_states_are_rejected(self, reported: object) -> None:
        with pytest.raises(ValidationError):
            StepIn.model_validate({"name": "A", "state": reported})

    def test_the_schema_lists_the_stored_states(self) -> None:
        schema = StepIn.model_json_schema()
        assert schema["$defs"]["StepState"]["enum"] == [state.value for state in StepState]
        assert schema["properties"]["state"] == {"$ref": "#/$defs/StepState", "default": "success"}


class TestOtherFieldsOfSteps:
    def test_other_fields_are_kept(self) -> None:
        assert StepIn.model_validate({"name": "A", "x": [1], "model_dump": "m"}).model_extra == {
            "x": [1],
            "model_dump": "m",
        }

    @pytest.mark.parametrize(("levels", "is_fine"), [(MAX_DEPTH - 1, True), (MAX_DEPTH, False), (5000, False)])
    def test_nesting_is_limited_as_in_a_line(self, levels: int, is_fine: bool) -> None:
        value: Any = 1
        for _ in range(levels):
            value = [value]
        fields = {"name": "A", "state": "success", "x": value}
        assert (step_report(fields) is not None) == is_fine
        if is_fine:
            StepIn.model_validate(fields)
        else:
            with pytest.raises(ValidationError, match="too deeply"):
                StepIn.model_validate(fields)
