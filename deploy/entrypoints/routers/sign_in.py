"""Sign-in: tokens for API clients, sessions for browsers."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Cookie, Depends, Form, Header, Request, Response
from fastapi.exceptions import RequestValidationError

from deploy.adapters.tokens import hash_secret, new_secret
from deploy.domain.attempts import BROWSER_KNOWN_FOR
from deploy.domain.commands import EndSessions, OpenSession
from deploy.domain.errors import NotSignedIn
from deploy.domain.model import BrowserSession, User
from deploy.domain.policy import TokenType
from deploy.entrypoints.app_state import AppState
from deploy.entrypoints.dependencies import AppStateDep, client_address, no_store
from deploy.entrypoints.schemas.common import OVERLOADED, TOO_MANY_ATTEMPTS, Detail
from deploy.entrypoints.schemas.sign_in import AccessToken, SessionToken, SignIn, SignInForm
from deploy.service_layer.authentication import actor_of
from deploy.service_layer.sign_in import Client
from deploy.service_layer.unit_of_work import UnitOfWork, in_unit_of_work

COOKIE = "fastdeploy_session"
# Prefix of the cookies for users who have signed in with this browser, one per user. The user's ID follows.
BROWSER_COOKIE = "fastdeploy_browser_"
PATH = "/session"

router = APIRouter(tags=["sign in"])
KEPT_PRIVATE = [Depends(no_store)]
REFUSED: dict[int | str, dict[str, Any]] = {401: {"model": Detail}, 429: TOO_MANY_ATTEMPTS, 503: OVERLOADED}
SessionCookie = Annotated["str | None", Cookie(alias=COOKIE)]


@router.post("/token", responses=REFUSED, dependencies=KEPT_PRIVATE)
async def sign_in(form: Annotated[SignInForm, Form()], state: AppStateDep, request: Request) -> AccessToken:
    """Exchange a username and password for a user token (OAuth 2.0 password flow)."""
    await _check_complete(request)
    user = await state.sign_in.check(form.username, form.password, _client(request))
    return AccessToken(access_token=_user_token(user, state), token_type="bearer")  # noqa: S106


@router.post("/session", responses=REFUSED, dependencies=KEPT_PRIVATE)
async def open_session(body: SignIn, state: AppStateDep, request: Request, response: Response) -> SessionToken:
    """Sign in a browser: return a user token, and set a cookie that can only renew it."""
    client = _client(request)
    user = await state.sign_in.check(body.username, body.password, client)
    secret = new_secret()
    session_id = hash_secret(secret)
    lifetime = timedelta(days=state.settings.session_expire_days)
    agent = request.headers.get("user-agent", "")
    expires = state.now() + lifetime
    await state.bus.handle(
        OpenSession(session_id=session_id, user_id=user.id, expires=expires, user_agent=agent),
        by=actor_of(user, expires=expires.timestamp(), session=session_id),
    )
    known = state.sign_in.browser_cookie(user, client)
    is_secure = state.settings.cookie_secure or request.url.scheme == "https"
    _set_cookie(response, COOKIE, secret, lifetime, secure=is_secure)
    _set_cookie(response, f"{BROWSER_COOKIE}{user.id}", known, BROWSER_KNOWN_FOR, secure=is_secure)
    return _session_token(user, session_id, state)


@router.post("/session/refresh", responses={401: {"model": Detail}}, dependencies=KEPT_PRIVATE)
async def refresh_session(
    state: AppStateDep,
    cookie: SessionCookie = None,
    requested_with: Annotated[str | None, Header(alias="X-Requested-With")] = None,
) -> SessionToken:
    """Renew the user token of a browser. Requires the header `X-Requested-With: fastdeploy`, to prevent CSRF."""
    if not cookie or requested_with != "fastdeploy":
        raise NotSignedIn("Not authenticated")
    browser, user = await in_unit_of_work(state.open_unit_of_work, partial(_use_session, cookie, state.now()))
    return _session_token(user, browser.id, state)


@router.delete("/session", status_code=204)
async def close_session(state: AppStateDep, response: Response, cookie: SessionCookie = None) -> None:
    """Sign out a browser."""
    if cookie:
        session_id = hash_secret(cookie)
        found = await in_unit_of_work(
            state.open_unit_of_work, lambda uow: uow.sessions.find_valid(session_id, state.now())
        )
        if found is not None:
            browser, user = found
            actor = actor_of(user, expires=browser.expires.timestamp(), session=browser.id)
            await state.bus.handle(EndSessions(user_id=user.id, session_id=browser.id), by=actor)
    response.delete_cookie(COOKIE, path=PATH)


async def _use_session(cookie: str, now: datetime, uow: UnitOfWork) -> tuple[BrowserSession, User]:
    found = await uow.sessions.find_valid(hash_secret(cookie), now)
    if found is None:
        raise NotSignedIn("Your session has ended. Sign in again.")
    await uow.sessions.touch(found[0], now)
    return found


async def _check_complete(request: Request) -> None:
    """Raise RequestValidationError for missing fields.

    FastAPI also treats empty form fields as missing. Here, an empty name or password is a wrong one: 401, not 422.
    """
    sent = await request.form()
    missing = [name for name in ("username", "password") if name not in sent]
    if missing:
        raise RequestValidationError(
            [{"type": "missing", "loc": ("body", name), "msg": "Field required", "input": None} for name in missing]
        )


def _client(request: Request) -> Client:
    cookies = {
        int(number): value
        for name, value in request.cookies.items()
        if (number := name.removeprefix(BROWSER_COOKIE)) != name and number.isdecimal() and len(number) < 20
    }
    return Client(address=client_address(request), cookies=cookies)


def _user_token(user: User, state: AppState, **more: str) -> str:
    lifetime = timedelta(minutes=state.settings.access_token_expire_minutes)
    return state.signer.sign(
        TokenType.USER.value,
        str(user.id),
        now=state.now(),
        lifetime=lifetime,
        name=user.name,
        epoch=user.epoch,
        **more,
    )


def _session_token(user: User, session_id: str, state: AppState) -> SessionToken:
    return SessionToken(
        access_token=_user_token(user, state, session=session_id),
        token_type="bearer",  # noqa: S106
        expires_in=state.settings.access_token_expire_minutes * 60,
    )


def _set_cookie(response: Response, name: str, value: str, lifetime: timedelta, *, secure: bool) -> None:
    max_age = int(lifetime.total_seconds())
    response.set_cookie(name, value, max_age=max_age, path=PATH, httponly=True, samesite="strict", secure=secure)
