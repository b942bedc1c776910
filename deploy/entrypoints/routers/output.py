"""The messages and output of a deployment: by page, by search, and as plain text."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from deploy.adapters.repository import StoredEvent
from deploy.domain.policy import Action, Actor
from deploy.domain.rights import Visible
from deploy.entrypoints.app_state import AppState
from deploy.entrypoints.dependencies import AppStateDep, require
from deploy.entrypoints.schemas.common import MAX_ID, Detail, Id
from deploy.entrypoints.schemas.deployments import EventsOut, OutputOut
from deploy.service_layer.authorization import granted_deployment
from deploy.service_layer.output import lines_of, read_lines, search_lines
from deploy.service_layer.unit_of_work import UnitOfWork, in_unit_of_work

router = APIRouter(
    prefix="/deployments/{deployment_id}",
    tags=["output"],
    responses={401: {"model": Detail}, 403: {"model": Detail}, 404: {"model": Detail}},
)
Reader = Annotated[Actor, require(Action.READ_DEPLOYMENT)]
After = Annotated[int, Query(ge=0, le=MAX_ID)]


@router.get("/events", response_model=EventsOut)
async def read_events(
    deployment_id: Id,
    actor: Reader,
    state: AppStateDep,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Response:
    """Return the messages after number `after`, exactly as the WebSocket sends them."""
    async with state.open_reads() as uow:
        deployment = await granted_deployment(actor, Action.READ_DEPLOYMENT, deployment_id, uow)
        events = await uow.events.after(deployment.id, after, visible=actor.visible, limit=limit + 1)
    more, events = len(events) > limit, events[:limit]
    last_seq = events[-1].seq if events else after
    # The messages are stored as JSON, so join them instead of parsing and serializing them again.
    body = ",".join(event.message for event in events)
    text = f'{{"events":[{body}],"last_seq":{last_seq},"more":{json.dumps(more)}}}'
    return Response(text, media_type="application/json")


@router.get("/output")
async def read_output(
    deployment_id: Id,
    actor: Reader,
    state: AppStateDep,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    q: Annotated[str, Query(max_length=200)] = "",
) -> OutputOut:
    """Return the lines of output after line `after`; with `q`, only lines that contain it (case-insensitive).

    A search returns what it finds within about a second, which can be nothing. To continue, set `after` to
    `next_after`.
    """
    async with state.open_reads() as uow:
        deployment = await granted_deployment(actor, Action.READ_DEPLOYMENT, deployment_id, uow)
        if not q:
            lines, next_after = await read_lines(uow, deployment_id, visible=actor.visible, after=after, limit=limit)
    if q:
        lines, next_after = await search_lines(
            state.open_reads, deployment_id, q, visible=actor.visible, after=after, limit=limit
        )
    return OutputOut(lines=lines, total=deployment.lines, next_after=next_after)


@router.get("/output.txt", response_class=StreamingResponse)
async def download_output(deployment_id: Id, actor: Reader, state: AppStateDep) -> StreamingResponse:
    """Download all output as plain text."""
    async with state.open_reads() as uow:
        deployment = await granted_deployment(actor, Action.READ_DEPLOYMENT, deployment_id, uow)
    name = f"{deployment.service}-{deployment.id}.txt"
    return StreamingResponse(
        _text(state, actor, deployment_id),
        media_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


async def _text(state: AppState, actor: Actor, deployment_id: int) -> AsyncIterator[bytes]:
    after = 0
    while True:
        # Use one transaction per part, so that a slow client does not keep one open.
        events = await in_unit_of_work(state.open_reads, partial(_output_after, deployment_id, after, actor.visible))
        if not events:
            return
        for event in events:
            text = "".join(f"{line.text}\n" for line in lines_of(event.message))
            yield text.encode("utf-8", "backslashreplace")
        after = events[-1].last_line or 0


async def _output_after(deployment_id: int, after: int, visible: Visible, uow: UnitOfWork) -> list[StoredEvent]:
    return await uow.events.output_after(deployment_id, after, visible=visible)
