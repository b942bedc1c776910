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
from deploy.entrypoints.service_sync import sync_services
from deploy.service_layer.planning import expected

router = APIRouter(prefix="/services", tags=["services"], responses={401: {"model": Detail}})
Reader = Annotated[Actor, require(Action.READ_SERVICES)]


@router.get("/", response_model=list[ServiceOut])
async def list_services(_actor: Reader, services: AppStateDep) -> Response:
    """List all services by name, each with its last deployment and its waiting and running ones."""
    return Response(await services.listings.services(), media_type="application/json")


@router.get("/names", include_in_schema=False)
@router.get("/names/")
async def list_folder_names(_actor: Reader, services: AppStateDep) -> list[str]:
    """List the names of the folders in the services root."""
    return await services.folders.names()


@router.get("/problems")
async def list_problems(_actor: Reader, services: AppStateDep) -> list[ProblemOut]:
    """List the folders that cannot be read, and why."""
    _, problems = await services.folders.read()
    return [ProblemOut.model_validate(problem) for problem in problems]


@router.post("/sync")
async def sync(_actor: Annotated[Actor, require(Action.SYNC_SERVICES)], services: AppStateDep) -> SyncOut:
    """Sync the services with their folders, and report the folders that could not be read."""
    events, problems = await sync_services(services)
    changes = [event for event in events if isinstance(event, ServiceChanged)]
    names = {
        kind: [event.name for event in changes if event.change == kind] for kind in ("added", "changed", "removed")
    }
    return SyncOut(
        detail="Services synced", problems=[ProblemOut.model_validate(problem) for problem in problems], **names
    )


@router.get("/{service_id}", responses={404: {"model": Detail}})
async def read_service(service_id: Id, _actor: Reader, services: AppStateDep) -> ServiceDetails:
    """Return a service with its documentation."""
    async with services.open_unit_of_work() as uow:
        service = await uow.services.get(service_id)
        latest = await uow.deployments.latest_by_service([service.id])
        active = await uow.deployments.open(service_id=service.id)
        plan = await expected(service, uow, services.folders.playbook_steps)
    fields = _service(service, latest.get(service.id), active)
    steps = [PlannedStepOut.model_validate(step) for step in plan.steps]
    return ServiceDetails(**fields.model_dump(), readme=service.readme, plan=steps)


@router.delete("/{service_id}", responses={404: {"model": Detail}, 409: {"model": Detail}})
async def delete_service(
    service_id: Id, _actor: Annotated[Actor, require(Action.DELETE_SERVICE)], services: AppStateDep
) -> Detail:
    """Delete a service from the list; its deployments are kept."""
    await services.bus.handle(DeleteService(service_id=service_id))
    return Detail(detail=f"Service {service_id} deleted")


def _service(service: Service, last: Deployment | None, active: Sequence[Deployment]) -> ServiceOut:
    return ServiceOut(
        id=service.id,
        name=service.name,
        data=service.data,
        last_deployment=DeploymentOut.model_validate(last) if last is not None else None,
        active_deployments=[
            DeploymentOut.model_validate(deployment) for deployment in active if deployment.service_id == service.id
        ],
    )
