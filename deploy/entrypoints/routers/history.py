"""The history of a service: the results of its deployments, and changes since the last successful one."""

from __future__ import annotations

from statistics import median
from typing import Annotated, Any

from fastapi import APIRouter, Query

from deploy.adapters.repository.history import Finished
from deploy.domain import changes
from deploy.domain.changes import Change, Snapshot
from deploy.domain.model import Deployment, DeploymentState, Lane
from deploy.domain.policy import Action, Actor
from deploy.entrypoints.dependencies import AppStateDep, require
from deploy.entrypoints.schemas.common import Detail, Id
from deploy.entrypoints.schemas.deployments import ChangeOut, ChangesOut, DeploymentOut
from deploy.entrypoints.schemas.services import FinishedOut, StatisticsOut
from deploy.service_layer.authorization import granted_deployment, granted_service

router = APIRouter(tags=["history"], responses={401: {"model": Detail}})


@router.get("/services/{service_id}/statistics", responses={404: {"model": Detail}})
async def read_statistics(
    service_id: Id,
    actor: Annotated[Actor, require(Action.READ_SERVICES)],
    state: AppStateDep,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> StatisticsOut:
    """Return the results of a service's latest deployments, oldest first.

    `success_rate` ignores cancelled deployments; `median_seconds` covers successful ones.
    """
    async with state.open_unit_of_work() as uow:
        service = await granted_service(actor, Action.READ_SERVICES, service_id, uow)
        finished = await uow.history.finished(Lane(service.id), visible=actor.visible, limit=limit)
    return _statistics(finished)


@router.get("/deployments/{deployment_id}/changes", responses={404: {"model": Detail}})
async def read_changes(
    deployment_id: Id, actor: Annotated[Actor, require(Action.READ_CHANGES)], state: AppStateDep
) -> ChangesOut:
    """Return what changed since the last successful deployment before this one: values, config and files."""
    async with state.open_unit_of_work() as uow:
        deployment = await granted_deployment(actor, Action.READ_CHANGES, deployment_id, uow)
        since = await uow.history.last_success_before(deployment, visible=actor.visible)
        if since is None:
            return ChangesOut(since=None, env=[], config=[], files=[], unknown=[])
        known = await uow.history.snapshots([since.id, deployment.id], visible=actor.visible)
    before, after = known.get(since.id, Snapshot()), known.get(deployment.id, Snapshot())
    return ChangesOut(
        since=DeploymentOut.model_validate(since),
        env=_out(_input_changes(since, deployment)),
        config=_out(changes.config_changes(before, after)),
        files=_out(changes.file_changes(before, after)),
        unknown=changes.unknown(before, after),
    )


def _statistics(finished: list[Finished]) -> StatisticsOut:
    states = [one.state for one in finished if one.state is not DeploymentState.CANCELLED]
    good = [one.seconds for one in finished if one.state is DeploymentState.SUCCESS and one.seconds is not None]
    return StatisticsOut(
        deployments=[FinishedOut.model_validate(one) for one in finished],
        success_rate=states.count(DeploymentState.SUCCESS) / len(states) if states else None,
        median_seconds=median(good) if good else None,
    )


def _input_changes(before: Deployment, after: Deployment) -> list[Change]:
    return changes.input_changes(
        _env(before),
        _env(after),
        secret_before=set(before.secret_inputs),
        secret_after=set(after.secret_inputs),
    )


def _env(deployment: Deployment) -> dict[str, Any]:
    env = deployment.context.get("env")
    return env if isinstance(env, dict) else {}


def _out(found: list[Change]) -> list[ChangeOut]:
    return [ChangeOut.model_validate(change) for change in found]
