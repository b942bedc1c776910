"""The inputs of a service."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter

from deploy.adapters.ansible.targets import LOCAL, matching_hosts
from deploy.adapters.inputs.asking import ChoiceUnavailable
from deploy.adapters.inputs.schema import names, secret_names
from deploy.adapters.service_folders.config import DEFAULT_SCRIPT
from deploy.adapters.service_folders.survey import Survey
from deploy.domain.errors import NotFound
from deploy.domain.inputs import Form
from deploy.domain.model import Lane, Service
from deploy.domain.policy import Action, Actor
from deploy.entrypoints.app_state import AppState
from deploy.entrypoints.dependencies import AppStateDep, require
from deploy.entrypoints.schemas.common import Detail, Id
from deploy.entrypoints.schemas.services import ChoiceProblem, InputsOut, SummaryOut
from deploy.service_layer.authorization import granted_service

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
    async with state.open_unit_of_work() as uow:
        service = await granted_service(actor, Action.READ_INPUTS, service_id, uow)
        ahead = len(await uow.deployments.open(service_id=service.id, visible=actor.visible))
        last = None
        if actor.user_id is not None:
            last = await uow.previous_values.last(Lane(service.id), actor.user_id, visible=actor.visible)
    found = await state.folders.survey(service.name, service.data)
    form, hosts = await asyncio.gather(
        state.inputs.choices.form(service.name, service.data), _hosts(service, state, found)
    )
    return InputsOut(
        json_schema=form.schema,
        problems=[ChoiceProblem(path=problem.name, detail=f"{problem.sentence}.") for problem in form.problems],
        last=_still_asked_for(last, form),
        confirm=bool(service.data.get("confirm")),
        summary=_summary(service, state, hosts, ahead, is_script=found.is_script),
    )


def _still_asked_for(last: dict[str, Any] | None, form: Form) -> dict[str, Any] | None:
    if last is None or form.schema is None:
        return last
    # An input could have become a secret since then.
    wanted = set(names(form.schema)) - secret_names(form.schema)
    return {name: value for name, value in last.items() if name in wanted}


def _summary(service: Service, state: AppState, hosts: list[str] | None, ahead: int, *, is_script: bool) -> SummaryOut:
    script = service.data.get("deploy_script") or DEFAULT_SCRIPT
    return SummaryOut(
        kind="script" if is_script else "playbook",
        file=str(script if is_script else service.data.get("ansible_playbook")),
        hosts=hosts,
        runs_as=state.settings.sudo_user or None,
        ahead=ahead,
    )


async def _hosts(service: Service, state: AppState, found: Survey) -> list[str] | None:
    """Return the hosts that a playbook targets.

    Return None for scripts, or if the hosts are only known when it runs.
    """
    if found.is_script or found.hosts is None:
        return None
    if set(found.hosts) <= set(LOCAL):
        return list(dict.fromkeys(found.hosts))
    try:
        return matching_hosts(found.hosts, await state.inputs.choices.inventory(service.name, service.data))
    except ChoiceUnavailable:
        return None  # the run will report the error
