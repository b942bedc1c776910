"""Bodies of requests: what is taken, and as what."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from deploy.adapters.repository.listings import DEPLOYMENT_FIELDS
from deploy.domain.model import StepState
from deploy.domain.reports import MAX_DEPTH, step_report
from deploy.entrypoints.schemas.deployments import DeploymentOut, StepIn
from deploy.service_layer.messages import deployment_fields
from tests.runs import a_deployment

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


class TestTimesOfSteps:
    @pytest.mark.parametrize(
        "said",
        [
            "2026-03-01T12:00:00Z",
            "2026-03-01T12:00:00+00:00",
            "2026-03-01T14:00:00+02:00",
            # As older scripts say it, wherever the server is.
            "2026-03-01T12:00:00",
            "2026-03-01 12:00:00.000000",
        ],
    )
    def test_they_are_in_utc(self, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        step = StepIn.model_validate({"name": "A", "started": said, "finished": said})
        assert (step.started, step.finished) == (NOON, NOON)
        assert step.started is not None
        assert step.started.tzinfo is timezone.utc

    @pytest.mark.parametrize("said", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "noon", [], {}])
    def test_what_is_no_time_is_refused(self, said: object) -> None:
        with pytest.raises(ValidationError):
            StepIn.model_validate({"name": "A", "started": said})

    def test_none_is_fine(self) -> None:
        assert StepIn.model_validate({"name": "A", "started": None}).started is None


class TestStatesOfSteps:
    @pytest.mark.parametrize(
        ("said", "state"),
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
    def test_they_are_those_of_a_line(self, said: str, state: StepState) -> None:
        assert StepIn.model_validate({"name": "A", "state": said}).state is state

    @pytest.mark.parametrize("said", ["", "odd", "okay", None, 1, True, ["ok"], {}])
    def test_others_are_refused(self, said: object) -> None:
        with pytest.raises(ValidationError):
            StepIn.model_validate({"name": "A", "state": said})

    def test_the_schema_names_those_that_are_kept(self) -> None:
        schema = StepIn.model_json_schema()
        assert schema["$defs"]["StepState"]["enum"] == [state.value for state in StepState]
        assert schema["properties"]["state"] == {"$ref": "#/$defs/StepState", "default": "success"}


class TestOtherFieldsOfSteps:
    def test_they_are_kept(self) -> None:
        assert StepIn.model_validate({"name": "A", "x": [1], "model_dump": "m"}).model_extra == {
            "x": [1],
            "model_dump": "m",
        }

    @pytest.mark.parametrize(("levels", "is_fine"), [(MAX_DEPTH - 1, True), (MAX_DEPTH, False), (5000, False)])
    def test_as_deep_as_in_a_line(self, levels: int, is_fine: bool) -> None:
        value: Any = 1
        for _ in range(levels):
            value = [value]
        fields = {"name": "A", "x": value}
        assert (step_report(fields) is not None) == is_fine
        if is_fine:
            StepIn.model_validate(fields)
        else:
            with pytest.raises(ValidationError, match="too deeply"):
                StepIn.model_validate(fields)


def test_lists_answers_and_messages_tell_the_same_of_a_deployment() -> None:
    assert set(DEPLOYMENT_FIELDS) == DeploymentOut.model_fields.keys() == deployment_fields(a_deployment()).keys()
