"""User accounts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request

from deploy.domain.policy import Action, Actor
from deploy.entrypoints.dependencies import AppStateDep, client_address, require
from deploy.entrypoints.schemas.common import OVERLOADED, TOO_MANY_ATTEMPTS, Detail, Id
from deploy.entrypoints.schemas.users import PasswordChange, UserChange, UserIn, UserOut

router = APIRouter(prefix="/users", tags=["users"], responses={401: {"model": Detail}})
Myself = Annotated[Actor, require(Action.READ_OWN_USER)]
MyPassword = Annotated[Actor, require(Action.CHANGE_OWN_PASSWORD)]
Administrator = Annotated[Actor, require(Action.MANAGE_USERS)]


@router.get("/me")
async def read_own_user(actor: Myself, state: AppStateDep) -> UserOut:
    """Return the signed-in user."""
    async with state.open_reads() as uow:
        return UserOut.model_validate(await uow.users.get(actor.user_id or 0))


@router.post(
    "/me/password",
    status_code=204,
    responses={403: {"model": Detail}, 429: TOO_MANY_ATTEMPTS, 503: OVERLOADED},
)
async def change_own_password(body: PasswordChange, actor: MyPassword, state: AppStateDep, request: Request) -> None:
    """Change your password. This ends all your sessions and revokes all your user tokens."""
    await state.sign_in.change_password(actor, body.current, body.new, client_address(request))


@router.get("/", responses={403: {"model": Detail}})
async def list_users(_actor: Administrator, state: AppStateDep) -> list[UserOut]:
    """List all users by name."""
    async with state.open_reads() as uow:
        return [UserOut.model_validate(user) for user in await uow.users.list()]


@router.post("/", status_code=201, responses={403: {"model": Detail}, 409: {"model": Detail}, 503: OVERLOADED})
async def create_user(body: UserIn, actor: Administrator, state: AppStateDep) -> UserOut:
    """Add a user."""
    user = await state.accounts.create(actor, body.name, body.password, is_admin=body.is_admin)
    return UserOut.model_validate(user)


@router.patch(
    "/{user_id}",
    responses={403: {"model": Detail}, 404: {"model": Detail}, 409: {"model": Detail}, 503: OVERLOADED},
)
async def change_user(user_id: Id, body: UserChange, actor: Administrator, state: AppStateDep) -> UserOut:
    """Change a user's password, role or state. This ends all their sessions."""
    user = await state.accounts.change(
        actor, user_id, password=body.password, is_admin=body.is_admin, is_active=body.is_active
    )
    return UserOut.model_validate(user)
