"""User accounts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request

from deploy.domain.commands import ChangeUser, CreateUser
from deploy.domain.events import UserCreated
from deploy.domain.policy import Action, Actor
from deploy.entrypoints.app_state import AppState
from deploy.entrypoints.dependencies import AppStateDep, client_address, require
from deploy.entrypoints.schemas.common import OVERLOADED, TOO_MANY_ATTEMPTS, Detail, Id
from deploy.entrypoints.schemas.users import PasswordChange, UserChange, UserIn, UserOut
from deploy.service_layer.unit_of_work import in_unit_of_work

router = APIRouter(prefix="/users", tags=["users"], responses={401: {"model": Detail}})
Myself = Annotated[Actor, require(Action.READ_OWN_USER)]
MyPassword = Annotated[Actor, require(Action.CHANGE_OWN_PASSWORD)]
Administrator = Annotated[Actor, require(Action.MANAGE_USERS)]


@router.get("/me")
async def read_own_user(actor: Myself, state: AppStateDep) -> UserOut:
    """Return the signed-in user."""
    async with state.open_unit_of_work() as uow:
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
    async with state.open_unit_of_work() as uow:
        return [UserOut.model_validate(user) for user in await uow.users.list()]


@router.post("/", status_code=201, responses={403: {"model": Detail}, 409: {"model": Detail}, 503: OVERLOADED})
async def create_user(body: UserIn, actor: Administrator, state: AppStateDep) -> UserOut:
    """Add a user."""
    password_hash = await state.passwords.hash(body.password)
    command = CreateUser(name=body.name, password_hash=password_hash, is_admin=body.is_admin)
    events = await state.bus.handle(command, by=actor)
    user_id = next(event.user_id for event in events if isinstance(event, UserCreated))
    return await _user(user_id, state)


@router.patch(
    "/{user_id}",
    responses={403: {"model": Detail}, 404: {"model": Detail}, 409: {"model": Detail}, 503: OVERLOADED},
)
async def change_user(user_id: Id, body: UserChange, actor: Administrator, state: AppStateDep) -> UserOut:
    """Change a user's password, role or state. This ends all their sessions."""
    password_hash = await state.passwords.hash(body.password) if body.password is not None else None
    await state.bus.handle(
        ChangeUser(user_id=user_id, password_hash=password_hash, is_admin=body.is_admin, is_active=body.is_active),
        by=actor,
    )
    return await _user(user_id, state)


async def _user(user_id: int, state: AppState) -> UserOut:
    user = await in_unit_of_work(state.open_unit_of_work, lambda uow: uow.users.get(user_id))
    return UserOut.model_validate(user)
