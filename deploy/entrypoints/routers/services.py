"""Services: list and read them, and sync them with their folders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Response

from deploy.domain.commands import DeleteService
from deploy.domain.events import ServiceChanged
from deploy.domain.model import Deployment, Service
from deploy.domain.policy import Action, Actor
from deploy.entrypoints.dependencies import AppStateDep, require
from deploy.entrypoints.schemas.common import Detail, Id
from deploy.entrypoints.schemas.deployments import DeploymentOut, PlannedStepOut
from deploy.entrypoints.schemas.services import ProblemOut, ServiceDetails, ServiceOut, SyncOut
from deploy.service_layer.authorization import granted_service
from deploy.service_layer.plans import expected
from deploy.service_layer.services import folder_problems, sync_services, visible_folders

router = APIRouter(prefix="/services", tags=["services"], responses={401: {"model": Detail}})
Reader = Annotated[Actor, require(Action.READ_SERVICES)]
SHOWN_ACTIVE = 20


@router.get("/", response_model=list[ServiceOut])
async def list_services(actor: Reader, state: AppStateDep) -> Response:
    """List all services by name, each with its last deployment and its oldest running and waiting ones."""
    return Response(await state.listings.services(visible=actor.visible), media_type="application/json")


@router.get("/names", include_in_schema=False)
@router.get("/names/")
async def list_folder_names(actor: Reader, state: AppStateDep) -> list[str]:
    """List the names of the folders in the services root."""
    is_visible = await visible_folders(actor, state.open_reads)
    return [name for name in await state.folders.names() if is_visible(name)]


@router.get("/problems")
async def list_problems(actor: Reader, state: AppStateDep) -> list[ProblemOut]:
    """List the folders that cannot be read, and why."""
    problems = await folder_problems(state.folders, state.open_unit_of_work)
    is_visible = await visible_folders(actor, state.open_reads)
    return [ProblemOut.model_validate(problem) for problem in problems if is_visible(problem.folder)]


@router.post("/sync")
async def sync(actor: Annotated[Actor, require(Action.SYNC_SERVICES)], state: AppStateDep) -> SyncOut:
    """Sync the services with their folders, and report the folders that could not be read."""
    events, problems = await sync_services(state.folders, state.bus, state.open_unit_of_work, by=actor)
    is_visible = await visible_folders(actor, state.open_reads)
    changes = [event for event in events if isinstance(event, ServiceChanged) and event.service_id in actor.visible]
    names = {
        kind: [event.name for event in changes if event.change == kind] for kind in ("added", "changed", "removed")
    }
    return SyncOut(
        detail="Services synced",
        problems=[ProblemOut.model_validate(problem) for problem in problems if is_visible(problem.folder)],
        **names,
    )


@router.get("/{service_id}", responses={404: {"model": Detail}})
async def read_service(service_id: Id, actor: Reader, state: AppStateDep) -> ServiceDetails:
    """Return a service with its documentation."""
    async with state.open_reads() as uow:
        service = await granted_service(actor, Action.READ_SERVICES, service_id, uow)
        latest = await uow.deployments.latest_by_service([service.id], visible=actor.visible)
        active = await uow.deployments.active(service.id, visible=actor.visible, limit=SHOWN_ACTIVE)
        active_count = await uow.deployments.count_active(service.id, visible=actor.visible)
        plan = await expected(service, uow, state.folders.playbook_steps, visible=actor.visible)
    fields = _service(service, latest.get(service.id), active, active_count)
    steps = [PlannedStepOut.model_validate(step) for step in plan.steps]
    return ServiceDetails(**fields.model_dump(), readme=service.readme, plan=steps)


@router.delete("/{service_id}", responses={404: {"model": Detail}, 409: {"model": Detail}})
async def delete_service(
    service_id: Id, actor: Annotated[Actor, require(Action.DELETE_SERVICE)], state: AppStateDep
) -> Detail:
    """Delete a service from the list; its deployments are kept."""
    await state.bus.handle(DeleteService(service_id=service_id), by=actor)
    return Detail(detail=f"Service {service_id} deleted")


def _service(service: Service, last: Deployment | None, active: Sequence[Deployment], active_count: int) -> ServiceOut:
    return ServiceOut(
        id=service.id,
        name=service.name,
        data=service.data,
        last_deployment=DeploymentOut.model_validate(last) if last is not None else None,
        active_deployments=[DeploymentOut.model_validate(deployment) for deployment in active],
        active_count=active_count,
    )
