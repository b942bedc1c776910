"""Groups and grants: who can do what on which service."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter

from deploy.domain.commands import CreateGroup, DeleteGroup, RenameGroup
from deploy.domain.events import GroupCreated
from deploy.domain.policy import Action, Actor
from deploy.entrypoints.app_state import AppState
from deploy.entrypoints.dependencies import AppStateDep, require
from deploy.entrypoints.schemas.access import AccessChangeIn, AccessOut, GroupIn, GroupOut, PreviewOut, RightsOut
from deploy.entrypoints.schemas.common import Detail, Id
from deploy.service_layer.access import access_state

router = APIRouter(tags=["access"], responses={401: {"model": Detail}})
Responses: TypeAlias = "dict[int | str, dict[str, Any]]"
Administrator = Annotated[Actor, require(Action.MANAGE_ACCESS)]
REFUSED: Responses = {403: {"model": Detail}}
NOT_FOUND: Responses = {404: {"model": Detail}}
CONFLICT: Responses = {409: {"model": Detail}}


@router.get("/access/", responses=REFUSED)
async def read_access(_actor: Administrator, state: AppStateDep) -> AccessOut:
    """List all groups and grants."""
    return await _access(state)


@router.post("/access/", responses={**REFUSED, **NOT_FOUND})
async def change_access(body: AccessChangeIn, actor: Administrator, state: AppStateDep) -> AccessOut:
    """Add and remove grants and members of groups, all of them or none. The change applies immediately."""
    await state.bus.handle(body.command(actor.name), by=actor)
    return await _access(state)


@router.post("/access/preview", responses={**REFUSED, **NOT_FOUND})
async def preview_access(body: AccessChangeIn, actor: Administrator, state: AppStateDep) -> PreviewOut:
    """Return how a change would affect the rights of users, without making it."""
    return PreviewOut.of(await state.access.preview(actor, body.command(actor.name)))


@router.post("/groups/", status_code=201, responses={**REFUSED, **CONFLICT})
async def create_group(body: GroupIn, actor: Administrator, state: AppStateDep) -> GroupOut:
    """Add a group without members."""
    events = await state.bus.handle(CreateGroup(name=body.name), by=actor)
    group_id = next(event.group_id for event in events if isinstance(event, GroupCreated))
    return GroupOut(id=group_id, name=body.name, is_everyone=False, members=[])


@router.patch("/groups/{group_id}", status_code=204, responses={**REFUSED, **NOT_FOUND, **CONFLICT})
async def rename_group(group_id: Id, body: GroupIn, actor: Administrator, state: AppStateDep) -> None:
    """Rename a group."""
    await state.bus.handle(RenameGroup(group_id=group_id, name=body.name), by=actor)


@router.delete("/groups/{group_id}", status_code=204, responses={**REFUSED, **NOT_FOUND, **CONFLICT})
async def delete_group(group_id: Id, actor: Administrator, state: AppStateDep) -> None:
    """Delete a group, with its grants."""
    await state.bus.handle(DeleteGroup(group_id=group_id), by=actor)


@router.get("/users/me/rights")
async def read_own_rights(actor: Annotated[Actor, require(Action.READ_OWN_USER)], state: AppStateDep) -> RightsOut:
    """Return what the signed-in user can do, and why."""
    return RightsOut.of(await state.access.explain(actor.user_id or 0))


@router.get("/users/{user_id}/rights", responses={**REFUSED, **NOT_FOUND})
async def read_rights(user_id: Id, _actor: Administrator, state: AppStateDep) -> RightsOut:
    """Return what a user can do, and why."""
    return RightsOut.of(await state.access.explain(user_id))


async def _access(state: AppState) -> AccessOut:
    async with state.open_reads() as uow:
        return AccessOut.of(await access_state(uow))
