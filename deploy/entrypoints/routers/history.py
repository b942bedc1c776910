"""The history of a service: the results of its deployments, and changes since the last successful one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from deploy.domain.model import Lane
from deploy.domain.policy import Action, Actor
from deploy.entrypoints.dependencies import AppStateDep, require
from deploy.entrypoints.schemas.common import Detail, Id
from deploy.entrypoints.schemas.deployments import ChangesOut
from deploy.entrypoints.schemas.services import StatisticsOut
from deploy.service_layer.authorization import granted_deployment, granted_service
from deploy.service_layer.history import changes_since_success, statistics_of

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
    async with state.open_reads() as uow:
        service = await granted_service(actor, Action.READ_SERVICES, service_id, uow)
        finished = await uow.history.finished(Lane(service.id), visible=actor.visible, limit=limit)
    return StatisticsOut.model_validate(statistics_of(finished), from_attributes=True)


@router.get("/deployments/{deployment_id}/changes", responses={404: {"model": Detail}})
async def read_changes(
    deployment_id: Id, actor: Annotated[Actor, require(Action.READ_CHANGES)], state: AppStateDep
) -> ChangesOut:
    """Return what changed since the last successful deployment before this one: values, config and files."""
    async with state.open_reads() as uow:
        deployment = await granted_deployment(actor, Action.READ_CHANGES, deployment_id, uow)
        changes = await changes_since_success(deployment, uow, visible=actor.visible)
    return ChangesOut.model_validate(changes, from_attributes=True)
