"""Health checks and deployed services, for operators and monitoring."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Response

from deploy.adapters import migrations
from deploy.adapters.database import DATABASE_ERRORS
from deploy.domain.policy import Action, Actor
from deploy.entrypoints.app_state import AppState
from deploy.entrypoints.dependencies import AppStateDep, require
from deploy.entrypoints.errors import RETRY_AFTER
from deploy.entrypoints.schemas.common import Detail, Health
from deploy.entrypoints.schemas.services import DeployedServiceOut

router = APIRouter(tags=["operations"])


@router.get("/health/live")
async def live() -> Health:
    """Check that the process responds."""
    return Health(status="ok", reasons=[])


@router.get("/health/ready", responses={503: {"model": Health}})
async def ready(state: AppStateDep, response: Response) -> Health:
    """Check that requests can be served; if not, `reasons` says why."""
    reasons = await _reasons(state)
    if reasons:
        response.status_code = 503
        response.headers.update(RETRY_AFTER)
    return Health(status="unavailable" if reasons else "ok", reasons=reasons)


@router.get("/deployed-services/", responses={401: {"model": Detail}})
async def list_deployed_services(
    actor: Annotated[Actor, require(Action.READ_DEPLOYED_SERVICES)], state: AppStateDep
) -> list[DeployedServiceOut]:
    """List what the last successful deployment of each service left running (service discovery)."""
    async with state.open_reads() as uow:
        found = await uow.deployed_services.list(visible=actor.visible)
    return [DeployedServiceOut.model_validate(deployed) for deployed in found]


async def _reasons(state: AppState) -> list[str]:
    try:
        revision = await migrations.current(state.database)
    except DATABASE_ERRORS as error:
        return [f"The database cannot be reached: {type(error).__name__}"]
    if revision != migrations.head():
        return [
            f"The database is at revision {revision} but must be at {migrations.head()}. Run: fastdeploy db upgrade"
        ]
    if full := await state.full_disk.reasons(state.database, state.settings.data_dir):
        return full
    return [] if state.listener.connected.is_set() else ["The live channel is not connected to the database yet."]
