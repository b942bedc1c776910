"""The browser sessions of a user: list them, and sign them out remotely."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from deploy.domain.commands import EndSessions
from deploy.domain.policy import Action, Actor
from deploy.entrypoints.dependencies import AppStateDep, require
from deploy.entrypoints.schemas.common import Detail
from deploy.entrypoints.schemas.sessions import SessionOut

router = APIRouter(prefix="/sessions", tags=["sign in"], responses={401: {"model": Detail}})
Ender = Annotated[Actor, require(Action.END_OWN_SESSIONS)]


@router.get("/")
async def list_sessions(
    actor: Annotated[Actor, require(Action.READ_OWN_SESSIONS)], state: AppStateDep
) -> list[SessionOut]:
    """List the browsers in which you are signed in, newest first."""
    async with state.open_reads() as uow:
        found = await uow.sessions.of(actor.user_id or 0, state.now())
    return [
        SessionOut(
            id=browser.id,
            created=browser.created,
            expires=browser.expires,
            last_used=browser.last_used,
            user_agent=browser.user_agent,
            current=browser.id == actor.session,
        )
        for browser in found
    ]


@router.delete("/{session_id}", status_code=204, responses={404: {"model": Detail}})
async def end_session(session_id: Annotated[str, Path(max_length=100)], actor: Ender, state: AppStateDep) -> None:
    """Sign out one of your browsers immediately."""
    await state.bus.handle(EndSessions(user_id=actor.user_id or 0, session_id=session_id), by=actor)


@router.delete("/", status_code=204)
async def end_other_sessions(actor: Ender, state: AppStateDep) -> None:
    """Sign out all your browsers except the current one."""
    await state.bus.handle(EndSessions(user_id=actor.user_id or 0, keep=actor.session), by=actor)
