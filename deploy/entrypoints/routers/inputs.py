"""What a service asks for before it is deployed."""

from __future__ import annotations

from typing import Annotated

from deploy.domain.policy import Action, Actor, check
from deploy.entrypoints.dependencies import ServicesDep, require
from deploy.entrypoints.routing import Router
from deploy.entrypoints.schemas import Detail, Id, InputsOut, SummaryOut

router = Router(prefix="/services", tags=["services"], responses={401: {"model": Detail}})
Asker = Annotated[Actor, require(Action.READ_INPUTS)]


@router.get("/{service_id}/inputs", responses={403: {"model": Detail}, 404: {"model": Detail}})
async def read_inputs(service_id: Id, actor: Asker, services: ServicesDep) -> InputsOut:
    """What to ask for before a deployment: the schema with its choices filled in, the last values, and a summary."""
    async with services.open_unit_of_work() as uow:
        service = await uow.services.get(service_id)
        check(actor, Action.READ_INPUTS, service_id=service.id)
        ahead = len(await uow.deployments.open(service_id=service.id))
    data = service.data
    return InputsOut(
        json_schema=data.get("inputs"),
        problems=[],
        last=None,
        confirm=bool(data.get("confirm")),
        summary=SummaryOut(
            kind="script",
            file=data.get("deploy_script") or "deploy.sh",
            hosts=None,
            runs_as=services.settings.sudo_user or None,
            ahead=ahead,
        ),
    )
