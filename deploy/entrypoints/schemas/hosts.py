"""Schemas for the results of steps on hosts."""

from __future__ import annotations

from pydantic import ConfigDict

from deploy.domain.model import Outcome
from deploy.entrypoints.schemas.common import ResponseModel


class HostResultOut(ResponseModel):
    """The result of an Ansible task on one host; `duration` is in seconds.

    `message` is shortened and `diff` is null: `has_more` is true if the whole result has more of either. `lines` holds
    the numbers of the output lines about this result, as pairs of the first and the last line of each block.
    """

    host: str
    outcome: Outcome
    duration: float | None
    message: str
    diff: str | None
    has_more: bool
    lines: list[list[int]]


class StepResultOut(HostResultOut):
    """The result of a step on one host."""

    model_config = ConfigDict(from_attributes=True)

    step_id: int


class StepResultsOut(ResponseModel):
    """Results, failures first. `next_after` is the `after` of the next page (null at the end)."""

    results: list[StepResultOut]
    next_after: str | None


class HostRecapOut(ResponseModel):
    """The number of tasks on one host by outcome, as in Ansible's recap: `ok` includes `changed` and `ignored`."""

    model_config = ConfigDict(from_attributes=True)

    host: str
    ok: int
    changed: int
    failed: int
    unreachable: int
    skipped: int
    rescued: int
    ignored: int


class RecapOut(ResponseModel):
    """The recap of hosts, failures first. `next_after` is the `after` of the next page (null at the end)."""

    hosts: list[HostRecapOut]
    next_after: str | None


class HostSummaryOut(ResponseModel):
    """The number of hosts, each counted once, by the worst that happened to it. `ok`: nothing changed, none failed."""

    model_config = ConfigDict(from_attributes=True)

    total: int
    ok: int
    changed: int
    failed: int
    unreachable: int
