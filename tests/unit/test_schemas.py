"""Bodies of requests: what is taken, and as what."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from pydantic import ValidationError

from deploy.adapters.repository.listings import DEPLOYMENT_FIELDS
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


def test_lists_answers_and_messages_tell_the_same_of_a_deployment() -> None:
    assert set(DEPLOYMENT_FIELDS) == DeploymentOut.model_fields.keys() == deployment_fields(a_deployment()).keys()
