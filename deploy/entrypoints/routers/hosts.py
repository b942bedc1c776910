"""The results of an Ansible deployment on its hosts: by step, one in full, and as a recap."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from deploy.adapters.repository.hosts import Place, ResultFilter
from deploy.domain.errors import NotFound
from deploy.domain.hosts import sample_of
from deploy.domain.model import Outcome
from deploy.domain.policy import Action, Actor
from deploy.entrypoints.dependencies import AppStateDep, require
from deploy.entrypoints.schemas.common import MAX_ID, Detail, Id
from deploy.entrypoints.schemas.hosts import HostRecapOut, RecapOut, StepResultOut, StepResultsOut
from deploy.service_layer.authorization import granted_deployment

router = APIRouter(
    prefix="/deployments/{deployment_id}",
    tags=["hosts"],
    responses={401: {"model": Detail}, 403: {"model": Detail}, 404: {"model": Detail}},
)
Reader = Annotated[Actor, require(Action.READ_DEPLOYMENT)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Text = Annotated[str, Query(max_length=200)]
HostName = Annotated[str, Query(min_length=1, max_length=1000)]
# A place in a sorted list, as `next_after` returns it.
After = Annotated[str, Query(max_length=1100, pattern=r"^[0-9]:[0-9]{1,18}:")]


@router.get("/hosts")
async def list_results(
    deployment_id: Id,
    actor: Reader,
    state: AppStateDep,
    # FastAPI copies the default.
    outcomes: Annotated[list[Outcome], Query(alias="outcome", max_length=20)] = [],  # noqa: B006
    step_id: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
    host: HostName | None = None,
    q: Text = "",
    limit: Limit = 200,
    after: After | None = None,
) -> StepResultsOut:
    """List the results of steps on hosts, failures first, without whole messages and diffs.

    `outcome` can be repeated. `q` filters by a part of the host's name (case-insensitive).
    """
    only = ResultFilter(step_id=step_id, host=host, outcomes=tuple(outcomes), text=q)
    async with state.open_unit_of_work() as uow:
        await granted_deployment(actor, Action.READ_DEPLOYMENT, deployment_id, uow)
        found = await uow.hosts.list(
            deployment_id, visible=actor.visible, limit=limit + 1, after=_place(after), only=only
        )
    shown = [
        StepResultOut(**sample_of(result, has_diff=has_diff), step_id=result.step_id)
        for result, has_diff, _ in found[:limit]
    ]
    return StepResultsOut(results=shown, next_after=_after(found[limit - 1][2]) if len(found) > limit else None)


@router.get("/hosts/result")
async def read_result(
    deployment_id: Id,
    actor: Reader,
    state: AppStateDep,
    step_id: Annotated[int, Query(ge=1, le=MAX_ID)],
    host: HostName,
) -> StepResultOut:
    """Return the result of a step on one host, with its whole message and diff."""
    async with state.open_unit_of_work() as uow:
        await granted_deployment(actor, Action.READ_DEPLOYMENT, deployment_id, uow)
        found = await uow.hosts.one(deployment_id, step_id, host, visible=actor.visible)
    if found is None:
        raise NotFound("This step has no result on this host")
    fields = {**sample_of(found), "message": found.message, "diff": found.diff, "has_more": False}
    return StepResultOut(**fields, step_id=step_id)


@router.get("/recap")
async def read_recap(
    deployment_id: Id,
    actor: Reader,
    state: AppStateDep,
    q: Text = "",
    limit: Limit = 200,
    after: After | None = None,
) -> RecapOut:
    """Return the number of tasks on each host by outcome, hosts with failures first.

    `q` filters by a part of the host's name (case-insensitive).
    """
    async with state.open_unit_of_work() as uow:
        await granted_deployment(actor, Action.READ_DEPLOYMENT, deployment_id, uow)
        found = await uow.hosts.recaps(
            deployment_id, visible=actor.visible, limit=limit + 1, after=_place(after), text=q
        )
    hosts = [HostRecapOut.model_validate(recap) for recap in found[:limit]]
    last = hosts[-1] if len(found) > limit else None
    after_last = None if last is None else _after(Place(0 if last.failed + last.unreachable else 1, 0, last.host))
    return RecapOut(hosts=hosts, next_after=after_last)


def _after(place: Place) -> str:
    return f"{place.rank}:{place.step_id}:{place.host}"


def _place(after: str | None) -> Place:
    if after is None:
        return Place()
    rank, step_id, host = after.split(":", 2)
    return Place(int(rank), int(step_id), host)
