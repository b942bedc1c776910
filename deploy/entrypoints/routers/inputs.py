"""The inputs of a service."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter

from deploy.domain.errors import NotFound
from deploy.domain.policy import Action, Actor
from deploy.entrypoints.dependencies import AppStateDep, require
from deploy.entrypoints.schemas.common import Detail, Id
from deploy.entrypoints.schemas.services import ChoiceProblem, InputsOut, SummaryOut

router = APIRouter(prefix="/services", tags=["services"], responses={401: {"model": Detail}})
Asker = Annotated[Actor, require(Action.READ_INPUTS)]


@router.get("/own/inputs", responses={404: {"model": Detail}})
async def read_own_inputs(actor: Asker, state: AppStateDep) -> InputsOut:
    """Return the inputs of the service that a service token belongs to."""
    if actor.service_id is None:
        raise NotFound("This is not a service token. Use /services/{service_id}/inputs instead.")
    return await read_inputs(actor.service_id, actor, state)


@router.get("/{service_id}/inputs", responses={403: {"model": Detail}, 404: {"model": Detail}})
async def read_inputs(service_id: Id, actor: Asker, state: AppStateDep) -> InputsOut:
    """Return the inputs of a service: the schema with its choices filled in, the last values, and a summary.

    Choices from a command or an inventory are loaded now; if that fails, `problems` gives the reason.
    """
    found = await state.forms.of(service_id, actor)
    return InputsOut(
        json_schema=found.form.schema,
        problems=[ChoiceProblem(path=problem.name, detail=f"{problem.sentence}.") for problem in found.form.problems],
        last=found.last,
        confirm=found.confirm,
        summary=SummaryOut.model_validate(found.summary, from_attributes=True),
    )
