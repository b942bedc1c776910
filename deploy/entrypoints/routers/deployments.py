"""Deployments: start, list, read, cancel, and retry them, and receive the reports of their scripts."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from deploy.adapters.repository.deployments import Filter
from deploy.domain.commands import CancelDeployment, FinishDeployment, ReportStep, StartDeployment
from deploy.domain.errors import NotFound
from deploy.domain.events import DeploymentQueued, Event
from deploy.domain.model import Deployment, DeploymentState
from deploy.domain.policy import Action, Actor
from deploy.domain.reports import as_in_a_line, report_of
from deploy.domain.rules import INVALID_KEY, MAX_KEY, is_valid_key
from deploy.entrypoints.app_state import AppState
from deploy.entrypoints.dependencies import AppStateDep, require
from deploy.entrypoints.links import public_url
from deploy.entrypoints.schemas.common import MAX_ID, TOO_MANY_WAITING, Detail, Id, Moment
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
from deploy.entrypoints.schemas.hosts import HostSummaryOut
from deploy.service_layer.authorization import granted_deployment
from deploy.service_layer.deployments import retry_of
from deploy.service_layer.queue import why_waiting
from deploy.service_layer.unit_of_work import in_unit_of_work

router = APIRouter(tags=["deployments"], responses={401: {"model": Detail}})
Reader = Annotated[Actor, require(Action.READ_DEPLOYMENT)]
Canceller = Annotated[Actor, require(Action.CANCEL_DEPLOYMENT)]
Starter = Annotated[Actor, require(Action.START_DEPLOYMENT)]
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Detail}}
LIMITED: dict[int | str, dict[str, Any]] = {429: TOO_MANY_WAITING}
CONFLICT: dict[int | str, dict[str, Any]] = {409: {"model": Detail}}
FORBIDDEN: dict[int | str, dict[str, Any]] = {403: {"model": Detail}}


def _valid_key(key: Any) -> Any:
    """Return the key if it is valid. FastAPI calls this before it checks the limits below."""
    if isinstance(key, str) and not is_valid_key(key):
        raise PydanticCustomError("idempotency_key", INVALID_KEY)
    return key


IdempotencyKey = Annotated[
    "str | None",
    Header(alias="Idempotency-Key", min_length=1, max_length=MAX_KEY),
    BeforeValidator(_valid_key),
]


@router.post("/deployments/", responses={**NOT_FOUND, **CONFLICT, **LIMITED})
async def start_as_service(
    request: Request,
    actor: Annotated[Actor, require(Action.START_AS_SERVICE)],
    state: AppStateDep,
    body: DeploymentIn | None = None,
    idempotency_key: IdempotencyKey = None,
) -> DeploymentStarted:
    """Start a deployment of the token's service, with the token's user and origin."""
    command = StartDeployment(
        service_id=actor.service_id or 0,
        origin=actor.origin,
        user=actor.name,
        user_id=actor.user_id,
        context={"env": body.env if body else {}},
        idempotency_key=idempotency_key,
    )
    return await _start(command, actor, state, request)


@router.post("/services/{service_id}/deployments", responses={**NOT_FOUND, **CONFLICT, **LIMITED})
async def start_as_user(
    service_id: Id,
    request: Request,
    actor: Starter,
    state: AppStateDep,
    body: UserDeploymentIn | None = None,
    idempotency_key: IdempotencyKey = None,
) -> DeploymentStarted:
    """Start a deployment as the signed-in user."""
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
    return await _start(command, actor, state, request)


@router.get("/deployments/", response_model=list[DeploymentOut])
async def list_deployments(
    actor: Annotated[Actor, require(Action.LIST_DEPLOYMENTS)],
    state: AppStateDep,
    # Do not use a default factory: FastAPI would inspect its signature on each request. FastAPI copies the default.
    states: Annotated[list[DeploymentState], Query(alias="state", max_length=20)] = [],  # noqa: B006
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
    service_id: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
    user: str | None = None,
    origin: str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
) -> Response:
    """List deployments, newest first. For the next page, set `before` to the id of the last one.

    `state` can be repeated. `since` (inclusive) and `until` (exclusive) filter by the time of creation.
    """
    only = Filter(service_id=service_id, states=tuple(states), user=user, origin=origin, since=since, until=until)
    found = await state.listings.deployments(visible=actor.visible, limit=limit, before=before, only=only)
    return Response(found, media_type="application/json")


@router.get(
    "/deployments/{deployment_id}",
    response_model=DeploymentDetails,
    responses={304: {"description": "Not changed."}, **NOT_FOUND, **FORBIDDEN},
)
async def read_deployment(
    deployment_id: Id,
    request: Request,
    response: Response,
    actor: Reader,
    state: AppStateDep,
    if_none_match: Annotated[str | None, Header(max_length=1000)] = None,
) -> DeploymentDetails | Response:
    """Return a deployment with its steps and, if it is waiting, the reason.

    Send the `ETag` of an earlier response as `If-None-Match` to get 304 if nothing has changed.
    """
    async with state.open_reads() as uow:
        deployment = await granted_deployment(actor, Action.READ_DEPLOYMENT, deployment_id, uow)
        # Every change of a deployment increments `seq`, but the reason it is waiting depends on other deployments.
        if deployment.state is not DeploymentState.QUEUED:
            tag = response.headers["ETag"] = f'"{deployment.seq}"'
            if tag in _tags(if_none_match or ""):
                return Response(status_code=304, headers={"ETag": tag})
        steps = await uow.steps.of(deployment_id, visible=actor.visible)
        has_hosts = any(step.host_counts for step in steps)
        hosts = await uow.hosts.summary(deployment_id, visible=actor.visible) if has_hosts else None
        waiting = await why_waiting(
            deployment, uow, state.now(), state.settings.worker_grace_seconds, visible=actor.visible
        )
    return DeploymentDetails(
        **_started(deployment, request, state).model_dump(),
        steps=[StepOut.model_validate(step) for step in steps],
        hosts=HostSummaryOut.model_validate(hosts) if hosts is not None else None,
        waiting=waiting,
    )


@router.post("/deployments/{deployment_id}/cancel", responses={**NOT_FOUND, **CONFLICT})
async def cancel_deployment(deployment_id: Id, actor: Canceller, state: AppStateDep) -> DeploymentOut:
    """Cancel a deployment, or remove it from the queue.

    A deployment that has reported its result can be cancelled until its processes have ended; its state is kept.
    Cancelling stops the processes on the worker's machine. Commands that a playbook already started on other hosts may
    still be running afterwards; the `reason` of the deployment says so.
    """
    await state.bus.handle(CancelDeployment(deployment_id=deployment_id, by=actor.name), by=actor)
    found = await in_unit_of_work(
        state.open_reads, lambda uow: uow.deployments.get(deployment_id, visible=actor.visible)
    )
    return DeploymentOut.model_validate(found)


@router.post("/deployments/{deployment_id}/retry", responses={**NOT_FOUND, **CONFLICT, **LIMITED})
async def retry_deployment(
    deployment_id: Id,
    request: Request,
    actor: Starter,
    state: AppStateDep,
    body: RetryIn | None = None,
    idempotency_key: IdempotencyKey = None,
) -> DeploymentStarted:
    """Start a deployment again, with the same service and values. Secret inputs must be given again."""
    wanted = body or RetryIn()
    command = await retry_of(
        deployment_id,
        actor,
        state.open_reads,
        secrets=wanted.env,
        confirm=wanted.confirm,
        idempotency_key=idempotency_key,
    )
    return await _start(command, actor, state, request)


@router.put("/deployments/finish", include_in_schema=False)
@router.put("/deployments/finish/")
async def finish_deployment(actor: Annotated[Actor, require(Action.FINISH_DEPLOYMENT)], state: AppStateDep) -> Detail:
    """Report that the script of a deployment is done."""
    deployment_id = actor.deployment_id or 0
    await state.bus.handle(FinishDeployment(deployment_id=deployment_id), by=actor)
    return Detail(detail=f"Deployment {deployment_id} finished")


@router.post("/steps/", responses=CONFLICT)
async def report_step(
    body: StepIn, actor: Annotated[Actor, require(Action.REPORT_STEP)], state: AppStateDep
) -> Detail:
    """Report a step of a deployment."""
    fields = as_in_a_line({**(body.model_extra or {}), "message": body.message})
    report = replace(report_of(body.name, body.state, fields), started=body.started, finished=body.finished)
    await state.bus.handle(ReportStep(deployment_id=actor.deployment_id or 0, report=report), by=actor)
    return Detail(detail="step processed")


@router.get("/steps/")
async def list_steps(
    deployment_id: Annotated[int, Query(ge=1, le=MAX_ID)],
    actor: Annotated[Actor, require(Action.LIST_DEPLOYMENTS)],
    state: AppStateDep,
) -> list[StepOut]:
    """List the steps of a deployment, in execution order."""
    async with state.open_reads() as uow:
        return [StepOut.model_validate(step) for step in await uow.steps.of(deployment_id, visible=actor.visible)]


def _tags(if_none_match: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]


async def _start(command: StartDeployment, by: Actor, state: AppState, request: Request) -> DeploymentStarted:
    return _started(_queued(await state.bus.handle(command, by=by)), request, state)


def _queued(events: list[Event]) -> Deployment:
    for event in events:
        if isinstance(event, DeploymentQueued):
            return event.deployment
    raise NotFound("Deployment not found")


def _started(deployment: Deployment, request: Request, state: AppState) -> DeploymentStarted:
    fields = DeploymentOut.model_validate(deployment).model_dump()
    return DeploymentStarted(**fields, details=f"{public_url(request, state.settings)}/deployments/{deployment.id}")
