"""Signing in: tokens for API clients, sessions for browsers."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Cookie, Form, Header, Request, Response
from fastapi.exceptions import RequestValidationError

from deploy.adapters.tokens import hash_secret, new_secret
from deploy.domain.commands import CloseSession, NoteFailedLogin, OpenSession
from deploy.domain.errors import NotSignedIn
from deploy.domain.model import User
from deploy.domain.policy import Kind
from deploy.entrypoints.dependencies import ServicesDep
from deploy.entrypoints.errors import TooManyRequests
from deploy.entrypoints.schemas.access import AccessToken, SessionToken, SignIn, SignInForm
from deploy.entrypoints.schemas.common import Detail
from deploy.entrypoints.state import Services
from deploy.service_layer.authentication import check_password

COOKIE = "fastdeploy_session"
FAILURES_PER_ACCOUNT, FAILURES_PER_ADDRESS = 10, 50
PAUSE_SECONDS = 60

router = APIRouter(tags=["sign in"])
SessionCookie = Annotated["str | None", Cookie(alias=COOKIE)]


@router.post("/token", responses={401: {"model": Detail}, 429: {"model": Detail}})
async def sign_in(form: Annotated[SignInForm, Form()], services: ServicesDep, request: Request) -> AccessToken:
    """Exchange name and password for a user token (OAuth 2 password flow)."""
    await _check_complete(request)
    user = await _signed_in(form.username, form.password, services, request)
    return AccessToken(access_token=_user_token(user, services), token_type="bearer")  # noqa: S106


@router.post("/session", responses={401: {"model": Detail}, 429: {"model": Detail}})
async def open_session(body: SignIn, services: ServicesDep, request: Request, response: Response) -> SessionToken:
    """Sign a browser in: a user token for the page's memory, and a cookie that can only renew it."""
    user = await _signed_in(body.username, body.password, services, request)
    secret = new_secret()
    session_id = hash_secret(secret)
    lifetime = timedelta(days=services.settings.session_expire_days)
    agent = request.headers.get("user-agent", "")
    await services.bus.handle(
        OpenSession(session_id=session_id, user_id=user.id, expires=services.now() + lifetime, user_agent=agent)
    )
    _set_cookie(response, secret, int(lifetime.total_seconds()), request, services)
    return _session_token(user, session_id, services)


@router.post("/session/refresh", responses={401: {"model": Detail}})
async def refresh_session(
    services: ServicesDep,
    cookie: SessionCookie = None,
    requested_with: Annotated[str | None, Header(alias="X-Requested-With")] = None,
) -> SessionToken:
    """Renew the page's user token. The header cannot be sent by another site without our consent (CSRF)."""
    if not cookie or requested_with != "fastdeploy":
        raise NotSignedIn("Not authenticated")
    async with services.open_unit_of_work() as uow:
        found = await uow.sessions.find_valid(hash_secret(cookie), services.now())
        if found is None:
            raise NotSignedIn("Your session has ended. Sign in again.")
        browser, user = found
        await uow.sessions.touch(browser, services.now())
    return _session_token(user, browser.id, services)


@router.delete("/session", status_code=204)
async def close_session(services: ServicesDep, response: Response, cookie: SessionCookie = None) -> None:
    """Sign a browser out."""
    if cookie:
        await services.bus.handle(CloseSession(session_id=hash_secret(cookie)))
    response.delete_cookie(COOKIE, path="/session")


async def _check_complete(request: Request) -> None:
    """To FastAPI an empty field of a form is missing; to us it is a wrong name or password (401, not 422)."""
    sent = await request.form()
    missing = [name for name in ("username", "password") if name not in sent]
    if missing:
        raise RequestValidationError(
            [{"type": "missing", "loc": ("body", name), "msg": "Field required", "input": None} for name in missing]
        )


async def _signed_in(name: str, password: str, services: Services, request: Request) -> User:
    address = request.client.host if request.client else "unknown"
    async with services.open_unit_of_work() as uow:
        by_account, by_address = await uow.logins.failures(name.replace("\x00", ""), address)
    if by_account >= FAILURES_PER_ACCOUNT or by_address >= FAILURES_PER_ADDRESS:
        raise TooManyRequests("Too many wrong passwords. Wait a few minutes, then try again.", PAUSE_SECONDS)
    try:
        return await check_password(name.replace("\x00", ""), password, services.open_unit_of_work, services.passwords)
    except NotSignedIn:
        await services.bus.handle(NoteFailedLogin(account=name.replace("\x00", ""), address=address))
        raise


def _user_token(user: User, services: Services, **more: str) -> str:
    lifetime = timedelta(minutes=services.settings.access_token_expire_minutes)
    return services.signer.sign(
        Kind.USER.value, str(user.id), now=services.now(), lifetime=lifetime, name=user.name, epoch=user.epoch, **more
    )


def _session_token(user: User, session_id: str, services: Services) -> SessionToken:
    return SessionToken(
        access_token=_user_token(user, services, session=session_id),
        token_type="bearer",  # noqa: S106
        expires_in=services.settings.access_token_expire_minutes * 60,
    )


def _set_cookie(response: Response, secret: str, max_age: int, request: Request, services: Services) -> None:
    response.set_cookie(
        COOKIE,
        secret,
        max_age=max_age,
        path="/session",
        httponly=True,
        samesite="strict",
        secure=services.settings.cookie_secure or request.url.scheme == "https",
    )
