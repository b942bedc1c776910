"""Deployments: start, list, read, follow, cancel, retry; and what their scripts report."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from deploy.adapters.repository.deployments import Filter
from deploy.domain.commands import CancelDeployment, FinishDeployment, ReportStep, StartDeployment
from deploy.domain.errors import Conflict, NotFound
from deploy.domain.events import DeploymentQueued, Event
from deploy.domain.model import Deployment, DeploymentState
from deploy.domain.policy import Action, Actor, check
from deploy.domain.reports import as_in_a_line, report_of
from deploy.entrypoints.dependencies import ServicesDep, require
from deploy.entrypoints.schemas.common import LARGEST, Detail, Id, Moment
from deploy.entrypoints.schemas.deployments import (
    DeploymentDetails,
    DeploymentIn,
    DeploymentOut,
    DeploymentStarted,
    RetryIn,
    StepIn,
    StepOut,
    UserDeploymentIn,
)
from deploy.entrypoints.state import Services
from deploy.service_layer.waiting import why_waiting

router = APIRouter(tags=["deployments"], responses={401: {"model": Detail}})
Reader = Annotated[Actor, require(Action.READ_DEPLOYMENT)]
Canceller = Annotated[Actor, require(Action.CANCEL_DEPLOYMENT)]
Starter = Annotated[Actor, require(Action.START_DEPLOYMENT)]
LONGEST_KEY = 200
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Detail}}
CONFLICT: dict[int | str, dict[str, Any]] = {409: {"model": Detail}}
FORBIDDEN: dict[int | str, dict[str, Any]] = {403: {"model": Detail}}


def _usable_key(key: Any) -> Any:
    """Return the key, unless nobody can have meant it: all who leave theirs empty would get one deployment, for ever."""
    if isinstance(key, str) and not (key.strip() and len(key) <= LONGEST_KEY):
        raise PydanticCustomError(
            "idempotency_key",
            "An Idempotency-Key has 1 to {longest} characters, not only blanks. Leave the header out to do without.",
            {"longest": LONGEST_KEY},
        )
    return key


IdempotencyKey = Annotated[
    "str | None",
    Header(alias="Idempotency-Key", min_length=1, max_length=LONGEST_KEY),
    BeforeValidator(_usable_key),
]


@router.post("/deployments/", responses={**NOT_FOUND, **CONFLICT})
async def start_as_service(
    request: Request,
    actor: Annotated[Actor, require(Action.START_AS_SERVICE)],
    services: ServicesDep,
    body: DeploymentIn | None = None,
    idempotency_key: IdempotencyKey = None,
) -> DeploymentStarted:
    """Start a deployment of the token's service, as its user and from its origin."""
    command = StartDeployment(
        service_id=actor.service_id or 0,
        origin=actor.origin,
        user=actor.name,
        user_id=actor.user_id,
        context={"env": body.env if body else {}},
        idempotency_key=idempotency_key,
    )
    return await _start(command, services, request)


@router.post("/services/{service_id}/deployments", responses={**NOT_FOUND, **CONFLICT})
async def start_as_user(
    service_id: Id,
    request: Request,
    actor: Starter,
    services: ServicesDep,
    body: UserDeploymentIn | None = None,
    idempotency_key: IdempotencyKey = None,
) -> DeploymentStarted:
    """Start a deployment as the user who is signed in."""
    wanted = body or UserDeploymentIn()
    command = StartDeployment(
        service_id=service_id,
        origin=wanted.origin,
        user=actor.name,
        user_id=actor.user_id,
        context={"env": wanted.env},
        idempotency_key=idempotency_key,
        by_person=True,
        confirm=wanted.confirm,
    )
    return await _start(command, services, request)


@router.get("/deployments/", response_model=list[DeploymentOut])
async def list_deployments(
    _actor: Annotated[Actor, require(Action.LIST_DEPLOYMENTS)],
    services: ServicesDep,
    # Not a factory: its signature would be looked at for each request. FastAPI copies the default.
    state: Annotated[list[DeploymentState], Query(max_length=20)] = [],  # noqa: B006
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=1, le=LARGEST)] = None,
    service_id: Annotated[int | None, Query(ge=1, le=LARGEST)] = None,
    user: str | None = None,
    origin: str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
) -> Response:
    """Deployments, newest first; `before` the id of the last one seen gives the next page.

    `state` may come several times. `since` (included) and `until` go by the time at which it was asked for.
    """
    only = Filter(service_id=service_id, states=tuple(state), user=user, origin=origin, since=since, until=until)
    found = await services.listings.deployments(limit=limit, before=before, only=only)
    return Response(found, media_type="application/json")


@router.get(
    "/deployments/{deployment_id}",
    response_model=DeploymentDetails,
    responses={304: {"description": "Nothing has happened since."}, **NOT_FOUND, **FORBIDDEN},
)
async def read_deployment(
    deployment_id: Id,
    request: Request,
    response: Response,
    actor: Reader,
    services: ServicesDep,
    if_none_match: Annotated[str | None, Header(max_length=1000)] = None,
) -> DeploymentDetails | Response:
    """One deployment with its steps and, while it waits, why.

    `If-None-Match` with the `ETag` of an earlier answer gives 304 as long as nothing has happened in it.
    """
    async with services.open_unit_of_work() as uow:
        deployment = await uow.deployments.get(deployment_id)
        check(actor, Action.READ_DEPLOYMENT, service_id=deployment.service_id)
        # Whatever happens in a deployment gets the next number; but why one waits depends on others.
        if deployment.state is not DeploymentState.QUEUED:
            tag = response.headers["ETag"] = f'"{deployment.seq}"'
            if tag in _tags(if_none_match or ""):
                return Response(status_code=304, headers={"ETag": tag})
        steps = await uow.steps.of(deployment_id)
        waiting = await why_waiting(deployment, uow, services.now(), services.settings.worker_grace_seconds)
    return DeploymentDetails(
        **_started(deployment, request).model_dump(),
        steps=[StepOut.model_validate(step) for step in steps],
        waiting=waiting,
    )


@router.post("/deployments/{deployment_id}/cancel", responses={**NOT_FOUND, **CONFLICT})
async def cancel_deployment(deployment_id: Id, actor: Canceller, services: ServicesDep) -> DeploymentOut:
    """Stop a deployment, or take it out of the queue.

    One that has said itself that it is done can be stopped until its processes have ended; its state stays what it is.
    """
    await services.bus.handle(CancelDeployment(deployment_id=deployment_id, by=actor.name))
    async with services.open_unit_of_work() as uow:
        return DeploymentOut.model_validate(await uow.deployments.get(deployment_id))


@router.post("/deployments/{deployment_id}/retry", responses={**NOT_FOUND, **CONFLICT})
async def retry_deployment(
    deployment_id: Id,
    request: Request,
    actor: Starter,
    services: ServicesDep,
    body: RetryIn | None = None,
    idempotency_key: IdempotencyKey = None,
) -> DeploymentStarted:
    """Start the same deployment once more: same service, same context; secret inputs have to be given again."""
    async with services.open_unit_of_work() as uow:
        before = await uow.deployments.get(deployment_id)
    if not before.state.is_final:
        raise Conflict(f"Deployment {deployment_id} is not over yet; cancel it first, or wait.")
    command = StartDeployment(
        service_id=before.service_id,
        origin=before.origin,
        user=actor.name,
        user_id=actor.user_id,
        context=before.context,
        idempotency_key=idempotency_key,
        retry_of=before.id,
        by_person=True,
        confirm=body.confirm if body else None,
        again=body.env if body else {},
        needed_again=tuple(before.secret_inputs),
    )
    return await _start(command, services, request)


@router.put("/deployments/finish", include_in_schema=False)
@router.put("/deployments/finish/")
async def finish_deployment(
    actor: Annotated[Actor, require(Action.FINISH_DEPLOYMENT)], services: ServicesDep
) -> Detail:
    """The script of a deployment says that it is done."""
    deployment_id = actor.deployment_id or 0
    await services.bus.handle(FinishDeployment(deployment_id=deployment_id))
    return Detail(detail=f"Deployment {deployment_id} finished")


@router.post("/steps/", responses=CONFLICT)
async def report_step(
    body: StepIn, actor: Annotated[Actor, require(Action.REPORT_STEP)], services: ServicesDep
) -> Detail:
    """The script of a deployment reports one of its steps."""
    said = as_in_a_line({**(body.model_extra or {}), "message": body.message})
    report = replace(report_of(body.name, body.state, said), started=body.started, finished=body.finished)
    await services.bus.handle(ReportStep(deployment_id=actor.deployment_id or 0, report=report))
    return Detail(detail="step processed")


@router.get("/steps/")
async def list_steps(
    deployment_id: Annotated[int, Query(ge=1, le=LARGEST)],
    _actor: Annotated[Actor, require(Action.LIST_DEPLOYMENTS)],
    services: ServicesDep,
) -> list[StepOut]:
    """The steps of a deployment, in the order of their execution."""
    async with services.open_unit_of_work() as uow:
        return [StepOut.model_validate(step) for step in await uow.steps.of(deployment_id)]


def _tags(if_none_match: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]


async def _start(command: StartDeployment, services: Services, request: Request) -> DeploymentStarted:
    return _started(_queued(await services.bus.handle(command)), request)


def _queued(events: list[Event]) -> Deployment:
    for event in events:
        if isinstance(event, DeploymentQueued):
            return event.deployment
    raise NotFound("Deployment not found")


def _started(deployment: Deployment, request: Request) -> DeploymentStarted:
    fields = DeploymentOut.model_validate(deployment).model_dump()
    return DeploymentStarted(**fields, details=f"{request.base_url}deployments/{deployment.id}")
