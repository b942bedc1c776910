"""Sign-in: tokens for API clients, sessions for browsers."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Cookie, Depends, Form, Header, Request, Response
from fastapi.exceptions import RequestValidationError

from deploy.domain.attempts import BROWSER_KNOWN_FOR
from deploy.domain.errors import NotSignedIn
from deploy.entrypoints.app_state import AppState
from deploy.entrypoints.dependencies import AppStateDep, client_address, no_store
from deploy.entrypoints.schemas.common import OVERLOADED, TOO_MANY_ATTEMPTS, Detail
from deploy.entrypoints.schemas.sign_in import AccessToken, SessionToken, SignIn, SignInForm
from deploy.service_layer.sign_in import Client

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
    return AccessToken(access_token=state.sessions.user_token(user), token_type="bearer")  # noqa: S106


@router.post("/session", responses=REFUSED, dependencies=KEPT_PRIVATE)
async def open_session(body: SignIn, state: AppStateDep, request: Request, response: Response) -> SessionToken:
    """Sign in a browser: return a user token, and set a cookie that can only renew it."""
    client = _client(request)
    user = await state.sign_in.check(body.username, body.password, client)
    secret, token = await state.sessions.open(user, request.headers.get("user-agent", ""))
    known = state.sign_in.browser_cookie(user, client)
    is_secure = state.settings.cookie_secure or request.url.scheme == "https"
    _set_cookie(response, COOKIE, secret, state.sessions.lifetime, secure=is_secure)
    _set_cookie(response, f"{BROWSER_COOKIE}{user.id}", known, BROWSER_KNOWN_FOR, secure=is_secure)
    return _session_token(token, state)


@router.post("/session/refresh", responses={401: {"model": Detail}}, dependencies=KEPT_PRIVATE)
async def refresh_session(
    state: AppStateDep,
    cookie: SessionCookie = None,
    requested_with: Annotated[str | None, Header(alias="X-Requested-With")] = None,
) -> SessionToken:
    """Renew the user token of a browser. Requires the header `X-Requested-With: fastdeploy`, to prevent CSRF."""
    if not cookie or requested_with != "fastdeploy":
        raise NotSignedIn("Not authenticated")
    return _session_token(await state.sessions.renew(cookie), state)


@router.delete("/session", status_code=204)
async def close_session(state: AppStateDep, response: Response, cookie: SessionCookie = None) -> None:
    """Sign out a browser."""
    if cookie:
        await state.sessions.close(cookie)
    response.delete_cookie(COOKIE, path=PATH)


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


def _session_token(token: str, state: AppState) -> SessionToken:
    return SessionToken(
        access_token=token,
        token_type="bearer",  # noqa: S106
        expires_in=state.sessions.token_lifetime.total_seconds(),
    )


def _set_cookie(response: Response, name: str, value: str, lifetime: timedelta, *, secure: bool) -> None:
    max_age = int(lifetime.total_seconds())
    response.set_cookie(name, value, max_age=max_age, path=PATH, httponly=True, samesite="strict", secure=secure)
